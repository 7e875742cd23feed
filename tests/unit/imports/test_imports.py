"""``import``: logs, notebooks and published tables become runs, and nothing measured is lost."""

from __future__ import annotations

import csv
import json
from importlib import resources
from pathlib import Path

import pytest

from orchestrator import cli
from orchestrator.analysis import SpeedupTable, Verdict, analyse
from orchestrator.errors import UsageError
from orchestrator.frameworks.tflite.log_processes import processes
from orchestrator.imports.logs import ImportHints, read_logs
from orchestrator.imports.naming import read_table, variant_of
from orchestrator.imports.trials import same_sizes
from orchestrator.measurement import Outcome
from orchestrator.runs.directory import list_runs
from orchestrator.trial import Variant
from tests import runner_cases as cases

TOLD = ImportHints(device="lab")


def out(case: str) -> str:
    return cases.log_text(f"recorded/{case}")[0]


def named(text: str, graph: str) -> str:
    """``text`` as if it were of the file ``graph``."""
    lines = [f"INFO: Graph: [{graph}]" if "Graph: [" in line else line for line in text.split("\n")]
    return "\n".join(lines)


def scaled(text: str, *, fp32: float) -> str:
    """The recorded log with the steady median in its place replaced, so that blocks differ."""
    return text.replace("median=9998", f"median={fp32:.6g}")


def session(blocks: int) -> str:
    """What a notebook that measured one model after the other leaves behind."""
    first = [scaled(out("t1_fp32"), fp32=9998 + 7 * i) for i in range(blocks)]
    return "\n".join([*first, *[out("t1_full_int8")] * blocks])


# -- finding the processes


@pytest.mark.parametrize("separator", ["\n", "\n\n=== resnet ===\n", ""])
def test_many_processes_in_one_text_are_told_apart(separator: str) -> None:
    whole = [out("t1_fp32"), out("t1_full_int8"), out("err_missing"), out("warmup0")]
    text = separator.join(whole)
    found = processes("log.txt", text)
    assert len(found) == 4
    assert [p.text.count("Graph: [") for p in found] == [1] * 4
    assert "".join(p.text.strip() for p in found).count("Inference timings") == 3
    for process in found:
        line = int(process.begins.removeprefix("line "))
        assert text.split("\n")[line - 1 :][: process.text.count("\n") + 1] == (
            process.text.split("\n")
        )


def test_without_its_first_line_a_process_begins_after_the_one_before_has_closed() -> None:
    bare = "\n".join(line for line in out("t1_fp32").split("\n") if "STARTING" not in line)
    found = processes("log.txt", bare + bare + bare)
    assert len(found) == 3
    assert all(p.text.count("Inference timings") == 1 for p in found)
    assert all(p.text.count("Memory footprint delta") == 1 for p in found)


def test_old_formats_are_told_apart_too() -> None:
    old = [cases.log_text(f"composed/{name}")[0] for name in ("v1_12", "v2_1", "v2_4")]
    assert len(processes("log.txt", "\n".join(old))) == 3


def test_a_notebook_is_read_cell_by_cell() -> None:
    cells = [
        {"cell_type": "markdown", "source": ["# STARTING!"]},
        {"outputs": [{"output_type": "stream", "text": out("t1_fp32").splitlines(keepends=True)}]},
        {"outputs": [{"output_type": "error", "traceback": ["no"]}]},
        {"outputs": [{"data": {"text/plain": out("t1_full_int8") + out("t1_fp32")}}]},
    ]
    found = processes("study.ipynb", json.dumps({"cells": cells}))
    assert [p.begins.partition(",")[0] for p in found] == ["cell 2", "cell 4", "cell 4"]
    with pytest.raises(UsageError, match=r"study\.ipynb: not a notebook"):
        processes("study.ipynb", "{")


def test_text_with_no_process_is_refused() -> None:
    with pytest.raises(UsageError, match="holds no output of benchmark_model"):
        read_logs("log.txt", "nothing here\n", TOLD)


# -- which model it was


@pytest.mark.parametrize(
    ("graph", "expected"),
    [
        ("/bench/models/mobilenet_v1_fp32.tflite", Variant("mobilenet_v1", "float32")),
        ("/bench/models/mobilenet_v1_drq_int8.tflite", Variant("mobilenet_v1", "dynamic_range")),
        ("C:\\m\\ResNet50-dynamic_range.tflite", Variant("resnet50", "dynamic_range")),
        ("VGG16_full_int8.tflite", Variant("vgg16", "full_int8")),
        ("inception v3_fp16.lite", Variant("inception_v3", "float16")),
        ("resnet50_weight_only_int8.tflite", Variant("resnet50", "weight_only_int8")),
        ("model.tflite", None),
        ("", None),
    ],
)
def test_names_of_files_tell_model_and_scheme(graph: str, expected: Variant | None) -> None:
    assert variant_of(graph, {}) == expected


