"""From a run's trials to its rows: by hand, with a known truth, and what must not matter."""

from __future__ import annotations

import dataclasses
import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.analysis import Speedup, Verdict, analyse, comparison_precision
from orchestrator.errors import JournalError
from orchestrator.measurement import Finding, Memory, Outcome
from orchestrator.report.flat import COLUMNS, to_csv
from orchestrator.report.notes import floors_of, sections
from orchestrator.runs.records import ArtifactRecord, RunRecord, TrialRecord
from orchestrator.trial import Group
from tests.analysis_runs import (
    BASELINE,
    FACTORS,
    artifacts,
    bad,
    blocks_of,
    memory_trial,
    ok,
    run_of,
    trial,
    with_finding,
)

INT8 = "full_int8"
TIMES = {BASELINE: 100_000.0, INT8: 25_000.0}


def only_row(run: RunRecord) -> Speedup:
    (row,) = analyse(run).rows
    return row


def codes(row: Speedup) -> list[str]:
    return [finding.code for finding in row.findings]


def clean_run(count: int = 8, **changes: object) -> RunRecord:
    return run_of(blocks_of(TIMES, count), **changes)


def changed(run: RunRecord, scheme: str, **fields: object) -> RunRecord:
    """``run`` with ``fields`` replaced in every trial of ``scheme``."""
    trials = [
        dataclasses.replace(r, **fields) if r.trial.variant.scheme == scheme else r  # type: ignore[arg-type] # fields vary by test
        for r in run.trials
    ]
    return dataclasses.replace(run, trials=tuple(trials))


def test_six_blocks_by_hand() -> None:
    base = [100_000.0, 110_000.0, 120_000.0, 100_000.0, 105_000.0, 100_000.0]
    ratios = [4.0, 4.1, 3.9, 4.05, 3.95, 4.02]
    trials = [ok(BASELINE, b, t) for b, t in enumerate(base)]
    trials += [
        ok(BASELINE, b, t * 1.01**s, replicate=1)
        for b, (t, s) in enumerate(zip(base, (1, -1, 1, -1, 1, -1), strict=True))
    ]
    trials += [ok(INT8, b, t / r) for b, (t, r) in enumerate(zip(base, ratios, strict=True))]
    row = only_row(run_of(trials))
    # six pairs: the interval is the range of the ratios, and the 11th of the 21 means of pairs
    # (geometric, as they are taken of logs) is 4.0 itself
    assert (row.ci_low, row.ci_high) == pytest.approx((3.9, 4.1))
    assert row.speedup == pytest.approx(4.0)
    assert row.achieved_precision == pytest.approx(math.log(4.1 / 3.9) / 2)
    assert row.noise_floor == pytest.approx(1.01)
    assert row.aa_ratio == pytest.approx(1.0)
    assert row.verdict is Verdict.FASTER
    assert row.blocks == row.aa_blocks == 6
    assert row.baseline_ms == pytest.approx(102.5)
    assert row.treatment_ms == pytest.approx((25.0 + 105 / 3.95) / 2)
    assert (row.baseline_size_mb, row.treatment_size_mb) == (16.9, 4.4)
    assert row.microarchitecture == "cascadelake"
    assert row.runtime_version == "ai-edge-litert 2.3.0"


@pytest.mark.parametrize(
    ("treatment_us", "verdict"),
    [(50_000, Verdict.FASTER), (200_000, Verdict.SLOWER), (100_000, Verdict.INDISTINGUISHABLE)],
)
def test_a_known_truth_is_found(treatment_us: float, verdict: Verdict) -> None:
    row = only_row(run_of(blocks_of({BASELINE: 100_000.0, INT8: treatment_us}, 12)))
    assert row.verdict is verdict
    assert row.speedup == pytest.approx(100_000 / treatment_us, rel=0.02)
    assert row.ci_low is not None
    assert row.ci_high is not None
    assert row.ci_low <= 100_000 / treatment_us <= row.ci_high


