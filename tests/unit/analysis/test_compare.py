"""``compare``: what changed between two runs, what did not, and what changed with it."""

from __future__ import annotations

import dataclasses
import json
import math
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from orchestrator import cli
from orchestrator.analysis.drift.comparison import BASELINE as BASELINE_TIME
from orchestrator.analysis.drift.comparison import (
    SPEEDUP,
    TREATMENT,
    ComparedRow,
    ReadRun,
    RunComparison,
    compare_runs,
)
from orchestrator.analysis.drift.shift import rank_sum_p, shift, shift_p, welch_p
from orchestrator.analysis.table import Verdict
from orchestrator.errors import UsageError
from orchestrator.report import drift
from orchestrator.runs.manifest import BinaryRecord, Manifest
from tests.analysis_runs import BASELINE, FACTORS, bad, blocks_of, run_of

INT8 = "full_int8"
REFERENCE = Path(__file__).resolve().parents[3] / "results" / "reference"


# -- the statistics of two independent samples


@pytest.mark.parametrize(("n", "m"), [(2, 3), (6, 6), (6, 20), (20, 20), (40, 41)])
def test_p_values_agree_with_scipy(n: int, m: int) -> None:
    rng = random.Random(n * m)
    first, second = [rng.gauss(0, 1) for _ in range(n)], [rng.gauss(0.7, 2) for _ in range(m)]
    expected = stats.mannwhitneyu(first, second, method="exact").pvalue
    assert rank_sum_p(first, second) == pytest.approx(expected, abs=5e-4)
    expected = stats.ttest_ind(first, second, equal_var=False).pvalue
    assert welch_p(first, second) == pytest.approx(expected)


def test_four_beside_four_by_hand() -> None:
    # 2/70 < 5 % < 4/70: the interval leaves nothing out, so it is the range of the differences
    found = shift([1.0, 2.0, 3.0, 4.0], [11.0, 12.0, 13.0, 14.0])
    assert found.centre == 10
    assert found.interval is not None
    assert (found.interval.low, found.interval.high) == (7, 13)
    assert shift([1.0, 2.0, 3.0], [1.0, 2.0, 3.0, 4.0]).interval is None
    assert shift_p([1.0], [2.0, 3.0]) is None


@pytest.mark.parametrize(("n", "m"), [(6, 6), (6, 20), (20, 20)])
def test_the_interval_covers_the_shift(n: int, m: int) -> None:
    rng = np.random.default_rng(n + m)
    inside = 0
    for _ in range(1000):
        # heavy tails, and one run's noise is that of the other
        found = shift(list(rng.standard_t(3, n)), list(1.5 + rng.standard_t(3, m))).interval
        assert found is not None
        inside += found.low <= 1.5 <= found.high
    assert inside >= 935  # 95 % less two standard errors


# -- two runs


def manifest(run_id: str, **changes: Any) -> Manifest:
    fields: dict[str, Any] = {
        "run_id": run_id,
        "created": "2026-01-01T00:00:00Z",
        "seed": 1,
        "inventory": {"devices": [{"name": "here", "tune": False}]},
        "suite": {"protocol": {"blocks": "6:20", "warmup": {"runs": 5}}},
        "devices": ("here",),
        "versions": {"orchestrate": "0.1.0"},
    }
    return Manifest(**fields | changes)


def a_run(
    times: Mapping[str, float],
    *,
    seed: int = 1,
    run_id: str = "one",
    version: str | None = None,
    blocks: int = 10,
    of_manifest: Mapping[str, Any] | None = None,
    **changes: Any,
) -> ReadRun:
    trials = blocks_of(times, blocks, seed=seed)
    if version is not None:
        trials = [
            dataclasses.replace(
                t, measurement=dataclasses.replace(t.measurement, runtime_version=version)
            )
            for t in trials
            if t.measurement
        ]
    record = run_of(trials, run_id=run_id, **changes)
    return ReadRun(manifest(run_id, **(of_manifest or {})), record)


ONE = {BASELINE: 100_000.0, INT8: 25_000.0}


def only(comparison: RunComparison) -> ComparedRow:
    (row,) = comparison.rows
    return row