def test_the_users_own_table_comes_first() -> None:
    table = read_table("map.csv", "graph,model,scheme\na_fp32.tflite,other,full_int8\n")
    assert variant_of("/x/a_fp32.tflite", table) == Variant("other", "full_int8")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("graph,model\na,b\n", r"map\.csv:1: needs the columns"),
        (
            "graph,model,scheme\na,b,float32\nc,../x,float32\n",
            r"map\.csv:3: '\.\./x' is not a name",
        ),
        ("graph,model,scheme\n,b,float32\n", r"map\.csv:2: names no graph"),
    ],
)
def test_a_bad_table_is_named_by_line(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        read_table("map.csv", text)


def test_every_unnamed_process_is_listed_at_once() -> None:
    text = named(out("t1_fp32"), "/a/one.tflite") + named(out("t1_fp32"), "/a/two.tflite")
    with pytest.raises(UsageError) as caught:
        read_logs("log.txt", text, TOLD)
    message = str(caught.value)
    assert "log.txt: line 1: which model and scheme is '/a/one.tflite'?" in message
    assert "'/a/two.tflite'?" in message
    assert "--map" in message


# -- what a log means


def test_the_figures_are_those_of_the_log() -> None:
    (figure,) = read_logs("log.txt", out("t1_fp32"), TOLD).figures
    measured = figure.reading.measurement
    assert measured is not None
    assert measured.warmup is not None
    assert (measured.init_us, measured.first_us) == (15784, 15862)
    assert (measured.warmup.count, measured.warmup.mean_us) == (49, 10327.1)
    assert (measured.timing.count, measured.timing.median_us) == (98, 9998)
    assert measured.memory is not None
    assert figure.variant == Variant("mobilenet_v1", "float32")
    assert (figure.factors.threads, figure.factors.delegate) == (1, "not-told")
    assert figure.size_bytes == 16_862_700
    assert [f.code for f in figure.reading.findings] == ["imported"]


def test_what_a_log_does_not_tell_the_user_may() -> None:
    silent = out("t1_fp32").replace("Num threads: [1]", "").replace("inference: [1]", "")
    told = ImportHints("lab", threads=4, delegate="xnnpack", variant=Variant("m", "float32"))
    (figure,) = read_logs("log.txt", silent, told).figures
    assert (figure.factors.threads, figure.factors.delegate) == (4, "xnnpack")
    assert figure.source.naming == "as the user said"
    (unknown,) = read_logs("log.txt", silent, TOLD).figures
    assert unknown.factors.threads == 0
    # what the log itself says is not overruled
    (log_wins,) = read_logs("log.txt", out("t1_fp32"), told).figures
    assert log_wins.factors.threads == 1


def test_fewer_runs_than_the_log_itself_asks_for_are_truncated() -> None:
    cut = out("t1_fp32").replace("at least 50 iterations", "at least 150 iterations")
    (figure,) = read_logs("log.txt", cut, TOLD).figures
    assert {f.code for f in figure.reading.findings} == {"truncated", "imported"}


def test_a_malformed_part_is_named_by_file_and_line() -> None:
    text = out("t1_full_int8") + out("t1_fp32").replace("avg=10143.7", "avg=nan")
    good, bad = read_logs("log.txt", text, TOLD).figures
    assert good.reading.outcome is Outcome.OK
    assert bad.reading.outcome is Outcome.FAILED
    number = next(i for i, line in enumerate(text.split("\n"), 1) if "avg=nan" in line)
    assert bad.reading.reason is not None
    assert bad.reading.reason.startswith("log.txt: line ")
    assert f": line {number}:" in bad.reading.reason.replace("the output cannot be read", "")
    assert "avg=nan" in bad.text


def test_a_process_that_was_cut_off_is_a_failure_not_a_gap() -> None:
    text = out("t1_fp32")[: out("t1_fp32").index("Inference timings")] + out("t1_fp32")
    first, second = read_logs("log.txt", text, TOLD).figures
    assert (first.reading.outcome, second.reading.outcome) == (Outcome.FAILED, Outcome.OK)


def test_a_process_that_said_nothing_is_remarked() -> None:
    read = read_logs("log.txt", out("err_badvalue_bool") + "\n" + out("t1_fp32"), TOLD)
    assert len(read.figures) + len(read.remarks) == len(
        processes("log.txt", out("err_badvalue_bool") + "\n" + out("t1_fp32"))
    )


def test_one_file_under_seven_names_is_seen_by_its_size() -> None:
    """The study's loop built MobileNet seven times under seven names."""
    texts = [named(out("t1_fp32"), f"/a/{m}_fp32.tflite") for m in ("mobilenet", "resnet", "vgg")]
    same = same_sizes(read_logs("log.txt", "".join(texts), TOLD).figures)
    assert {v.model for v in same} == {"mobilenet", "resnet", "vgg"}
    finding = same[Variant("vgg", "float32")]
    assert finding.forbids
    assert finding.code == "same_content"
    assert same_sizes(read_logs("log.txt", session(1), TOLD).figures) == {}


# -- the command, from the files to the table


def imported(results: Path, *arguments: str) -> int:
    return cli.main(["import", *arguments, "--results", str(results)])


def table_in(results: Path) -> SpeedupTable:
    (run,) = list_runs(results)
    return analyse(run.read())


def test_a_session_becomes_a_run_like_any_other(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = tmp_path / "session.txt"
    source.write_text(session(8))
    results = tmp_path / "results"
    where = ["--device", "cl", "--microarchitecture", "cascadelake"]
    assert imported(results, str(source), *where) == 0
    (row,) = table_in(results).rows
    assert (row.device, row.microarchitecture, row.model) == ("cl", "cascadelake", "mobilenet_v1")
    assert (row.blocks, row.scheme) == (8, "full_int8")
    assert row.speedup == pytest.approx(2.34, abs=0.01)
    assert row.ci_low is not None
    # there is no second baseline, so no effect can be called certain
    assert row.verdict is Verdict.INDISTINGUISHABLE
    assert {f.code for f in row.findings} == {"imported", "no_noise_floor"}
    assert (row.baseline_size_mb, row.treatment_size_mb) == pytest.approx((16.86, 4.526), abs=0.01)
    assert "mobilenet_v1" in capsys.readouterr().out
    (run,) = list_runs(results)
    kept = (run.logs / "imported-1-session.txt").read_text()
    assert kept == source.read_text()
    texts = [path.read_text() for path in run.logs.glob("cl.*.txt")]
    assert len(texts) == 16
    assert all("Inference timings" in text for text in texts)
    assert cli.main(["report", run.run_id, "--results", str(results)]) == 0
    assert cli.main(["runs", "--results", str(results)]) == 0
    assert "complete" in capsys.readouterr().out
    assert cli.main(["run", "--resume", run.run_id, "--results", str(results)]) == 2
    assert "was imported" in capsys.readouterr().err


def test_failures_are_saved_told_and_give_exit_code_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = tmp_path / "log.txt"
    source.write_text(out("t1_fp32") + out("t1_full_int8").replace("avg=4323.55", "avg=nan"))
    assert imported(tmp_path / "results", str(source)) == 1
    captured = capsys.readouterr()
    assert f"{source}: line " in captured.err
    (row,) = table_in(tmp_path / "results").rows
    assert (row.verdict, row.findings[0].code) == (Verdict.INVALID, "failed")


def test_the_published_table_becomes_a_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = (resources.files("orchestrator.published") / "speedups.csv").read_text()
    source = tmp_path / "published.csv"
    source.write_text(data)
    assert imported(tmp_path / "results", str(source)) == 0
    table = table_in(tmp_path / "results")
    lines = [row for row in csv.DictReader(data.splitlines()) if row["speedup"]]
    assert len(table.rows) == len(lines)
    expected = {
        (line["source"], line["model"], line["scheme"], line["microarchitecture"]):
        float(line["speedup"]) for line in lines
    }  # fmt: skip
    for row in table.rows:
        (key,) = [
            k
            for k in expected
            if row.device.startswith(k[0]) and k[1:3] == (row.model, row.scheme)
            and k[3].removesuffix("unknown") == row.microarchitecture
        ]  # fmt: skip
        assert row.speedup == pytest.approx(expected.pop(key), abs=6e-3)
        assert row.verdict is Verdict.INDISTINGUISHABLE
        assert (row.ci_low, row.noise_floor, row.published) == (None, None, ())
        (finding,) = [f for f in row.findings if f.code == "published_figure"]
        known = "a mean of " if row.device.startswith("farrukh") else "n unknown"
        assert known in finding.message
        assert "uncontrolled" in finding.message
    assert expected == {}
    assert "threads not told" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("10.837", "fast"), r":2: baseline_ms 'fast' is not a time"),
        (("8.2015", "-1"), r":2: treatment_ms '-1' is not a time"),
        ((",20,10.837", ",many,10.837"), r":2: processes 'many' is not a count"),
        (("mobilenet_v1,float32", "../x,float32"), r":2: '../x' is not a name"),
    ],
)
def test_a_malformed_line_of_a_table_is_named(
    change: tuple[str, str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = (resources.files("orchestrator.published") / "speedups.csv").read_text()
    source = tmp_path / "published.csv"
    source.write_text(data.replace(*change, 1))
    assert imported(tmp_path / "results", str(source)) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize(
    ("name", "data", "options", "message"),
    [
        ("run.zip", b"PK\x03\x04rest", [], "no results of a bundle: it does not end as one"),
        ("binary.log", b"a\x00b", [], "not a text file"),
        ("log.txt", b"nothing", [], "holds no output of benchmark_model"),
        ("none", None, [], "cannot be read"),
        ("log.txt", b"count=1 curr=5", ["--model", "m"], "--model and --scheme go together"),
        ("log.txt", b"count=1 curr=5", ["--model", "../m", "--scheme", "s"], "is not a name"),
        ("log.txt", b"count=1 curr=5", ["--model", "m", "--scheme", "s"], "--baseline"),
    ],
)
def test_what_cannot_be_imported_is_refused_before_anything_is_written(
    name: str,
    data: bytes | None,
    options: list[str],
    message: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    source = tmp_path / name
    if data is not None:
        source.write_bytes(data)
    assert imported(tmp_path / "results", str(source), *options) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "results").exists()
