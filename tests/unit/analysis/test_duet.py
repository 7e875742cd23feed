"""Duets: planned in pairs, scheduled together, compared within the pair."""

from __future__ import annotations

import dataclasses
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from orchestrate_agent.machine import placement
from orchestrate_agent.protocol import Conditions, Duet, ProtocolError
from orchestrate_agent.sysfs import Tree
from orchestrator.analysis import Verdict, analyse, comparison_precision
from orchestrator.analysis.audit import overlap
from orchestrator.analysis.drift.comparison import ReadRun, compare_runs
from orchestrator.config import Suite
from orchestrator.errors import PermanentDeviceError, UsageError
from orchestrator.fleet.provision import ReachedDevice, check_suitability
from orchestrator.frameworks.reading.circumstances import Circumstances, load_share
from orchestrator.measurement import Outcome
from orchestrator.plan import Plan, make_plan
from orchestrator.report import render
from orchestrator.report.plan import describe_plan
from orchestrator.runs.directory import trial_from_event
from orchestrator.runs.manifest import Manifest
from orchestrator.runs.records import RunRecord, TrialRecord
from orchestrator.schedule import Schedule
from orchestrator.trial import Trial, TrialKind
from tests.analysis_runs import BASELINE, bad, blocks_of, duets_of, run_of
from tests.unit.test_plan import device, suite
from tests.unit.test_schedule import drain, never

INT8 = "full_int8"
TIMES = {BASELINE: 100_000.0, "float16": 90_000.0, INT8: 25_000.0}


def plan_of(blocks: str = "6:10", **protocol: Any) -> Plan:
    protocol = {"blocks": blocks, "duet": True, **protocol}
    return make_plan([device()], suite(protocol=protocol), seed=5)


def timing(plan: Plan) -> list[Trial]:
    return [t for t in plan.devices[0].trials if t.kind is TrialKind.TIMING]


# -- the plan


def test_every_treatment_has_a_baseline_of_its_own_and_the_baseline_itself() -> None:
    for block in plan_of().devices[0].blocks:
        halves = list(zip(block.trials[::2], block.trials[1::2], strict=True))
        for one, other in halves:
            assert one.duet is not None
            assert other.duet is not None
            assert (one.duet.partner, other.duet.partner) == (other.trial_id, one.trial_id)
            assert {one.duet.half, other.duet.half} == {0, 1}
            assert BASELINE in (one.variant.scheme, other.variant.scheme)
        schemes = Counter(frozenset((a.variant.scheme, b.variant.scheme)) for a, b in halves)
        others = ("float16", "dynamic_range", "full_int8")
        assert schemes == Counter(
            [frozenset([BASELINE]), *(frozenset([BASELINE, s]) for s in others)]
        )
        of_baseline = [t.replicate for t in block.trials if t.variant.scheme == BASELINE]
        assert sorted(of_baseline) == [0, 1, 2, 3, 4]


def test_halves_change_places_from_block_to_block_and_duets_their_order() -> None:
    plan = plan_of()
    for scheme in ("float16", INT8):
        places = [
            t.duet.half
            for t in timing(plan)
            if t.variant.scheme == scheme and t.variant.model == "resnet50" and t.duet
        ]
        assert places in ([0, 1] * 5, [1, 0] * 5)
    blocks = plan.devices[0].blocks
    orders = {tuple(t.variant.scheme for t in b.trials) for b in blocks}
    assert len(orders) > 3
    assert plan == plan_of()


def test_a_plan_without_duets_is_what_it_was() -> None:
    plan = make_plan([device()], suite(), seed=5)
    assert plan.at_once == 1
    assert all(t.duet is None and "duet" not in t.to_json() for t in plan.devices[0].trials)
    assert plan.devices[0].cpus_for_duets == 0
    assert "duet" not in suite().to_json()["protocol"]
    assert Suite.from_json(suite().to_json()) == suite()


def test_memory_is_watched_alone_and_a_trial_comes_back_from_its_line() -> None:
    plan = plan_of(memory={"trials": 2})
    memory = [t for t in plan.devices[0].trials if t.kind is TrialKind.MEMORY]
    assert memory
    assert all(t.duet is None for t in memory)
    for trial in timing(plan):
        assert trial_from_event(trial.to_json()) == trial


def test_twice_the_threads_are_needed() -> None:
    made = suite(protocol={"duet": True}, factors={"threads": [1, 3]})
    assert make_plan([device()], made, seed=1).devices[0].cpus_for_duets == 6
    again = Suite.from_json(made.to_json())
    assert again.protocol.duet


def test_one_gpu_cannot_be_shared_out() -> None:
    with pytest.raises(UsageError, match="processor: \\[cpu\\]"):
        suite(
            models=["squeezenet1_1"],
            schemes=["float32", "dynamic_int8"],
            runner="torch",
            factors={"processor": ["cuda"], "delegate": ["none"]},
            protocol={"duet": True},
        )


