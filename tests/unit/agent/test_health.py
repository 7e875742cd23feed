"""Snapshots around a trial, and what lies between two of them."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrate_agent.machine import health
from orchestrator.frameworks.reading.circumstances import Circumstances, findings
from tests.cgroups import control_group
from tests.runner_cases import a_trial

DATA = Path(__file__).parents[2] / "data" / "facts" / "health"
CASES = sorted(DATA.glob("*.json"))


def plant(root: Path, files: dict[str, str]) -> str:
    for path, text in files.items():
        place = root / path.lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text, "utf-8")
    return str(root)


@pytest.mark.parametrize("kind", ["BIG", "MID", "cpu-1-0-usr", "x86_pkg_temp", "big-core"])
def test_the_hottest_of_the_cpu_s_sensors_whatever_its_maker_calls_them(
    kind: str, tmp_path: Path
) -> None:
    zones = {"0": ("battery", 90_000), "1": (kind, 51_000), "2": ("bigger", 80_000)}
    files: dict[str, str] = {}
    for number, (name, millidegrees) in zones.items():
        zone = f"/sys/class/thermal/thermal_zone{number}"
        files |= {f"{zone}/type": f"{name}\n", f"{zone}/temp": f"{millidegrees}\n"}
    assert health.snapshot(plant(tmp_path, files))["temperature_c"] == 51


def chosen(told: Any, expected: Any) -> Any:
    """The part of ``told`` that ``expected`` speaks of."""
    if isinstance(expected, dict) and isinstance(told, dict):
        return {key: chosen(told[key], value) for key, value in expected.items()}
    return told


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_snapshots_and_what_lies_between(path: Path, tmp_path: Path) -> None:
    case = json.loads(path.read_text("utf-8"))
    root = plant(tmp_path, case["before"])
    before = health.snapshot(root)
    assert chosen(before, case["snapshot"]) == case["snapshot"]
    plant(tmp_path, case["after"])
    after = health.snapshot(root)
    told = json.loads(json.dumps(health.difference(before, after), allow_nan=False))
    assert chosen(told, case["difference"]) == case["difference"]


def test_an_empty_machine_tells_only_the_time(tmp_path: Path) -> None:
    told = health.snapshot(str(tmp_path))
    clocks = {name: told.pop(name) for name in ("time", "wall_clock_s", "monotonic_s")}
    assert None not in clocks.values()
    assert set(told.pop("throttle").values()) == {None}
    assert set(told.pop("pressure").values()) == {None}
    assert set(told.values()) == {None}


@pytest.mark.parametrize(
    "line", ["cpu  1 2 3", "cpu  1 2 x 4 5 6 7 8", "intr 1 2 3 4 5 6 7 8 9", ""]
)
def test_a_torn_stat_is_not_told(line: str, tmp_path: Path) -> None:
    told = health.snapshot(plant(tmp_path, {"/proc/stat": line + "\n"}))
    assert told["cpu_s"] is None


STAT = """cpu  300 0 100 5000 0 0 0 0 0 0
cpu0 {0} 0 50 2500 7 0 0 9 0 0
cpu1 100 0 50 2500 7 0 0 9 0 0
intr 1
"""


def test_where_cpus_were_at_work_is_told_cpu_by_cpu(tmp_path: Path) -> None:
    hertz = os.sysconf("SC_CLK_TCK")
    before = health.snapshot(plant(tmp_path, {"/proc/stat": STAT.format(200)}))
    after = health.snapshot(plant(tmp_path, {"/proc/stat": STAT.format(350)}))
    assert before["busy_by_cpu_s"] == {"0": 250 / hertz, "1": 150 / hertz}  # not idle, not stolen
    assert health.difference(before, after)["busy_by_cpu_s"] == {"0": 150 / hertz}


@pytest.mark.parametrize("cpus", [1, 65])
def test_one_cpu_or_very_many_are_not_told_apart(cpus: int, tmp_path: Path) -> None:
    lines = [f"cpu{number} 1 0 1 1 0 0 0 0" for number in range(cpus)]
    told = health.snapshot(plant(tmp_path, {"/proc/stat": "\n".join(lines)}))
    assert told["busy_by_cpu_s"] is None


def clocks(wall: float, monotonic: float, **more: Any) -> dict[str, Any]:
    return {"boot_id": "b", "wall_clock_s": wall, "monotonic_s": monotonic, **more}


def test_a_clock_that_was_set_back_is_seen() -> None:
    told = health.difference(clocks(1000.0, 50.0), clocks(941.5, 51.5))
    assert (told["elapsed_s"], told["clock_jump_s"]) == (1.5, -60.0)


def test_a_steady_clock_does_not_jump() -> None:
    assert health.difference(clocks(1000.0, 50.0), clocks(1002.0, 52.0))["clock_jump_s"] == 0


def test_counters_across_a_reboot_are_not_subtracted() -> None:
    before = clocks(1000.0, 50.0, context_switches=100)
    told = health.difference(before, {**clocks(1100.0, 90.0, context_switches=900), "boot_id": "c"})
    assert told.pop("rebooted") is True
    assert set(told.values()) == {None}
    same = health.difference(before, before)
    assert set(same) == {*told, "rebooted"}


def test_a_counter_that_went_backwards_is_not_told() -> None:
    before = clocks(1.0, 1.0, context_switches=9, energy_uj={"package-0": 262_000_000_000})
    after = clocks(2.0, 2.0, context_switches=1, energy_uj={"package-0": 5})
    told = health.difference(before, after)
    assert told["context_switches"] is None
    assert told["energy_j"] is None


@pytest.mark.parametrize(
    ("before", "after", "reasons"),
    [
        (0x0, 0x0, []),
        # noted earlier in this boot, not in between
        (0x50000, 0x50000, []),
        # held and let go again in between: only the lasting bit shows it
        (0x0, 0x20000, ["frequency_capped"]),
        (0x0, 0x50005, ["under_voltage", "throttled"]),
        (0x80008, 0x80000, ["soft_temperature_limit"]),
        (None, 0x0, None),
    ],
)
def test_raspberry_pi_firmware_bits(
    before: int | None, after: int, reasons: list[str] | None
) -> None:
    told = health.difference(
        clocks(1, 1, throttle={"firmware_bits": before}),
        clocks(2, 2, throttle={"firmware_bits": after}),
    )
    assert told["throttle_reasons"] == reasons
    assert told["throttle_events"] is None


def test_frequencies_stop_at_the_budget(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where each reading sleeps, as on Linux 5.4, a snapshot must not take one sleep a CPU."""
    files = {
        f"/sys/devices/system/cpu/cpufreq/policy{n}/scaling_cur_freq": f"{1000 + n}000\n"
        for n in range(8)
    }
    root = plant(tmp_path, files)
    whole = health.snapshot(root)["mhz"]
    assert whole == {"min": 1000.0, "mean": 1003.5, "max": 1007.0, "count": 8}
    monkeypatch.setattr("orchestrate_agent.machine.sensors._FREQUENCY_BUDGET_S", -1.0)
    assert health.snapshot(root)["mhz"] == {"min": 1000, "mean": 1000, "max": 1000, "count": 1}


