"""How far conditions were controlled, and what a throttled or metered run shows in the table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from orchestrator.analysis import analyse
from orchestrator.analysis.sides.control import control, states
from orchestrator.analysis.table import Speedup, Verdict
from orchestrator.measurement import Energy, Finding
from orchestrator.runs.records import TrialRecord
from tests.analysis_runs import ok, run_of

FIXED = {"governor": "performance", "turbo": False}
PINNED: dict[str, Any] = {"pinned": [3], "tuned": {}, "reasons": [], "gate": None}
FREE: dict[str, Any] = {"pinned": None, "tuned": {}, "reasons": [], "gate": None}


def jetson(governor: str, mode: str | None, *, locked: bool) -> dict[str, Any]:
    told = {"power_mode": mode, "power_mode_id": 2, "clocks_locked": locked}
    return {"governor": governor, "turbo": None, "jetson": told}


def records(conditions: Mapping[str, Any] | None, before: Mapping[str, Any]) -> list[TrialRecord]:
    return [
        replace(ok("float32", block, 1.0), conditions=conditions, health_before=before)
        for block in range(3)
    ]


@pytest.mark.parametrize(
    ("facts", "conditions", "before", "expected"),
    [
        ({}, PINNED, FIXED,
         "controlled: pinned to CPUs of its own; governor performance; turbo off"),
        # a Raspberry Pi has no turbo to turn off
        ({"virtualization": "none"}, PINNED, {"governor": "performance", "turbo": None},
         "controlled: pinned to CPUs of its own; governor performance"),
        ({}, FREE, {"governor": "ondemand", "turbo": True},
         "uncontrolled: not pinned (`pin: true` or `tune: true`); governor ondemand "
         "(`tune: true` sets performance); turbo on (`tune: true` turns it off)"),
        ({}, {**PINNED, "reasons": ["governor: /sys/x: Permission denied"]},
         {"governor": "powersave", "turbo": None},
         "partly controlled: pinned to CPUs of its own; governor: /sys/x: Permission denied"),
        ({"virtualization": "kvm"}, FREE, {},
         "uncontrolled: not pinned (`pin: true` or `tune: true`); the clock is not told "
         "(`tune: true` sets performance); a virtual machine (kvm), whose host decides on clocks "
         "and CPUs"),
        ({"virtualization": "qemu-user"}, PINNED, FIXED,
         "partly controlled: pinned to CPUs of its own; governor performance; turbo off; emulated "
         "(qemu-user), at the speed of no CPU"),
        ({"virtualization": "kvm"}, PINNED, FIXED,
         "partly controlled: pinned to CPUs of its own; governor performance; turbo off; a virtual "
         "machine (kvm), whose host decides on clocks and CPUs"),
        ({"container": "docker", "cpu": {"cpu_quota": 1.5}}, PINNED, FIXED,
         "partly controlled: pinned to CPUs of its own; governor performance; turbo off; a quota "
         "of 1.5 CPUs' time; a container (docker), which others may share the machine with"),
        # a Jetson whose clocks jetson_clocks has locked: no governor moves them
        ({}, PINNED, jetson("schedutil", "MODE_15W", locked=True),
         "controlled: pinned to CPUs of its own; clocks locked; power mode MODE_15W"),
        ({}, PINNED, jetson("performance", None, locked=False),
         "partly controlled: pinned to CPUs of its own; governor performance; clocks not locked "
         "(`sudo jetson_clocks`); power mode number 2"),
        ({}, None, FIXED, "uncontrolled: nothing is recorded of the conditions"),
        # a trial of one thread that may move between two CPUs
        ({}, {**PINNED, "pinned": [2, 3]}, FIXED,
         "partly controlled: governor performance; turbo off; not pinned (`pin: true` or "
         "`tune: true`)"),
    ],
)  # fmt: skip
def test_control_in_words(
    facts: Mapping[str, Any],
    conditions: Mapping[str, Any] | None,
    before: Mapping[str, Any],
    expected: str,
) -> None:
    assert control(facts, states(records(conditions, before))) == expected


def test_one_trial_under_another_governor_is_enough() -> None:
    mixed = [*records(PINNED, FIXED), *records(PINNED, {**FIXED, "governor": "powersave"})]
    assert control({}, states(mixed)).startswith("partly controlled")
    assert "performance and powersave" in control({}, states(mixed))


def test_without_trials_nothing_is_said() -> None:
    assert control({}, states([])) == ""


# --- in the table --------------------------------------------------------------------------------

SPENT = Finding("quota_reached", "the quota was spent", "raise it")
HOT = Finding("throttled", "it was slowed down", "cool it")


def row(edit: Any = lambda record, block: record, **run: Any) -> Speedup:
    made = []
    for block in range(12):
        jitter = 1 + 0.001 * (block % 5)
        for scheme, replicate, us in (
            ("float32", 0, 2e4),
            ("float32", 1, 2e4),
            ("full_int8", 0, 1e4),
        ):
            record = ok(scheme, block, us * jitter * (1 + 0.0005 * replicate), replicate=replicate)
            made.append(edit(record, block))
    (found,) = analyse(replace(run_of(made), **run)).rows
    return found


@pytest.mark.parametrize(
    ("blocks", "scheme", "valid"),
    [(3, "full_int8", True), (4, "full_int8", False), (4, "float32", False), (3, "float32", True)],
)
@pytest.mark.parametrize("slowed", [HOT, SPENT], ids=lambda finding: finding.code)
def test_more_than_a_quarter_of_throttled_trials_forbids(
    blocks: int, scheme: str, valid: bool, slowed: Finding
) -> None:
    def edit(record: TrialRecord, block: int) -> TrialRecord:
        hot = record.trial.variant.scheme == scheme and block < blocks
        return replace(record, findings=(slowed,)) if hot else record

    found = row(edit)
    assert [f.code for f in found.findings if f.code == slowed.code] == [slowed.code]
    assert (found.verdict is not Verdict.INVALID) is valid


def test_no_share_of_busy_trials_forbids() -> None:
    busy = Finding("load", "others were at work", "stop them")
    found = row(lambda record, _: replace(record, findings=(busy,)))
    assert found.verdict is Verdict.FASTER
    assert "load" in [f.code for f in found.findings]


def metered(joules: float, source: str = "rapl package") -> Energy:
    return Energy(source, joules, inferences=100, window_s=1.0)


def test_energy_and_co2_of_one_inference() -> None:
    def edit(record: TrialRecord, block: int) -> TrialRecord:
        joules = 36.0 if record.trial.variant.scheme == "float32" else 9.0
        return replace(record, energy=metered(joules + 0.01 * block))

    found = row(edit, grid_gco2_per_kwh={"here": 400.0})
    assert found.baseline_energy_mj == pytest.approx(360.55)
    assert found.treatment_energy_mj == pytest.approx(90.55)
    # 360.55 mJ are 1.0015e-7 kWh, at 400 g/kWh 40.06 µg
    assert found.baseline_co2_ug == pytest.approx(40.061, rel=1e-4)
    assert found.energy_source == "rapl package"
    assert row(edit).baseline_co2_ug is None


def test_figures_of_two_meters_are_not_mixed() -> None:
    def edit(record: TrialRecord, block: int) -> TrialRecord:
        return replace(record, energy=metered(1.0, "ina VDD_IN" if block % 2 else "rapl package"))

    assert row(edit).baseline_energy_mj is None
    assert row().energy_source == ""