def test_the_plan_says_how_long_it_takes_two_at_once() -> None:
    def least(**protocol: Any) -> str:
        protocol |= {"memory": {"trials": 0}, "warmup": {"seconds": 20}, "steady": {"seconds": 40}}
        text = describe_plan(plan_of("6", timeout="5m", **protocol), {}, {}, width=200, color=False)
        return next(line for line in text.splitlines() if line.strip().startswith("here"))

    # 2 models x 6 blocks x 4 duets; alone 2 x 6 x 5 trials
    assert "96 to 96" in least()
    assert "48.0 min" in least()
    assert "60 to 60" in least(duet=False)
    assert "60.0 min" in least(duet=False)


# -- the device


@pytest.mark.parametrize(
    ("cpu", "cpus", "why"),
    [
        ({"cpus_allowed": [3]}, None, "2 are needed, and 1 may be used"),
        ({"cpus_allowed": [0, 1, 2]}, (2, 7), "2 are needed, and 1 may be used"),
        ({"cpus_allowed": [0, 1], "cpu_quota": 1.5}, None, "the time of 1.5 is all"),
        ({"cpus_allowed": None}, None, "does not say which CPUs"),
        ({"cpus_allowed": [0, 1], "cpu_quota": 2.0}, None, ""),
        ({"cpus_allowed": [0, 1, 2]}, (1, 2), ""),
    ],
)
def test_a_device_without_cpus_for_two_is_refused(
    cpu: dict[str, Any], cpus: tuple[int, ...] | None, why: str
) -> None:
    node = cast(ReachedDevice, SimpleNamespace(device="here", facts={"cpu": cpu}))
    plan = make_plan([device(benchmark_model="/opt/bm")], suite(protocol={"duet": True}), seed=1)
    if not why:
        assert check_suitability(node, {}, plan.devices[0], cpus).unverified == ()
        return
    with pytest.raises(PermanentDeviceError, match=why):
        check_suitability(node, {}, plan.devices[0], cpus)


# -- the schedule


def test_halves_are_released_together_and_given_up_together() -> None:
    plan = plan_of()
    part = plan.devices[0]
    ran = drain(Schedule(plan, part, never), {INT8: Outcome.TIMEOUT})
    released = {t.trial_id for t in ran}
    assert all(t.duet.partner in released for t in ran if t.duet)
    # the memory trial failed, the first block's failed: from then on neither half runs
    per_model = Counter(t.variant.model for t in ran if t.variant.scheme == INT8 and t.duet)
    assert per_model == {"mobilenet_v1": 1, "resnet50": 1}


def test_two_at_once_take_the_time_of_one() -> None:
    plan = plan_of(memory={"trials": 0}, budget="1h")
    schedule = Schedule(plan, plan.devices[0], never)
    ran = drain(schedule, wall_s=10.0)
    assert schedule.mean_wall_s() == 5.0
    # 96 trials of the minimum hold the device for 480 s: the budget of an hour is never reached
    assert len(ran) == 160


# -- the comparison


def test_a_pair_is_the_treatment_and_the_baseline_beside_it() -> None:
    """Weather of 20 % from duet to duet is seen by nobody; across duets it is all there is."""
    table = analyse(run_of(duets_of(TIMES, 8), duet=True))
    rows = {row.scheme: row for row in table.rows}
    assert rows["float16"].speedup == pytest.approx(100 / 90, rel=0.005)
    assert rows[INT8].speedup == pytest.approx(4.0, rel=0.005)
    for scheme in ("float16", INT8):
        assert rows[scheme].verdict is Verdict.FASTER
        assert rows[scheme].blocks == 8
        assert not rows[scheme].findings
    (noise,) = table.noise_floors
    assert noise.floor is not None
    assert noise.floor < 1.01
    widths = [w for w in comparison_precision(duets_of(TIMES, 8), BASELINE).values() if w]
    assert len(widths) == 2
    assert max(widths) < 0.01
    across = [dataclasses.replace(r, trial=alone(r.trial)) for r in duets_of(TIMES, 8)]
    solo = {r.scheme: r for r in analyse(run_of(across)).rows}
    assert (solo["float16"].achieved_precision or 0.0) > 0.05


def alone(trial: Trial) -> Trial:
    return dataclasses.replace(trial, duet=None)


def test_a_pair_counts_only_if_both_halves_ended_ok() -> None:
    def broken(record: TrialRecord) -> TrialRecord:
        trial = record.trial
        if (trial.variant.scheme, trial.replicate, trial.block) != (BASELINE, 2, 3):
            return record
        return dataclasses.replace(bad(BASELINE, 3), trial=trial)

    table = analyse(run_of([broken(r) for r in duets_of(TIMES, 8)], duet=True))
    rows = {row.scheme: row for row in table.rows}
    partner_of = {r.trial.duet.partner: r.trial for r in duets_of(TIMES, 8) if r.trial.duet}
    struck = next(
        t.variant.scheme for t in partner_of.values() if t.variant.scheme != BASELINE
    )  # the first treatment, whose own baseline has replicate 2
    assert rows[struck].blocks == 7
    assert {row.blocks for name, row in rows.items() if name != struck} == {8}
    assert table.noise_floors[0].blocks == 8