def test_an_effect_within_the_noise_floor_is_no_effect() -> None:
    trials = []
    for block in range(8):
        wobble = 1.10 if block % 2 else 1 / 1.10
        trials += [
            ok(BASELINE, block, 100_000),
            ok(BASELINE, block, 100_000 * wobble, replicate=1),
            ok(INT8, block, 100_000 / (1.05 + block / 10_000)),
        ]
    row = only_row(run_of(trials))
    assert row.ci_low is not None
    assert row.ci_low > 1.04
    assert row.verdict is Verdict.INDISTINGUISHABLE
    assert "noise floor" in row.reason


def test_holm_weighs_the_whole_table() -> None:
    """One weak effect passes alone, and not among many comparisons of nothing."""
    noisy = lambda rng: rng.gauss(0, 0.02)  # noqa: E731

    def run(others: int) -> RunRecord:
        names = {f"scheme{i}": 100_000.0 for i in range(others)}
        trials = blocks_of({BASELINE: 100_000.0, INT8: 94_000.0} | names, 6, noise=noisy, seed=8)
        return run_of([dataclasses.replace(t, artifact_sha256=None) for t in trials])

    def row(others: int) -> Speedup:
        return next(r for r in analyse(run(others)).rows if r.scheme == INT8)

    alone, among = row(0), row(30)
    assert alone.p_adjusted == alone.p_value
    assert among.p_value is not None
    assert among.p_adjusted == pytest.approx(min(1, 31 * among.p_value), rel=0.2)


def test_swapping_the_sides_inverts_the_speed_up() -> None:
    trials = blocks_of(TIMES, 9, seed=5)
    there = only_row(run_of(trials))
    back = only_row(run_of(trials, baseline=INT8))
    assert there.speedup is not None
    assert there.ci_low is not None
    assert there.ci_high is not None
    assert back.speedup == pytest.approx(1 / there.speedup)
    assert (back.ci_low, back.ci_high) == pytest.approx((1 / there.ci_high, 1 / there.ci_low))
    # the other side has no second replicate, so nothing to hold an effect against
    assert back.noise_floor is None
    assert codes(back) == ["no_noise_floor"]
    assert back.verdict is Verdict.INDISTINGUISHABLE


@settings(max_examples=25, deadline=None)
@given(st.floats(0.01, 100), st.integers(0, 1000))
def test_a_machine_so_many_times_slower_has_the_same_speed_up(factor: float, seed: int) -> None:
    one = only_row(run_of(blocks_of(TIMES, 7, seed=seed)))
    scaled = {scheme: time * factor for scheme, time in TIMES.items()}
    other = only_row(run_of(blocks_of(scaled, 7, seed=seed)))
    assert other.speedup == pytest.approx(one.speedup)
    assert other.ci_low == pytest.approx(one.ci_low)
    assert other.noise_floor == pytest.approx(one.noise_floor)
    assert other.verdict is one.verdict


@settings(max_examples=25, deadline=None)
@given(st.randoms(use_true_random=False))
def test_the_order_of_trials_does_not_matter(rng: random.Random) -> None:
    trials = [
        *blocks_of(TIMES, 6),
        bad(INT8, 6),
        bad(INT8, 7, reason="other"),
        ok(BASELINE, 6, 9.0),
    ]
    run = run_of(trials)
    rng.shuffle(trials)
    assert analyse(dataclasses.replace(run, trials=tuple(trials))) == analyse(run)


def test_a_block_counts_only_where_both_sides_ended_ok() -> None:
    trials = blocks_of(TIMES, 8)
    trials = [t for t in trials if (t.trial.variant.scheme, t.trial.block) != (INT8, 2)]
    trials = [bad(BASELINE, 5) if t.trial == trial(BASELINE, 5) else t for t in trials] + [
        bad(INT8, 2, Outcome.KILLED, "killed by SIGSEGV")
    ]
    row = only_row(run_of(trials))
    assert (row.blocks, row.aa_blocks) == (6, 7)
    assert row.failures == {"failed": 1, "killed": 1}
    assert "failures" in codes(row)
    assert row.verdict is Verdict.FASTER


