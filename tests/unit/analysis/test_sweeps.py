"""Latency against a factor: what the analysis computes, and what the reports show of it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.analysis import analyse
from orchestrator.config import Suite
from orchestrator.measurement import Outcome
from orchestrator.report import charts, render, write_reports
from orchestrator.runs.directory import trial_from_event
from orchestrator.runs.records import TrialRecord
from orchestrator.trial import Factors, Group
from tests.analysis_runs import FACTORS, bad, blocks_of, run_of

TIMES = {"float32": 1000.0, "full_int8": 500.0}


def at(**factors: int) -> Factors:
    return replace(FACTORS, **factors)  # type: ignore[arg-type]


def swept() -> list[TrialRecord]:
    """Twice the items take twice the time; 64 of them do not fit into memory."""
    records: list[TrialRecord] = []
    for batch in (1, 2, 4):
        times = {scheme: us * batch for scheme, us in TIMES.items()}
        records += blocks_of(times, 6, factors=at(batch=batch), seed=batch)
    for scheme in TIMES:
        reason = "out of memory: an allocation failed"
        records += [
            bad(scheme, -2 - n, Outcome.FAILED, reason, factors=at(batch=64)) for n in (0, 1)
        ]
    return records


def test_latency_of_an_inference_and_its_interval() -> None:
    (sweep,) = analyse(run_of(swept())).sweeps
    assert (sweep.factor, sweep.device, sweep.model) == ("batch", "here", "mobilenet_v1")
    shown = [(p.scheme, p.value) for p in sweep.points]
    assert shown == [(s, b) for s in TIMES for b in (1, 2, 4, 64)]
    for point in sweep.points:
        if point.value == 64:
            assert point.problem == "failed: out of memory: an allocation failed"
            assert point.latency_ms is None
            continue
        assert point.latency_ms == pytest.approx(TIMES[point.scheme] * point.value / 1000, rel=0.02)
        assert point.latency_ms is not None
        assert point.low_ms is not None and point.high_ms is not None
        assert point.low_ms < point.latency_ms < point.high_ms
        assert point.blocks == 6
        if point.scheme == "full_int8":
            assert point.speedup == pytest.approx(2, rel=0.02)


def test_what_does_not_vary_is_no_sweep() -> None:
    assert analyse(run_of(blocks_of(TIMES, 6))).sweeps == ()


def test_what_was_not_told_is_no_point_of_a_sweep() -> None:
    known, untold = (blocks_of(TIMES, 6, factors=at(threads=n)) for n in (1, 0))
    assert analyse(run_of([*known, *untold])).sweeps == ()


def test_two_factors_are_swept_each_at_every_value_of_the_other() -> None:
    records = [
        record
        for threads in (1, 2)
        for size in (0, 128)
        for record in blocks_of(TIMES, 6, factors=at(threads=threads, input_size=size))
    ]
    found = analyse(run_of(records)).sweeps
    assert [s.factor for s in found] == ["threads", "threads", "input_size", "input_size"]
    table = analyse(run_of(records))
    assert "inputs of 128 × 128" in render(table, "text")
    assert render(table, "csv").splitlines()[0].endswith(",input_size")
    assert len({floor.factors for floor in table.noise_floors}) == 4


@pytest.mark.parametrize("shape", ["text", "markdown"])
def test_the_table_has_every_point_and_why_one_is_missing(shape: str) -> None:
    text = render(analyse(run_of(swept())), shape)
    assert "Latency against batch: " in text.replace("\\", "")
    assert "ms an item" in text
    assert "full_int8, batch 64: failed: out of memory" in text.replace("\\", "")


def test_json_has_the_sweeps() -> None:
    document = json.loads(render(analyse(run_of(swept())), "json"))
    assert document["sweeps"][0]["points"][0]["value"] == 1


def test_charts_are_drawn_where_they_can_be(tmp_path: Path) -> None:
    pytest.importorskip("vl_convert", reason="needs the extra `charts`")
    names = [path.name for path in write_reports(analyse(run_of(swept())), tmp_path)]
    assert names[-2:] == ["sweep.svg", "sweep.png"]
    svg = (tmp_path / "sweep.svg").read_text(encoding="utf-8")
    assert svg.startswith("<svg")
    assert "full_int8" in svg and "ms an item" in svg
    assert (tmp_path / "sweep.png").read_bytes()[:4] == b"\x89PNG"


def test_without_the_extra_there_is_no_chart_and_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(charts, "available", lambda: False)
    names = [path.name for path in write_reports(analyse(run_of(swept())), tmp_path)]
    assert names == ["speedup.csv", "speedup.json", "speedup.md", "report.html"]


def test_a_chart_leaves_out_what_has_no_place() -> None:
    records = [r for size in (0, 96, 128) for r in blocks_of(TIMES, 6, factors=at(input_size=size))]
    (sweep,) = analyse(run_of(records)).sweeps
    pytest.importorskip("altair", reason="needs the extra `charts`")
    (drawing,) = charts.drawings(analyse(run_of(records)))[-1:]
    assert drawing.kind == "sweep"
    drawn = [row for rows in drawing.specification["datasets"].values() for row in rows]
    assert {row["value"] for row in drawn} == {96, 128}
    assert sweep.points[0].value == 0


# -- the factor itself ----------------------------------------------------------------------------


def test_a_journal_from_before_the_factor_is_read() -> None:
    event = {
        "trial_id": "t", "device": "here", "kind": "timing", "model": "m", "scheme": "float32",
        "block": 0, "replicate": 0, "runner": "litert", "runtime": "any", "delegate": "xnnpack",
        "threads": 1, "batch": 1, "isa": "native",
    }  # fmt: skip
    trial = trial_from_event(event)
    assert trial.factors == FACTORS
    key = Group("here", "m", trial.factors, (), "float32").key
    assert key == "here/m/litert/any/xnnpack/t1/b1/native"
    resized = Group("here", "m", at(input_size=128), (), "float32").key
    assert resized == key + "/i128"
    assert trial_from_event({**event, "input_size": 128}).to_json()["input_size"] == 128


def test_a_suite_of_a_run_from_before_the_factor_is_read() -> None:
    suite = Suite(name="s", models=("m",), schemes=("float32",))
    data = suite.to_json()
    del data["factors"]["input_size"]
    assert Suite.from_json(data) == suite
