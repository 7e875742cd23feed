"""What the agent tells of a trial's surroundings, as findings and as energy."""

from __future__ import annotations

import json
import math
import random
from pathlib import Path
from typing import Any

import pytest

from orchestrate_agent.machine import health
from orchestrator.frameworks.reading.child_output import drift_of
from orchestrator.frameworks.reading.circumstances import (
    Circumstances,
    energy_of,
    findings,
    load_share,
)
from orchestrator.measurement import Invocations, Measurement
from orchestrator.trial import TrialKind
from tests.runner_cases import a_trial

HEALTH = Path(__file__).parents[2] / "data" / "facts" / "health"


def codes(kind: TrialKind = TrialKind.TIMING, **seen: Any) -> list[str]:
    return [finding.code for finding in findings(a_trial(kind=kind), Circumstances(**seen))]


def between(**more: Any) -> dict[str, Any]:
    quiet = {"elapsed_s": 5.0, "cpu_s": 10.0, "busy_s": 5.1, "steal_s": 0.0, "clock_jump_s": 0.0}
    return {**quiet, **more}


OWN = {"user_s": 4.5, "sys_s": 0.5}


def test_a_quiet_trial_has_no_findings() -> None:
    assert codes(during=between(throttle_reasons=[]), rusage=OWN) == []
    assert codes() == []  # a machine that tells nothing


@pytest.mark.parametrize(
    ("during", "code"),
    [
        ({"busy_s": 6.5}, "load"),
        ({"steal_s": 0.2}, "steal"),
        ({"clock_jump_s": -3.0}, "clock_jump"),
        ({"held_back_s": 0.3}, "quota_reached"),
        ({"throttle_reasons": ["core_temperature"]}, "throttled"),
        ({"throttle_reasons": ["frequency_capped"]}, "throttled"),
        ({"throttle_reasons": ["under_voltage"]}, "under_voltage"),
    ],
)
def test_what_happened_meanwhile(during: dict[str, Any], code: str) -> None:
    assert codes(during=between(**during), rusage=OWN) == [code]
    assert codes(TrialKind.MEMORY, during=between(**during), rusage=OWN) == []


@pytest.mark.parametrize(
    "during",
    [
        {"busy_s": 5.9},  # 9 % of the machine
        {"busy_s": 4.0},  # ticks that missed some of the trial's own time
        {"busy_s": None},
        {"cpu_s": 0.0},
        {"cpu_s": 0.9, "busy_s": 9.0, "steal_s": 5.0},  # some ninety ticks
        {"steal_s": 0.1},
        {"held_back_s": 0.2},
        {"clock_jump_s": 0.04},
        {"clock_jump_s": None},
        {"elapsed_s": 300.0, "clock_jump_s": 0.15},  # 500 ppm: slewed, not set
    ],
)
def test_what_is_within_bounds_or_not_told(during: dict[str, Any]) -> None:
    assert codes(during=between(**during), rusage=OWN) == []


def test_the_load_is_that_of_others() -> None:
    seen = Circumstances(during=between(busy_s=7.0), rusage=OWN)
    assert load_share(seen) == pytest.approx(0.2)


def clocked(governor: str | None, mhz: float | None) -> dict[str, Any]:
    return {"governor": governor, "mhz": None if mhz is None else {"max": mhz}}


def jetson(mode: int, locked: bool) -> dict[str, Any]:
    return {"jetson": {"power_mode_id": mode, "clocks_locked": locked}}


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (clocked("powersave", None), clocked("performance", None), ["frequency_changed"]),
        (clocked("ondemand", 800), clocked("ondemand", 3500), []),
        (clocked("performance", 3500), clocked("performance", 2800), ["frequency_changed"]),
        (clocked("performance", 3500), clocked("performance", 3300), []),
        (clocked("performance", None), clocked("performance", None), []),
        (clocked(None, 2000), clocked(None, 1000), []),  # nobody said it should stay
        (jetson(0, True), jetson(2, True), ["frequency_changed"]),
        (jetson(0, True), jetson(0, False), ["frequency_changed"]),
        (jetson(0, True), jetson(0, True), []),
    ],
)
def test_clocks_that_moved(
    before: dict[str, Any], after: dict[str, Any], expected: list[str]
) -> None:
    assert codes(before=before, after=after) == expected