def test_a_mean_stands_in_where_a_runner_reports_no_median() -> None:
    def without_median(record: TrialRecord) -> TrialRecord:
        assert record.measurement is not None
        steady = dataclasses.replace(record.measurement.timing, median_us=None)
        return dataclasses.replace(
            record, measurement=dataclasses.replace(record.measurement, steady=steady)
        )

    trials = blocks_of(TIMES, 6)
    with_means = only_row(run_of([without_median(t) for t in trials]))
    assert with_means.speedup == only_row(run_of(trials)).speedup
    mixed = [without_median(t) if t.trial.variant.scheme == INT8 else t for t in trials]
    row = only_row(run_of(mixed))
    assert (codes(row), row.verdict) == (["statistic_mismatch"], Verdict.INVALID)
    assert "mean" in row.reason
    assert "median" in row.reason


@pytest.mark.parametrize("us", [None, 0.0, math.nan, math.inf])
def test_a_trial_without_a_usable_time_is_no_pair_and_is_told(us: float | None) -> None:
    trials = [t for t in blocks_of(TIMES, 7) if t.trial != trial(INT8, 3)]
    row = only_row(run_of([*trials, ok(INT8, 3, us)]))
    assert row.blocks == 6
    assert "no_time" in codes(row)


# -- comparisons that are refused


def test_another_runtime_version_forbids_and_names_both() -> None:
    trials = [t for t in blocks_of(TIMES, 6) if t.trial.variant.scheme == BASELINE]
    trials += [ok(INT8, block, 25_000, version="2.14.0") for block in range(6)]
    row = only_row(run_of(trials))
    assert row.verdict is Verdict.INVALID
    assert row.speedup is row.ci_low is row.ci_high is row.p_value is None
    assert codes(row) == ["runtime_mismatch"]
    assert "float32 2.3.0" in row.reason
    assert "full_int8 2.14.0" in row.reason
    assert (row.baseline_ms, row.treatment_ms) == pytest.approx((100, 25), rel=0.02)


def test_an_upgrade_in_the_middle_of_a_run_forbids_too() -> None:
    trials = blocks_of(TIMES, 6)
    trials += [ok(s, b, TIMES[s], version="9.9") for b in (6, 7) for s in TIMES]
    assert codes(only_row(run_of(trials))) == ["runtime_mismatch"]


def test_another_binary_forbids() -> None:
    run = changed(clean_run(), BASELINE, binary_sha256="a" * 64)
    row = only_row(changed(run, INT8, binary_sha256="b" * 64))
    assert codes(row) == ["runtime_mismatch"]
    assert "aaaaaaaaaaaa" in row.reason
    assert "bbbbbbbbbbbb" in row.reason


@pytest.mark.parametrize("same_bytes", [False, True])
def test_a_scheme_that_changes_nothing_is_no_quantized_model(same_bytes: bool) -> None:
    known = {
        v: dataclasses.replace(a, no_op="it has no Linear layer" if v.scheme == INT8 else None)
        for v, a in artifacts().items()
    }
    run = clean_run(artifacts=known)
    if same_bytes:
        run = changed(
            changed(run, BASELINE, artifact_sha256="c" * 64), INT8, artifact_sha256="c" * 64
        )
        same = {v: dataclasses.replace(a, sha256="c" * 64) for v, a in known.items()}
        run = dataclasses.replace(run, artifacts=same)
    row = only_row(run)
    assert codes(row) == ["no_op"] and row.verdict is Verdict.INVALID and row.speedup is None
    assert "it has no Linear layer" in row.reason


def test_rows_of_other_engines_stand_apart() -> None:
    one, other = (
        dataclasses.replace(FACTORS, runner="torch", engine=engine) for engine in ("x86", "onednn")
    )
    trials = [
        record
        for factors in (one, other)
        for record in blocks_of({BASELINE: 1e4, INT8: 5e3}, 6, factors=factors)
    ]
    table = analyse(run_of(trials))
    assert [(row.level("engine"), row.level("processor")) for row in table.rows] == [
        ("onednn", "cpu"),
        ("x86", "cpu"),
    ]
    assert len(sections(table.rows)) == 2
    assert all(len(floors_of(table, key)) == 1 for key in sections(table.rows))
    header = to_csv(table).splitlines()[0].split(",")
    assert header == [*COLUMNS, "engine", "processor"]