def changed(row: ComparedRow) -> set[str]:
    return {each.figure for each in row.drifts if each.changed}


def test_the_same_again_is_no_change() -> None:
    row = only(compare_runs(a_run(ONE, seed=1), a_run(ONE, seed=2, run_id="two")))
    assert changed(row) == set()
    assert all(each.reason for each in row.drifts)
    assert row.conditions == ()


def test_a_slower_treatment_alone_moves_its_time_and_the_speed_up() -> None:
    second = a_run(ONE | {INT8: 27_500.0}, seed=2, run_id="two", version="2.4.0")
    row = only(compare_runs(a_run(ONE), second))
    assert changed(row) == {SPEEDUP, TREATMENT}
    figures = {each.figure: each for each in row.drifts}
    assert figures[SPEEDUP].ratio == pytest.approx(1 / 1.1, rel=0.01)
    assert figures[TREATMENT].ratio == pytest.approx(1.1, rel=0.01)
    assert figures[SPEEDUP].first == pytest.approx(4, rel=0.01)
    assert figures[TREATMENT].second == pytest.approx(27.5, rel=0.01)
    for each in row.drifts:
        assert each.low is not None
        assert each.high is not None
        assert each.low <= each.ratio <= each.high
    assert [(c.name, c.before, c.after) for c in row.conditions] == [
        ("runtime of float32", "ai-edge-litert 2.3.0", "ai-edge-litert 2.4.0"),
        ("runtime of full_int8", "ai-edge-litert 2.3.0", "ai-edge-litert 2.4.0"),
    ]


def test_a_slower_machine_moves_the_times_and_not_the_speed_up() -> None:
    slower = {scheme: 1.3 * us for scheme, us in ONE.items()}
    row = only(compare_runs(a_run(ONE), a_run(slower, seed=2, run_id="two")))
    assert changed(row) == {BASELINE_TIME, TREATMENT}


def test_a_change_within_either_runs_noise_floor_is_none() -> None:
    loud = [
        dataclasses.replace(t, measurement=scaled)
        if t.trial.replicate
        and t.measurement
        and (scaled := _scaled(t.measurement, 1.2 if t.trial.block % 2 else 1 / 1.2))
        else t
        for t in blocks_of(ONE | {INT8: 26_500.0}, 10, seed=2)
    ]
    second = ReadRun(manifest("two"), run_of(loud, run_id="two"))
    row = only(compare_runs(a_run(ONE), second))
    assert changed(row) == set()
    assert any("noise floor" in each.reason for each in row.drifts)


def _scaled(measurement: Any, factor: float) -> Any:
    steady = dataclasses.replace(
        measurement.steady, median_us=measurement.steady.median_us * factor
    )
    return dataclasses.replace(measurement, steady=steady)


def test_holm_weighs_every_figure_of_the_two_runs() -> None:
    def adjusted(schemes: int) -> float:
        times = ONE | {f"s{i}": 50_000.0 for i in range(schemes)}
        comparison = compare_runs(a_run(times), a_run(times, seed=2, run_id="two"))
        return min(d.p_adjusted or 1 for row in comparison.rows for d in row.drifts)

    assert adjusted(20) == 1


def test_every_recorded_condition_is_compared_and_fleeting_ones_are_not() -> None:
    cpu = {"microarchitecture": "cascadelake"}
    before = {"here": {"cpu": cpu | {"governor": "powersave"}, "uptime_s": 1, "time": "a"}}
    after = {
        "here": {
            "cpu": cpu | {"governor": "performance"},
            "uptime_s": 2,
            "time": "b",
            "system": {"kernel": "6.1"},
        }
    }
    binary = BinaryRecord("here", "b" * 64, 1, "official", pinned=False)
    second = a_run(
        ONE,
        run_id="two",
        facts=after,
        agents={"here": "f" * 64},
        of_manifest={
            "inventory": {"devices": [{"name": "here", "tune": True}]},
            "versions": {"orchestrate": "0.2.0"},
            "binaries": (binary,),
            "suite": {"protocol": {"blocks": "6:20", "warmup": {"runs": 50}}},
        },
    )
    first = a_run(ONE, facts=before, agents={"here": "e" * 64})
    found = compare_runs(first, second).conditions["here"]
    assert {c.name: (c.before, c.after) for c in found} == {
        "agent": ("e" * 12, "f" * 12),
        "benchmark_model.sha256": ("", "b" * 12),
        "benchmark_model.source": ("", "official"),
        "controller.orchestrate": ("0.1.0", "0.2.0"),
        "cpu.governor": ("powersave", "performance"),
        "inventory.tune": ("False", "True"),
        "protocol.warmup.runs": ("5", "50"),
        "system.kernel": ("", "6.1"),
    }


