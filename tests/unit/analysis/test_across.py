"""Runners beside each other: where the suite asks, and with everything said that differs."""

from __future__ import annotations

from dataclasses import replace

import pytest

from orchestrator.analysis import Verdict, analyse
from orchestrator.report import render
from orchestrator.runs.records import ArtifactRecord, RunRecord, TrialRecord
from orchestrator.trial import Factors, Variant
from tests.analysis_runs import BASELINE, FACTORS, blocks_of, run_of, sha

TORCH = Factors("torch", "torch", "none", 1, 1, "native")
TFLITE_TIMES = {BASELINE: 100_000.0, "full_int8": 25_000.0}
TORCH_TIMES = {BASELINE: 50_000.0, "static_int8": 20_000.0}


def run(**changes: object) -> RunRecord:
    trials = [
        *_of(blocks_of(TFLITE_TIMES, 8), "tflite"),
        *_of(blocks_of(TORCH_TIMES, 8, seed=2, factors=TORCH), "torch"),
    ]
    files = {r.trial.variant: r.artifact_sha256 or "" for r in trials}
    weights = {"tflite": "random(seed=0)", "torch": "imagenet"}
    own = {v: ArtifactRecord(v, sha256, 10**6, weights[v.framework]) for v, sha256 in files.items()}
    return run_of(trials, artifacts=own, **changes)


def _of(records: list[TrialRecord], framework: str) -> list[TrialRecord]:
    """The trials with their variants marked, and a file of the framework's own behind each."""
    return [
        replace(
            record,
            trial=replace(
                record.trial, variant=(v := replace(record.trial.variant, framework=framework))
            ),
            artifact_sha256=sha(str(v)),
        )
        for record in records
    ]


def test_each_runner_has_its_own_baseline_and_files() -> None:
    table = analyse(run())
    found = {(row.level("runner"), row.scheme): row for row in table.rows}
    assert found.keys() == {("litert", "full_int8"), ("torch", "static_int8")}
    assert found["litert", "full_int8"].speedup == pytest.approx(4, rel=0.02)
    assert found["torch", "static_int8"].speedup == pytest.approx(2.5, rel=0.02)
    assert found["torch", "static_int8"].treatment_weights == "imagenet"
    assert table.across == ()


def test_the_first_runner_s_baseline_is_compared_where_the_suite_asks() -> None:
    table = analyse(run(compare=("litert", "torch")))
    found = {each.row.scheme: each for each in table.across}
    assert found.keys() == {BASELINE, "static_int8"}
    assert found[BASELINE].row.speedup == pytest.approx(2, rel=0.02)
    assert found["static_int8"].row.speedup == pytest.approx(5, rel=0.02)
    for each in table.across:
        assert (each.row.level("runner"), each.baseline_factors.runner) == ("torch", "litert")
        assert each.row.verdict is Verdict.FASTER
        assert "two_files" in {finding.code for finding in each.row.findings}
    assert table.rows == analyse(run()).rows, "the runners' own rows are as they were"


def test_other_threads_are_another_comparison() -> None:
    four = replace(TORCH, threads=4)
    trials = [*blocks_of(TFLITE_TIMES, 8), *blocks_of(TORCH_TIMES, 8, factors=four)]
    assert analyse(run_of(trials, compare=("litert", "torch"))).across == ()


def test_auto_stands_for_the_runner_that_it_became() -> None:
    assert {
        each.row.level("runner") for each in analyse(run(compare=("auto", "torch"))).across
    } == {"torch"}


@pytest.mark.parametrize("form", ["text", "markdown", "latex", "html", "csv", "json"])
def test_every_format_says_whose_baseline_it_is(form: str) -> None:
    said = render(analyse(run(compare=("litert", "torch"))), form)
    words = {"csv": "baseline_runner", "json": "two files of one network are compared"}
    assert words.get(form, "Across runners") in " ".join(said.split())
    assert words.get(form, "Across runners") not in render(analyse(run()), form)


def test_a_runner_that_nobody_knows_is_shown_as_it_was_recorded() -> None:
    unknown = replace(FACTORS, runner="onnx", runtime="onnxruntime", engine="dml")
    table = analyse(run_of(blocks_of(TFLITE_TIMES, 8, factors=unknown)))
    (row,) = table.rows
    assert (row.level("runner"), row.level("runtime"), row.level("engine")) == (
        "onnx",
        "onnxruntime",
        "dml",
    )
    assert "onnx" in render(table, "text")


def test_a_variant_says_its_framework_where_that_tells_it_apart() -> None:
    assert str(Variant("m", BASELINE)) == "m float32"
    assert str(Variant("m", BASELINE, framework="torch")) == "m float32 (torch)"
    assert Variant("m", BASELINE).to_json() == {"model": "m", "scheme": BASELINE}