def test_the_same_file_under_two_names_forbids() -> None:
    known = {v: dataclasses.replace(a, sha256="c" * 64) for v, a in artifacts().items()}
    run = changed(clean_run(artifacts=known), BASELINE, artifact_sha256="c" * 64)
    row = only_row(changed(run, INT8, artifact_sha256="c" * 64))
    assert codes(row) == ["same_content"]
    assert row.verdict is Verdict.INVALID


def test_a_file_that_changed_during_the_run_forbids() -> None:
    trials = blocks_of(TIMES, 6)
    trials.append(dataclasses.replace(ok(INT8, 6, 25_000.0), artifact_sha256="d" * 64))
    assert codes(only_row(run_of(trials))) == ["artifact_changed"]


def test_other_weights_forbid() -> None:
    known = artifacts()
    variant, artifact = list(known.items())[1]
    known[variant] = ArtifactRecord(variant, artifact.sha256, artifact.size_bytes, "imagenet")
    row = only_row(clean_run(artifacts=known))
    assert codes(row) == ["weights_mismatch"]
    assert (row.baseline_weights, row.treatment_weights) == ("random(seed=0)", "imagenet")


@pytest.mark.parametrize("scheme", [BASELINE, INT8])
def test_a_forbidding_finding_of_one_trial_makes_the_comparison_invalid(scheme: str) -> None:
    wrong = Finding("wrong_file", "a file of 7 bytes ran", "delete it", forbids=True)
    trials = [
        with_finding(t, wrong) if t.trial == trial(scheme, 0) else t for t in blocks_of(TIMES, 6)
    ]
    row = only_row(run_of(trials))
    assert row.verdict is Verdict.INVALID
    assert row.reason == f"a file of 7 bytes ran (in trials: 1 {scheme})"


# -- findings that warn


def test_findings_of_trials_are_told_once_with_their_number() -> None:
    short = Finding("truncated", "29 of 30", "raise the timeout")
    trials = [with_finding(t, short) if t.trial.block < 3 else t for t in blocks_of(TIMES, 6)]
    row = only_row(run_of(trials))
    assert codes(row) == ["truncated"]
    assert row.findings[0].message == "29 of 30 (in trials: 6 float32, 3 full_int8)"
    assert row.verdict is Verdict.FASTER


def test_too_few_blocks_give_an_estimate_without_certainty() -> None:
    row = only_row(clean_run(4))
    assert row.speedup == pytest.approx(4, rel=0.02)
    assert row.ci_low is row.ci_high is row.achieved_precision is None
    assert row.verdict is Verdict.INDISTINGUISHABLE
    assert codes(row) == ["too_few_blocks"]


def test_fewer_blocks_than_asked_for_are_told() -> None:
    row = only_row(clean_run(7, min_blocks=10))
    assert codes(row) == ["too_few_blocks"]
    assert row.verdict is Verdict.FASTER


def test_an_interval_wider_than_asked_for_is_told() -> None:
    row = only_row(clean_run(8, precision=0.0001))
    assert codes(row) == ["noisy"]


# -- nothing vanishes


@pytest.mark.parametrize(
    "outcome", [Outcome.FAILED, Outcome.KILLED, Outcome.TIMEOUT, Outcome.INCOMPATIBLE]
)
def test_a_scheme_that_never_ran_has_a_row_that_says_how_it_ended(outcome: Outcome) -> None:
    trials = [t for t in blocks_of(TIMES, 6) if t.trial.variant.scheme == BASELINE]
    trials += [bad(INT8, block, outcome, "no such op") for block in range(6)]
    table = analyse(run_of(trials))
    (row,) = table.rows
    assert (row.verdict, codes(row)) == (Verdict.INVALID, [outcome.value])
    assert "no such op" in row.reason
    assert row.speedup is row.treatment_ms is None
    assert row.baseline_ms == pytest.approx(100, rel=0.02)
    (problem,) = table.problems
    assert (problem.outcome, problem.count, problem.reason) == (outcome, 6, "no such op")
    assert table.outcomes == {Outcome.OK: 12, outcome: 6}


def test_a_baseline_that_never_ran_is_named() -> None:
    trials = [bad(BASELINE, b, Outcome.TIMEOUT, "too slow") for b in range(6)]
    trials += [ok(INT8, b, 1000.0) for b in range(6)]
    row = only_row(run_of(trials))
    assert codes(row) == ["no_baseline"]
    assert "float32" in row.reason
    assert row.treatment_ms == 1.0