def test_a_gate_that_gave_up_says_what_it_waited_for() -> None:
    gate = {
        "timed_out": True,
        "load": 0.5,
        "load_bound": 0.1,
        "temperature_c": 81.0,
        "temperature_bound_c": 70.0,
    }
    (finding,) = findings(a_trial(), Circumstances(conditions={"gate": gate}))
    assert finding.code == "gate_timeout"
    assert "too busy and too hot" in finding.message
    assert codes(conditions={"gate": {**gate, "timed_out": False}}) == []
    assert codes(conditions={"gate": None}) == []


def test_a_binary_that_was_pinned_by_nothing() -> None:
    assert codes(unpinned_binary=True) == ["unpinned_binary"]
    assert codes(TrialKind.MEMORY, unpinned_binary=True) == ["unpinned_binary"]


def test_a_recorded_raspberry_pi_was_throttled(tmp_path: Path) -> None:
    """The snapshots of a tree as a Pi has it, through the agent's own code."""
    case = json.loads((HEALTH / "raspberry-pi.json").read_text())
    snapshots = []
    for part in ("before", "after"):
        for path, text in case[part].items():
            place = tmp_path / path.lstrip("/")
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(text)
        snapshots.append(health.snapshot(str(tmp_path)))
    during = health.difference(*snapshots)
    assert during["throttle_reasons"]
    found = set(codes(during=during))
    wanted = {"under_voltage"} if "under_voltage" in during["throttle_reasons"] else set()
    if set(during["throttle_reasons"]) - {"under_voltage"}:
        wanted.add("throttled")
    assert found >= wanted
    assert wanted


# --- drift ---------------------------------------------------------------------------------------


def noisy(count: int, slope: float, seed: int = 1) -> list[float]:
    draw = random.Random(seed)
    return [1000 * (1 + slope * i / count) * math.exp(draw.gauss(0, 0.02)) for i in range(count)]


def test_a_phase_that_becomes_slower_drifts() -> None:
    assert drift_of(noisy(90, 0.3)) == pytest.approx(1.19, abs=0.02)
    assert drift_of(noisy(90, -0.3)) == pytest.approx(0.79, abs=0.02)


def test_noise_is_no_drift() -> None:
    called = [drift_of(noisy(30, 0.0, seed)) is not None for seed in range(500)]
    assert sum(called) <= 5


def test_too_few_inferences_say_nothing() -> None:
    assert drift_of([1.0] * 10 + [9.0] * 19) is None
    assert drift_of([]) is None
    assert drift_of([0.0] * 10 + [1.0] * 20) is None


def test_a_step_without_noise_is_seen() -> None:
    assert drift_of([1.0] * 20 + [2.0] * 20) == 2.0


# --- energy --------------------------------------------------------------------------------------


def measured(
    count: int = 10, mean_us: float | None = 1e5, window: tuple[float, float] | None = (12.0, 13.0)
) -> Measurement:
    steady = Invocations(count=count, mean_us=mean_us)
    return Measurement(None, None, None, steady, steady_window_s=window)


def power(*samples: tuple[float, float]) -> dict[str, Any]:
    return {"source": "rapl package", "samples": [list(each) for each in samples]}


#: Ten watts until 12.1 s, thirty after.
STEPS = power((10.0, 0.0), (11.9, 19.0), (12.1, 21.0), (12.6, 36.0), (13.1, 51.0))


def test_the_energy_is_that_of_the_steady_phase_alone() -> None:
    found = energy_of(STEPS, measured())
    assert found is not None
    assert found.joules == pytest.approx(1.0 + 15.0 + 12.0)
    assert found.mj_per_inference == pytest.approx(2800)
    assert (found.source, found.window_s, found.inferences) == ("rapl package", 1.0, 10)


def test_a_runner_that_tells_no_time_ends_with_its_steady_phase() -> None:
    found = energy_of(STEPS, measured(window=None))  # ten times 0.1 s before 13.1
    assert found is not None
    assert found.joules == pytest.approx(30.0)


@pytest.mark.parametrize(
    ("told", "measurement"),
    [
        (None, measured()),
        (power(), measured()),
        (STEPS, measured(window=(12.0, 14.0))),  # beyond the last sample
        (STEPS, measured(window=(9.0, 13.0))),
        (STEPS, measured(window=(12.0, 12.2))),  # one sample within
        (STEPS, measured(window=None, mean_us=None)),
        (power((10.0, 0.0)), measured()),
    ],
)
def test_what_cannot_be_told_is_none(told: dict[str, Any] | None, measurement: Measurement) -> None:
    assert energy_of(told, measurement) is None
