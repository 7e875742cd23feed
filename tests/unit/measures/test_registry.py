"""What each measure asks of a trial, and that every kind of trial has one."""

from __future__ import annotations

from orchestrator.measures.registry import MEASURES, measure_of, unblocked_measures
from orchestrator.trial import PhaseSettings, RunSettings, TrialKind

ASKED = RunSettings(PhaseSettings(5, 0.5), PhaseSettings(30, 1.0), 300.0)


def test_every_kind_of_trial_has_its_measure() -> None:
    assert set(MEASURES) == set(TrialKind)
    assert all(measure_of(kind).name == kind.value for kind in TrialKind)


def test_timing_alone_stands_in_blocks_and_needs_a_quiet_machine() -> None:
    assert [m.kind for m in MEASURES.values() if m.in_blocks] == [TrialKind.TIMING]
    assert [m.kind for m in MEASURES.values() if m.quiet] == [TrialKind.TIMING]
    unblocked = [TrialKind.MEMORY, TrialKind.PROFILE, TrialKind.ACCURACY]
    assert [m.kind for m in unblocked_measures()] == unblocked


def test_a_memory_trial_is_short_and_the_others_run_as_asked() -> None:
    short = measure_of(TrialKind.MEMORY).settings(ASKED)
    assert (short.warmup.runs, short.steady.runs, short.timeout_s) == (1, 5, 300.0)
    assert measure_of(TrialKind.TIMING).settings(ASKED) == ASKED
    assert measure_of(TrialKind.PROFILE).settings(ASKED) == ASKED


def test_a_trial_of_accuracy_times_nothing() -> None:
    told = measure_of(TrialKind.ACCURACY).settings(ASKED)
    assert (told.warmup, told.steady) == (PhaseSettings(0, 0.0), PhaseSettings(0, 0.0))
    # a thousand samples take longer than some hundred inferences
    assert told.timeout_s == 8 * 300.0 and not measure_of(TrialKind.ACCURACY).judged


def test_a_check_is_one_inference_in_another_runner_s_place() -> None:
    check = measure_of(TrialKind.CHECK)
    assert check.stands_in and not check.judged
    told = check.settings(ASKED)
    assert (told.warmup.runs, told.steady.runs, told.timeout_s) == (0, 1, 300.0)


def test_what_cannot_be_profiled_may_be_timed_all_the_same() -> None:
    assert not measure_of(TrialKind.PROFILE).judged and measure_of(TrialKind.MEMORY).judged