def test_sides_that_were_never_ok_together_are_told() -> None:
    trials = [ok(BASELINE, b, 1000.0) for b in range(3)] + [ok(INT8, b, 1000.0) for b in (3, 4, 5)]
    row = only_row(run_of(trials))
    assert (row.blocks, row.verdict) == (0, Verdict.INVALID)
    assert codes(row) == ["unpaired"]


def test_what_was_planned_and_never_finished_has_a_row() -> None:
    base = [t for t in blocks_of(TIMES, 6) if t.trial.variant.scheme == BASELINE]
    table = analyse(run_of(base, planned=(*(t.trial for t in base), trial("float16", 0))))
    assert [(row.scheme, codes(row)) for row in table.rows] == [
        (INT8, ["not_measured"]),
        ("float16", ["not_measured"]),
    ]
    assert table.unfinished == 1


def test_a_lost_device_has_rows_and_its_reason() -> None:
    table = analyse(
        run_of(blocks_of(TIMES, 6), devices=("pi", "here"), lost={"pi": "connection refused"})
    )
    assert [row.device for row in table.rows] == ["pi", "here"]
    lost = table.rows[0]
    assert codes(lost) == ["device_lost"]
    assert "connection refused" in lost.reason
    assert lost.factors is None
    assert table.lost == {"pi": "connection refused"}


def test_a_trial_told_twice_is_refused() -> None:
    with pytest.raises(JournalError, match=r"float32\.timing\.0"):
        analyse(run_of([ok(BASELINE, 0, 1.0), ok(BASELINE, 0, 2.0)]))


def test_groups_do_not_mix() -> None:
    four = dataclasses.replace(FACTORS, threads=4)
    trials = blocks_of(TIMES, 6) + blocks_of({BASELINE: 30_000.0, INT8: 15_000.0}, 6, factors=four)
    key = Group("here", "mobilenet_v1", four, (), BASELINE).key
    one_thread, four_threads = analyse(run_of(trials, stopped={key: "budget spent"})).rows
    assert (one_thread.factors, four_threads.factors) == (FACTORS, four)
    assert one_thread.speedup == pytest.approx(4, rel=0.02)
    assert four_threads.speedup == pytest.approx(2, rel=0.02)
    assert (one_thread.stopped, four_threads.stopped) == ("", "budget spent")


# -- memory


def test_memory_is_the_median_peak_of_memory_trials() -> None:
    trials = blocks_of(TIMES, 6)
    for number, peak in enumerate((60, 62, 99)):
        trials.append(memory_trial(BASELINE, Memory(1, 2, peak * 10**6), number))
    trials.append(memory_trial(INT8, Memory(1, 2, 40_000_000)))
    row = only_row(run_of(trials))
    assert (row.baseline_memory_mb, row.treatment_memory_mb) == (62, 40)
    assert row.memory_kind == "peak"


def test_unlike_kinds_of_memory_are_not_put_beside_each_other() -> None:
    trials = blocks_of(TIMES, 6)
    trials.append(memory_trial(BASELINE, Memory(overall_bytes=30_000_000, peak_bytes=60_000_000)))
    trials.append(memory_trial(INT8, Memory(overall_bytes=10_000_000)))
    row = only_row(run_of(trials))
    assert (row.baseline_memory_mb, row.treatment_memory_mb) == (30, 10)
    assert row.memory_kind == "overall"


# -- while the run is going on


def test_precision_so_far_is_what_the_table_will_say() -> None:
    trials = blocks_of(TIMES | {"float16": 99_000.0}, 7)
    achieved = comparison_precision(trials, BASELINE)
    table = analyse(run_of(trials, artifacts=artifacts((BASELINE, "float16", INT8))))
    assert achieved == {row.scheme: row.achieved_precision for row in table.rows}
    assert set(achieved) == {"float16", INT8}


def test_precision_is_unknown_before_six_pairs() -> None:
    assert comparison_precision(blocks_of(TIMES, 5), BASELINE) == {INT8: None}
    assert comparison_precision([bad(INT8, 0)], BASELINE) == {INT8: None}
    assert comparison_precision([], BASELINE) == {}
