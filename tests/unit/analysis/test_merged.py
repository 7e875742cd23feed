"""Several runs in one table: what stands side by side, what is annotated, what is kept apart."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import random
from collections.abc import Mapping
from typing import Any

import pytest

from orchestrator.analysis.drift.comparison import SPEEDUP, ReadRun
from orchestrator.analysis.drift.merged import Line, MergedTable, merge
from orchestrator.errors import UsageError
from orchestrator.report import flat, merged
from orchestrator.runs.manifest import Manifest
from tests.analysis_runs import BASELINE, FACTORS, artifacts, blocks_of, run_of, sha
from tests.pages import EVIL

INT8 = "full_int8"
TIMES = {BASELINE: 100_000.0, INT8: 25_000.0}
SUITE = {"name": "quick", "baseline": BASELINE, "protocol": {"blocks": "6:20", "precision": 0.02}}


def a_run(
    run_id: str,
    *devices: str,
    times: Mapping[str, float] = TIMES,
    model: str = "mobilenet_v1",
    files: str = "",
    version: str = "2.3.0",
    suite: Mapping[str, Any] = SUITE,
    facts: Mapping[str, Any] | None = None,
    threads: int = 1,
    seed: int = 1,
    **changes: Any,
) -> ReadRun:
    """A run of these devices; ``files`` other than "" makes its files other ones."""
    factors = dataclasses.replace(FACTORS, threads=threads)
    told = facts or {
        name: {"cpu": {"microarchitecture": name[:4]}, "machine_id": sha(name)[:16]}
        for name in devices
    }
    trials = []
    for number, device in enumerate(devices):
        for each in blocks_of(
            times, 8, seed=10 * seed + number, device=device, model=model, factors=factors
        ):
            assert each.measurement is not None
            trials.append(
                dataclasses.replace(
                    each,
                    measurement=dataclasses.replace(each.measurement, runtime_version=version),
                    artifact_sha256=sha(f"{each.trial.variant}{files}"),
                )
            )
    record = run_of(
        trials, run_id=run_id, facts=told, suite=suite["name"],
        artifacts=artifacts(tuple(times), (model,)), **changes,
    )  # fmt: skip
    manifest = Manifest(
        run_id=run_id,
        created="2026-01-02T03:04:05Z",
        seed=1,
        inventory={"devices": [{"name": name} for name in devices]},
        suite=suite,
        devices=devices,
        versions={"orchestrate": "0.1.0"},
    )
    return ReadRun(manifest, record)


def only(table: MergedTable) -> Line:
    (line,) = table.lines
    return line


def text(table: MergedTable) -> str:
    return merged.render(table, "text", width=160)


def test_two_devices_of_two_runs_stand_on_one_line_where_nothing_differs() -> None:
    table = merge([a_run("one", "cascade"), a_run("two", "haswell", seed=3)])
    assert [(c.origin, c.device) for c in table.columns] == [(0, "cascade"), (1, "haswell")]
    line = only(table)
    assert (line.standing, line.unlike, line.apart, table.repeats) == ("agreed", (), (), ())
    assert all(cell is not None and cell.speedup for cell in line.cells)


def test_other_files_have_a_line_of_their_own_and_say_so() -> None:
    table = merge([a_run("one", "cascade"), a_run("two", "haswell", files="x")])
    assert [line.standing for line in table.lines] == ["alone", "alone"]
    assert all("the baseline's file is" in why for line in table.lines for why in line.apart)
    assert "kept apart" in text(table)
    assert len({line.files.treatment for line in table.lines}) == 2


def test_another_number_of_threads_is_another_line() -> None:
    table = merge([a_run("one", "cascade"), a_run("two", "haswell", threads=4)])
    assert [dict(line.numbers)["threads"] for line in table.lines] == [1, 4]
    assert "mobilenet_v1 (threads 4)" in text(table)


def test_another_runtime_and_another_suite_are_said() -> None:
    other = {**SUITE, "name": "mine", "protocol": {"blocks": "8:30", "precision": 0.02}}
    table = merge([a_run("one", "cascade"), a_run("two", "haswell", version="2.4.0", suite=other)])
    line = only(table)
    assert (line.standing, [u.what for u in line.unlike]) == ("annotated", ["runtime", "suite"])
    shown = text(table)
    assert "runtime not the same: A: ai-edge-litert 2.3.0; B: ai-edge-litert 2.4.0" in shown
    assert "differs in name, protocol.blocks" in shown


def test_files_that_nobody_recorded_are_not_called_the_same() -> None:
    runs = [a_run("one", "cascade"), a_run("two", "haswell")]
    bare = [
        dataclasses.replace(
            run,
            record=dataclasses.replace(
                run.record,
                artifacts={},
                trials=tuple(
                    dataclasses.replace(t, artifact_sha256=None) for t in run.record.trials
                ),
            ),
        )
        for run in runs
    ]
    line = only(merge(bare))
    assert (line.standing, [u.what for u in line.unlike]) == ("annotated", ["files"])


def test_a_device_in_two_runs_is_a_repeat_with_its_drift_and_never_an_average() -> None:
    first = a_run("one", "cascade", "haswell")
    later = a_run("two", "cascade", times={**TIMES, INT8: 30_000.0}, seed=5)
    table = merge([first, later])
    # the columns of one machine stand side by side
    assert [(c.device, c.origin) for c in table.columns] == [
        ("cascade", 0), ("cascade", 1), ("haswell", 0),
    ]  # fmt: skip
    (repeat,) = table.repeats
    assert (repeat.device, repeat.first, repeat.second) == ("cascade", 0, 1)
    assert not repeat.by_name_alone
    (row,) = repeat.rows
    drift = next(each for each in row.drifts if each.figure == SPEEDUP)
    assert drift.changed
    assert drift.ratio == pytest.approx(25 / 30, rel=0.02)
    cells = [cell.speedup for cell in only(table).cells if cell is not None]
    assert cells == pytest.approx([4.0, 10 / 3, 4.0], rel=0.02)
    assert "1 of 1 comparison changed" in text(table)


def test_no_drift_is_told_between_different_files() -> None:
    (repeat,) = merge([a_run("one", "cascade"), a_run("two", "cascade", files="x")]).repeats
    (row,) = repeat.rows
    assert row.drifts == ()
    assert "files are not the same" in row.reason


def test_another_machine_of_the_same_name_is_not_a_repeat() -> None:
    other = {"cascade": {"machine_id": "another"}}
    table = merge([a_run("one", "cascade"), a_run("two", "cascade", facts=other)])
    assert [c.machine for c in table.columns] == [1, 2]
    assert table.repeats == ()
    assert "cascade in two is another machine" in table.machines[0]
    assert "cascade (machine 2)" in text(table)


def test_a_machine_that_nothing_tells_is_one_by_its_name_alone() -> None:
    runs = [a_run(name, "imported", facts={"imported": {"cpu": {}}}) for name in ("one", "two")]
    table = merge(runs)
    assert [each.by_name_alone for each in table.repeats] == [True]
    assert "by its name alone" in text(table)


def test_runs_over_other_baselines_share_no_line_and_no_drift() -> None:
    second = a_run("two", "cascade")
    second = dataclasses.replace(second, record=dataclasses.replace(second.record, baseline=INT8))
    table = merge([a_run("one", "cascade"), second])
    assert {(line.scheme, line.baseline) for line in table.lines} == {
        (INT8, BASELINE), (BASELINE, INT8),
    }  # fmt: skip
    (repeat,) = table.repeats
    assert (repeat.rows, "compare runs with one baseline" in repeat.why_not) == ((), True)


def test_a_run_stands_in_a_table_once() -> None:
    with pytest.raises(UsageError, match="say that they are run one"):
        merge([a_run("one", "cascade"), a_run("one", "haswell")])


def test_what_was_never_sent_is_listed() -> None:
    lost = a_run("one", "cascade", devices=("cascade", "gone"), lost={"gone": "no route"})
    table = merge([lost, a_run("two", "haswell")])
    assert [c.device for c in table.columns] == ["cascade", "haswell"]
    assert any(each.startswith("one, gone: mobilenet_v1") for each in table.missing)


def test_the_csv_has_the_columns_of_speedup_csv_and_where_each_line_comes_from() -> None:
    table = merge([a_run("one", "cascade"), a_run("two", "haswell", version="2.4.0")])
    rows = list(csv.DictReader(io.StringIO(merged.to_csv(table))))
    assert list(rows[0])[: len(flat.COLUMNS)] == list(flat.COLUMNS)
    assert [(r["run_id"], r["device"], r["column"]) for r in rows] == [
        ("one", "cascade", "A"), ("two", "haswell", "B"),
    ]  # fmt: skip
    assert {r["unlike"] for r in rows} == {"runtime"}
    assert all(len(r["treatment_sha256"]) == len(r["suite_sha256"]) == 64 for r in rows)
    document = json.loads(merged.to_json(table))
    assert document["format"] == merged.JSON_FORMAT
    assert document["lines"][0]["cells"]["B"]["runtime_version"] == "ai-edge-litert 2.4.0"


def test_marks_go_on_after_z() -> None:
    assert [merged.mark(n) for n in (0, 25, 26, 701, 702)] == ["A", "Z", "AA", "ZZ", "AAA"]


def test_a_hostile_run_gets_nowhere_as_anything_but_text() -> None:
    evil = {**SUITE, "name": EVIL, EVIL: EVIL}
    stranger = a_run(EVIL, EVIL, suite=evil, model=EVIL, facts={EVIL: {"machine_id": EVIL}})
    table = merge([a_run("one", "cascade"), stranger, a_run("two", EVIL, model=EVIL)])
    page = merged.render(table, "html", width=100)
    assert "<script" not in page and "<img" not in page
    assert "default-src &#x27;none&#x27;" in page
    markdown = merged.render(table, "markdown", width=100)
    assert "<script" not in markdown
    for shape in ("text", "markdown", "csv", "json"):
        assert "\x1b" not in merged.render(table, shape, width=100)
    for row in csv.DictReader(io.StringIO(merged.to_csv(table))):
        assert not any(str(value).startswith(("=", "+", "@")) for value in row.values())


def test_thirty_runs_of_one_device_are_thirty_columns() -> None:
    names = [f"r{random.Random(n).random():.8f}" for n in range(30)]
    table = merge([a_run(name, "cascade", seed=n) for n, name in enumerate(names)])
    assert (len(table.columns), len(table.repeats)) == (30, 29)
    assert only(table).standing == "agreed"
