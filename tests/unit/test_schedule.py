"""What runs next, and when it stops."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from orchestrate_agent.course import Course, Outline, TrialEnd
from orchestrator.measurement import Invocations, Measurement, Outcome
from orchestrator.plan import DevicePlan, Plan, make_plan
from orchestrator.runs.records import TrialRecord
from orchestrator.schedule import Schedule, outline_of
from orchestrator.trial import Trial, TrialKind
from tests.unit.test_plan import device, suite


def never(records: Sequence[TrialRecord]) -> Mapping[str, float | None]:
    return {}


def always(records: Sequence[TrialRecord]) -> Mapping[str, float | None]:
    return dict.fromkeys(("float16", "dynamic_range", "full_int8"), 0.001)


def record(trial: Trial, outcome: Outcome = Outcome.OK, wall_s: float = 1.0) -> TrialRecord:
    ok = outcome is Outcome.OK
    measurement = Measurement(1.0, 1.0, None, Invocations(30, median_us=10.0)) if ok else None
    return TrialRecord(trial, outcome, measurement, None if ok else "no", wall_s=wall_s)


def plan_for(**changes: object) -> tuple[Plan, DevicePlan]:
    made = make_plan([device()], suite(**changes), seed=1)
    return made, made.devices[0]


def drain(
    schedule: Schedule, outcome: Mapping[str, Outcome] | None = None, wall_s: float = 1.0
) -> list[Trial]:
    """Run everything that the schedule gives out, one batch after the other."""
    ran: list[Trial] = []
    while trials := schedule.next_trials():
        for trial in trials:
            schedule.release(trial.trial_id)
        for trial in trials:
            result = (outcome or {}).get(trial.variant.scheme, Outcome.OK)
            schedule.finish(record(trial, result, wall_s))
        ran += trials
    return ran


def test_without_precision_it_goes_to_the_maximum() -> None:
    made, part = plan_for()
    schedule = Schedule(made, part, never)
    assert drain(schedule) == list(part.trials)
    assert schedule.complete
    assert set(schedule.stopped.values()) == {"maximum of 9 blocks"}


def test_a_bundle_gets_the_same_course_by_way_of_json() -> None:
    made, part = plan_for()
    outline = outline_of(made, part)
    carried = Outline.from_json(json.loads(json.dumps(outline.to_json())))
    assert carried == outline
    course, ran = Course(carried), list[str]()
    while following := course.next_trials():
        for trial_id in following:
            course.release(trial_id)
            course.end(trial_id, TrialEnd(ok=True, hopeless=False, wall_s=1.0))
        ran += following
    assert ran == [trial.trial_id for trial in part.trials]
    assert course.complete


def test_it_stops_at_the_minimum_when_the_precision_is_there() -> None:
    made, part = plan_for()
    schedule = Schedule(made, part, always)
    ran = drain(schedule)
    assert {t.block for t in ran} == {-1, 0, 1, 2, 3, 4, 5}
    assert set(schedule.stopped.values()) == {"precision of 0.02 reached"}


def test_a_budget_ends_it_after_the_minimum_never_before() -> None:
    made, part = plan_for(protocol={"blocks": "6:9", "budget": "1s"})
    schedule = Schedule(made, part, never)
    assert {t.block for t in drain(schedule)} == {-1, 0, 1, 2, 3, 4, 5}
    assert set(schedule.stopped.values()) == {"budget of 1 s spent"}


def test_a_scheme_that_cannot_load_is_tried_once_and_the_others_go_on() -> None:
    made, part = plan_for(models=["resnet50"])
    schedule = Schedule(made, part, never)
    ran = drain(schedule, {"full_int8": Outcome.INCOMPATIBLE})
    assert sum(t.variant.scheme == "full_int8" for t in ran) == 1
    assert sum(t.variant.scheme == "float16" for t in ran) == 1 + 9


def test_a_scheme_that_fails_twice_in_a_row_is_given_up() -> None:
    made, part = plan_for(models=["resnet50"])
    schedule = Schedule(made, part, never)
    ran = drain(schedule, {"full_int8": Outcome.TIMEOUT})
    assert sum(t.variant.scheme == "full_int8" for t in ran) == 2


def test_without_a_baseline_nothing_can_be_compared() -> None:
    made, part = plan_for(models=["resnet50"])
    schedule = Schedule(made, part, never)
    ran = drain(schedule, {"float32": Outcome.KILLED})
    assert max(t.block for t in ran) == 0
    assert set(schedule.stopped.values()) == {"the baseline float32 gives no result"}


def test_a_single_failure_is_not_held_against_a_scheme() -> None:
    made, part = plan_for(models=["resnet50"])
    schedule = Schedule(made, part, never)
    seen = 0
    while trials := schedule.next_trials():
        for trial in trials:
            schedule.release(trial.trial_id)
            odd = trial.variant.scheme == "float16" and trial.block % 2 == 0
            schedule.finish(record(trial, Outcome.FAILED if odd else Outcome.OK))
            seen += trial.variant.scheme == "float16"
    assert seen == 1 + 9


def test_a_resumed_schedule_goes_on_where_the_first_one_was() -> None:
    made, part = plan_for()
    first = Schedule(made, part, never)
    whole = drain(first)
    for cut in (0, 3, 8, 11, 40, len(whole)):
        second = Schedule(made, part, never)
        for trial in whole[:cut]:
            second.release(trial.trial_id)
            second.finish(record(trial))
        assert whole[:cut] + drain(second) == whole


def test_what_is_left_counts_down_to_nothing() -> None:
    made, part = plan_for()
    schedule = Schedule(made, part, always)
    assert schedule.remaining() == 8 + 2 * 6 * 5
    drain(schedule)
    assert schedule.remaining() == 0


def test_what_cannot_be_profiled_is_timed_all_the_same() -> None:
    binary = device(benchmark_model="/opt/benchmark_model")
    asked = suite(models=["resnet50"], protocol={"blocks": "6:9", "profile": {"trials": 2}})
    made = make_plan([binary], asked, seed=1)
    schedule = Schedule(made, made.devices[0], never)
    first = schedule.next_trials()
    assert {t.kind for t in first} == {TrialKind.MEMORY, TrialKind.PROFILE}
    for trial in first:
        failed = trial.kind is TrialKind.PROFILE
        schedule.finish(record(trial, Outcome.FAILED if failed else Outcome.OK))
    assert sum(t.kind is TrialKind.TIMING for t in drain(schedule)) == 9 * 5
    assert schedule.complete


def test_a_file_that_nobody_could_look_at_is_timed_all_the_same() -> None:
    binary = device(benchmark_model="/opt/benchmark_model")
    asked = suite(models=["resnet50"], protocol={"blocks": "6:9", "check": {"trials": 1}})
    made = make_plan([binary], asked, seed=1)
    schedule = Schedule(made, made.devices[0], never)
    first = schedule.next_trials()
    assert {t.kind for t in first} == {TrialKind.MEMORY, TrialKind.CHECK}
    for trial in first:
        failed = trial.kind is TrialKind.CHECK
        schedule.finish(record(trial, Outcome.INCOMPATIBLE if failed else Outcome.OK))
    assert sum(t.kind is TrialKind.TIMING for t in drain(schedule)) == 9 * 5
    assert schedule.complete


def test_what_comes_next_is_expected_to_take_as_long_as_the_slowest_of_its_kind() -> None:
    made, part = plan_for()
    schedule = Schedule(made, part, never)
    phases = made.settings.warmup.seconds + made.settings.steady.seconds
    first = schedule.next_trials()
    assert schedule.expected_s(first) == phases * len(first)  # nothing is known yet
    for number, trial in enumerate(first):
        schedule.release(trial.trial_id)
        schedule.finish(record(trial, wall_s=10.0 + number))
    slowest = {trial.variant: 10.0 + number for number, trial in enumerate(first)}
    block = schedule.next_trials()
    assert schedule.expected_s(block) == sum(slowest[trial.variant] for trial in block)
    for trial in block:  # what is in hand comes before
        schedule.release(trial.trial_id)
    assert schedule.expected_s(()) == sum(slowest[trial.variant] for trial in block)