def test_a_baseline_that_never_ran_beside_it_is_not_replaced_by_another() -> None:
    records = [
        r
        for r in duets_of(TIMES, 8)
        if (r.trial.variant.scheme, r.trial.replicate) != (BASELINE, 2)
    ]
    rows = {row.scheme: row for row in analyse(run_of(records, duet=True)).rows}
    assert rows["float16"].verdict is Verdict.INVALID
    assert "unpaired" in {f.code for f in rows["float16"].findings}
    assert rows[INT8].blocks == 8


@pytest.mark.parametrize(
    ("windows", "share"),
    [
        (((0.0, 1.0), (0.1, 1.1)), 0.9),
        (((0.0, 4.0), (1.0, 2.0)), 0.25),  # of the longer: for the rest it had no neighbour
        (((0.0, 1.0), (5.0, 6.0)), 0.0),
        (((0.0, 1.0), None), None),
    ],
)
def test_the_overlap_of_two_steady_phases(windows: Any, share: float | None) -> None:
    one, other = (
        dataclasses.replace(r, measurement=dataclasses.replace(r.measurement, steady_window_s=w))
        for r, w in zip(duets_of(TIMES, 1)[:2], windows, strict=True)
        if r.measurement
    )
    assert overlap(one, other) == pytest.approx(share)
    told = {"duet": {"together": False}}
    assert overlap(one, dataclasses.replace(other, conditions=told)) == 0.0


def test_reports_say_that_it_was_a_duet() -> None:
    table = analyse(run_of(duets_of(TIMES, 6), duet=True))
    for shape in ("text", "markdown", "json", "latex", "html"):
        assert "In duets" in render(table, shape, width=100)
    assert "\nin duets: baseline and treatment at the same time" in render(table, "text", width=100)
    assert "In duets" not in render(analyse(run_of(blocks_of(TIMES, 6))), "text", width=100)


def test_compare_names_the_duet_as_a_condition_that_changed() -> None:
    def read(run: RunRecord, protocol: dict[str, Any]) -> ReadRun:
        manifest = Manifest(
            run_id=run.run_id, created="", seed=1, inventory={}, devices=("here",),
            suite={"name": "t", "protocol": protocol}, versions={}, artifacts=(), binaries=(),
            facts={},
        )  # fmt: skip
        return ReadRun(manifest, run)

    solo = read(run_of(blocks_of(TIMES, 8)), {})
    paired = read(run_of(duets_of(TIMES, 8), duet=True), {"duet": True})
    changed = {c.name: c for c in compare_runs(solo, paired).conditions["here"]}
    assert (changed["protocol.duet"].before, changed["protocol.duet"].after) == ("False", "True")
    drifts = [d for row in compare_runs(paired, paired).rows for d in row.drifts]
    assert drifts
    assert not any(d.changed for d in drifts)
    assert all(d.ratio == pytest.approx(1.0) for d in drifts)


def test_the_partner_s_work_is_no_stranger_s_load() -> None:
    during = {"cpu_s": 4.0, "busy_s": 3.9}
    own = {"user_s": 1.8, "sys_s": 0.1}
    beside = Circumstances(during=during, rusage=own, conditions={"duet": {"partner_cpu_s": 1.9}})
    assert load_share(Circumstances(during=during, rusage=own)) == pytest.approx(0.5)
    assert load_share(beside) == pytest.approx(0.025)


# -- the agent's part that needs no process


def test_a_duet_on_the_wire_needs_its_cpus() -> None:
    asked = Conditions(pin=2, duet=Duet("partner", 1))
    assert Conditions.from_json(asked.to_json()) == asked
    for wrong in (
        {"duet": {"partner": "p", "half": 0}},
        {"pin": 1, "duet": {"partner": "p", "half": 2}},
        {"pin": 1, "duet": {"partner": "../p", "half": 0}},
        {"pin": 1, "duet": "p"},
    ):
        with pytest.raises(ProtocolError):
            Conditions.from_json(wrong)


def test_halves_have_cpus_of_their_own(tmp_path: Path) -> None:
    def plant(path: str, text: str) -> None:
        place = tmp_path / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text + "\n")

    plant("proc/self/status", "Cpus_allowed_list:\t0-7")
    for cpu in range(8):  # four cores of two CPUs: n and n + 4
        siblings = f"{cpu % 4},{cpu % 4 + 4}"
        plant(f"sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list", siblings)
    tree = Tree(str(tmp_path))
    for count, shared in ((1, False), (2, False), (3, True), (4, True)):
        one, other = (placement.choose_half(tree, count, half)[0] for half in (0, 1))
        assert one is not None
        assert other is not None
        assert len(one) == len(other) == count
        assert not set(one) & set(other)
        assert placement.share_cores(tree, one, other) is shared
    chosen, why = placement.choose_half(tree, 2, 0, within=[1, 2, 3])
    assert chosen is None
    assert "4 threads, but only 3 CPUs" in why
