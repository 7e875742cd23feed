"""`orchestrator.load_run` and the notebook that shows it."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import orchestrator
from orchestrator.analysis import analyse
from orchestrator.errors import JournalError
from orchestrator.report import write_reports
from orchestrator.report.frames import RunFrames, to_frames
from orchestrator.runs.curves import read_curves
from orchestrator.runs.directory import RunDirectory
from tests import pages
from tests.unit.analysis.test_accuracy import a_shard_failed

ROOT = Path(__file__).resolve().parents[3]
(REFERENCE,) = (ROOT / "results" / "reference").glob("*Z-*")


@pytest.fixture(scope="module")
def run() -> RunFrames:
    return orchestrator.load_run(REFERENCE)


def test_a_trial_is_a_row_with_its_times_in_ms(run: RunFrames) -> None:
    finished = [
        event
        for line in (REFERENCE / "journal.jsonl").read_text(encoding="utf-8").splitlines()
        for event in [json.loads(line)]
        if event["event"] == "finished"
    ]
    assert run.trials["trial_id"].tolist() == [event["trial_id"] for event in finished]
    for column, phase, name in (
        ("median_ms", "steady", "median_us"),
        ("min_ms", "steady", "min_us"),
        ("warmup_mean_ms", "warmup", "mean_us"),
    ):
        told = [event[phase][name] / 1000 for event in finished]
        assert run.trials[column].tolist() == pytest.approx(told)
    assert set(run.trials["kind"]) == {"timing", "memory"}
    assert run.trials["memory_peak_mb"].iloc[0] == finished[0]["memory"]["peak_bytes"] / 1e6


def test_a_comparison_is_a_row_of_the_table_and_what_is_behind_it(run: RunFrames) -> None:
    table = analyse(RunDirectory(REFERENCE).read())
    assert run.speedups["speedup"].tolist() == [row.speedup for row in table.rows]
    assert run.speedups["p_adjusted"].tolist() == [row.p_adjusted for row in table.rows]
    assert run.speedups["verdict"].tolist() == [row.verdict.value for row in table.rows]
    assert not run.speedups.columns.duplicated().any()


def test_a_finding_is_a_row_wherever_it_stands(run: RunFrames) -> None:
    table = analyse(RunDirectory(REFERENCE).read())
    of_comparisons = run.findings.query("scope == 'comparison'")
    assert of_comparisons["code"].tolist() == [f.code for row in table.rows for f in row.findings]


def test_a_comparison_of_accuracy_is_a_row_of_accuracy_csv(tmp_path: Path) -> None:
    record = a_shard_failed()
    table = analyse(record)
    frames = to_frames(record, table)
    (row,) = table.accuracy
    (told,) = frames.accuracy.to_dict("records")
    assert (told["scheme"], told["samples"], told["verdict"]) == ("full_int8", 384, "no worse")
    assert (told["difference"], told["low"], told["threads"]) == (row.difference, row.low, 1)
    assert "accuracy" in set(frames.findings.query("code == 'shard_missing'")["scope"])
    written = write_reports(table, tmp_path)
    (csv,) = (path for path in written if path.name == "accuracy.csv")
    header = csv.read_text(encoding="utf-8").splitlines()[0]
    assert header.split(",") == list(frames.accuracy.columns)


def test_without_accuracy_its_frame_has_columns_and_no_row(run: RunFrames) -> None:
    assert len(run.accuracy) == 0 and "difference" in run.accuracy.columns


def test_what_was_not_measured_is_missing() -> None:
    record = pages.run(devices=1, models=4)
    frames = to_frames(record, pages.full(analyse(record)))
    assert len(frames.trials) == len(record.trials)
    failed = frames.trials.query("outcome == 'failed'")
    assert len(failed) == 2 and failed["median_ms"].isna().all()
    assert frames.speedups["mean_verdict"].tolist()[0] == "indistinguishable"
    assert frames.speedups["control"].tolist()[0] == "uncontrolled"
    assert not frames.speedups.columns.duplicated().any()


def test_how_an_instruction_set_was_capped_is_told_of_trials_and_comparisons() -> None:
    record = pages.run(devices=1, models=1)
    trials = [
        dataclasses.replace(each, isa_way="rewriting" if each.measurement else "")
        for each in record.trials
    ]
    capped = dataclasses.replace(record, trials=tuple(trials))
    frames = to_frames(capped, analyse(capped))
    assert set(frames.trials.query("outcome == 'ok'")["isa_way"]) == {"rewriting"}
    assert set(frames.trials.query("outcome != 'ok'")["isa_way"]) <= {""}
    assert set(frames.speedups["isa_way"]) == {"rewriting"}


def test_a_folder_that_holds_no_run_is_named(tmp_path: Path) -> None:
    with pytest.raises(JournalError, match=str(tmp_path)):
        orchestrator.load_run(tmp_path)


def test_importing_the_package_brings_no_pandas() -> None:
    code = "import sys, orchestrator; print('pandas' in sys.modules, 'scipy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]
    with pytest.raises(AttributeError, match="no attribute 'load_runs'"):
        _ = orchestrator.load_runs


def test_the_notebook_runs() -> None:
    nbformat = pytest.importorskip("nbformat", reason="needs nbformat")
    nbclient = pytest.importorskip("nbclient", reason="needs nbclient")
    pytest.importorskip("ipykernel", reason="needs ipykernel")
    notebook = nbformat.read(ROOT / "docs" / "notebook.ipynb", as_version=4)
    assert not [cell for cell in notebook.cells if cell.get("outputs")], "kept without outputs"
    client = nbclient.NotebookClient(
        notebook, timeout=120, resources={"metadata": {"path": str(ROOT / "docs")}}
    )
    client.execute(env={**os.environ, "PYTHONPATH": str(ROOT)})
    shown = {
        cell.id: output["data"]["text/plain"]
        for cell in notebook.cells
        for output in cell.get("outputs", ())
        if "data" in output
    }
    assert REFERENCE.name in shown["load"]
    assert "indistinguishable" in shown["speedups"]
    assert "resnet50" in shown["byhand"]


# -- single times, from the logs ------------------------------------------------------------------


def test_a_curve_is_the_first_process_of_a_scheme_time_by_time() -> None:
    directory = RunDirectory(REFERENCE)
    record = directory.read()
    curves = {(c.model, c.scheme): c for c in read_curves(directory, record)}
    assert len(curves) == 8
    curve = curves["mobilenet_v1", "full_int8"]
    (trial,) = (
        r
        for r in record.trials
        if (r.trial.variant.model, r.trial.variant.scheme, r.trial.block)
        == ("mobilenet_v1", "full_int8", 0)
    )
    assert trial.measurement is not None and trial.measurement.warmup is not None
    assert len(curve.steady_ms) == trial.measurement.timing.count
    assert len(curve.warmup_ms) == trial.measurement.warmup.count
    assert min(curve.steady_ms) * 1000 == trial.measurement.timing.min_us
    assert curve.warmup_ms[0] * 1000 == trial.measurement.first_us


@pytest.mark.parametrize(
    "log",
    [
        "",
        "# stdout, 9 characters:\nno result",
        '# stdout, 60 characters:\n@orchestrate-result {"warmup_us":[1],"steady_us":"no"}\n',
        '# stdout, 60 characters:\n@orchestrate-result {"warmup_us":[-1],"steady_us":[1]}\n',
    ],
)
def test_a_log_without_single_times_has_no_curve(tmp_path: Path, log: str) -> None:
    record = pages.run(devices=1, models=1)
    directory = RunDirectory.create(tmp_path, "run")
    for each in record.trials:
        directory.write_log(each.trial.trial_id, log)
    assert read_curves(directory, record) == ()


def test_a_trials_id_leads_out_of_no_folder(tmp_path: Path) -> None:
    record = pages.run(devices=1, models=1)
    directory = RunDirectory.create(tmp_path, "run")
    log = '# stdout, 60 characters:\n@orchestrate-result {"warmup_us":[1],"steady_us":[1]}\n'
    (tmp_path / "secret.txt").write_text(log)
    trials = tuple(
        dataclasses.replace(r, trial=dataclasses.replace(r.trial, trial_id="../../secret"))
        for r in record.trials
    )
    assert read_curves(directory, dataclasses.replace(record, trials=trials)) == ()
    directory.write_log(record.trials[0].trial.trial_id, log)
    (curve,) = read_curves(directory, record)
    assert (curve.warmup_ms, curve.steady_ms) == ((0.001,), (0.001,))