def test_what_only_one_run_measured_is_named() -> None:
    four = dataclasses.replace(FACTORS, threads=4)
    trials = [*blocks_of(ONE, 8), *blocks_of(ONE, 8, factors=four)]
    second = ReadRun(manifest("two"), run_of(trials, run_id="two"))
    comparison = compare_runs(a_run(ONE), second)
    assert len(comparison.rows) == 1
    assert comparison.only_first == ()
    assert comparison.only_second == (
        "here mobilenet_v1 full_int8 (litert, delegate xnnpack, threads 4, batch 1, isa native)",
    )


def test_an_invalid_side_is_told_and_not_computed_with() -> None:
    trials = [t for t in blocks_of(ONE, 8) if t.trial.variant.scheme == BASELINE]
    trials += [bad(INT8, block) for block in range(8)]
    row = only(
        compare_runs(a_run(ONE), ReadRun(manifest("two"), run_of(trials, run_id="two")))
    )  # fmt: skip
    assert row.drifts == ()
    assert row.reason.startswith("two has no figure: no timing trial of full_int8 ended ok")
    assert row.verdicts == (Verdict.FASTER, Verdict.INVALID)


def test_other_baselines_are_refused() -> None:
    with pytest.raises(UsageError, match="one baseline"):
        compare_runs(a_run(ONE), a_run(ONE, run_id="two", baseline=INT8))


# -- as text and JSON


def test_text_says_what_changed_first() -> None:
    second = a_run(ONE | {INT8: 27_500.0}, seed=2, run_id="two", version="2.4.0")
    text = drift.to_text(compare_runs(a_run(ONE), second), width=100, color=False)
    assert text.startswith("two against one, over float32: 1 of 1 comparison changed\n")
    assert "▼ changed" in text
    assert "runtime of full_int8: ai-edge-litert 2.3.0 → ai-edge-litert 2.4.0" in text
    assert all(len(line) <= 100 for line in text.splitlines())


def test_json_has_everything_and_no_nan() -> None:
    comparison = compare_runs(a_run(ONE, blocks=3), a_run(ONE, run_id="two", blocks=3))
    text = drift.to_json([comparison])
    document = json.loads(text, parse_constant=pytest.fail)
    assert text.isascii()
    (row,) = document["comparisons"][0]["rows"]
    assert [d["figure"] for d in row["drifts"]] == [SPEEDUP, BASELINE_TIME, TREATMENT]
    assert row["drifts"][0]["low"] is None
    assert not math.isnan(row["drifts"][0]["ratio"])


# -- the command


def test_a_run_beside_a_copy_of_itself(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (source,) = REFERENCE.iterdir()
    copy = tmp_path / "20270101T000000Z-abcdef"
    copy.mkdir()
    for name in ("run.json", "journal.jsonl"):
        text = (source / name).read_text().replace(source.name, copy.name)
        (copy / name).write_text(text.replace('"kernel":"6.', '"kernel":"7.'))
    assert cli.main(["compare", str(source), "last", "--results", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "0 of 6 comparisons changed" in out
    assert "system.kernel: 6." in out
    assert cli.main(["compare", str(source), str(copy), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["comparisons"][0]["second"] == copy.name


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["no-such"], "no such run"),
        (["20261120T182924Z-274654"], "needs two runs"),
        (["20261120T182924Z-274654", "2026112"], "named twice"),
        (["20261120T182924Z-274654", "no-such"], "no-such: no such run"),
    ],
)
def test_runs_that_are_not_there_are_named(
    names: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["compare", *names, "--results", str(REFERENCE)]) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert captured.out == ""