@pytest.mark.skipif(platform.system() != "Linux", reason="reads /proc of Linux")
def test_this_machine_sees_work_done() -> None:
    before = health.snapshot()
    code = "import time\nend = time.process_time() + 0.3\nwhile time.process_time() < end: pass"
    subprocess.run([sys.executable, "-c", code], check=True)
    after = health.snapshot()
    told = health.difference(before, after)
    assert told["rebooted"] is False
    # the kernel samples this by ticks, so only the order of magnitude is sure
    assert told["busy_s"] + told["steal_s"] >= 0.1
    assert told["elapsed_s"] >= 0.3
    assert told["context_switches"] > 0
    assert abs(told["clock_jump_s"]) < 1
    assert after["memory_available_bytes"] > 0
    assert after["running_processes"] >= 1


_BURN = """
import json, os, sys, time
from pathlib import Path
from orchestrate_agent.machine import facts, health
Path(sys.argv[1], "cgroup.procs").write_text(str(os.getpid()))
before = health.snapshot()
end = time.process_time() + 0.02
while time.process_time() < end: pass
told = [facts.collect()["cpu"]["cpu_quota"], health.difference(before, health.snapshot())]
print(json.dumps(told))
"""


@pytest.fixture
def a_twentieth_of_a_cpu() -> Iterator[Path]:
    """A control group with so little CPU time that other load on this machine cannot leave it
    less."""
    v1 = {"cpu.cfs_quota_us": "1000", "cpu.cfs_period_us": "20000"}
    with control_group("cpu", v1, {"cpu.max": "1000 20000"}) as place:
        yield place


def test_a_quota_is_a_fact_and_what_it_held_back_is_measured(
    a_twentieth_of_a_cpu: Path,
) -> None:
    argv = [sys.executable, "-c", _BURN, str(a_twentieth_of_a_cpu)]
    root = Path(__file__).resolve().parents[3]
    done = subprocess.run(argv, cwd=root, check=True, capture_output=True, timeout=60)
    quota, during = json.loads(done.stdout)
    assert quota == 0.05
    # summed over CPUs, and told when a stop is over, which may have begun before
    cpus, begun_before_s = os.cpu_count() or 1, 1.0
    assert 0 < during["held_back_s"] < cpus * (during["elapsed_s"] + begun_before_s)
    assert "quota_reached" in [f.code for f in findings(a_trial(), Circumstances(during=during))]
