"""What changes while a machine runs: clock frequency, governor, turbo, temperature.

Shared by ``facts`` (once) and ``health`` (around every trial).
"""

from __future__ import annotations

import re
import time
from typing import Dict, List, Optional, Tuple

from orchestrate_agent.machine import cpuinfo
from orchestrate_agent.sysfs import Tree

CPUS = "/sys/devices/system/cpu"
NO_TURBO = CPUS + "/intel_pstate/no_turbo"
_CPU = "cpu[0-9]*"
_CPU_ZONE = re.compile(r"x86_pkg_temp|cpu|(big|little)-?core|\A(big|mid|little)\Z", re.IGNORECASE)
_THERMAL = re.compile(r"[-_]therm(al)?\Z")
_CPU_CHIPS = frozenset({"coretemp", "k10temp", "zenpower", "cpu_thermal"})
#: A sensor that is switched off reports absolute zero or garbage rather than an error.
_PLAUSIBLE_MILLIDEGREES = range(-40_000, 150_001)
#: Linux 4.13 to 5.17 sleep 10 ms for each x86 CPU whose frequency is asked for after a pause.
_FREQUENCY_BUDGET_S = 0.002


def cpu_folders(tree: Tree) -> List[str]:
    """``/sys/devices/system/cpu/cpuN`` of every CPU the kernel lists."""
    return tree.entries(CPUS, _CPU)


def policies(tree: Tree) -> List[str]:
    """The cpufreq folders; CPUs that share a clock share one."""
    shared = tree.entries(CPUS + "/cpufreq", "policy*")
    return shared or [folder + "/cpufreq" for folder in cpu_folders(tree)]


def governor(tree: Tree) -> Optional[str]:
    """The cpufreq governor; where CPUs differ, each once, joined by commas."""
    each = {tree.read(policy + "/scaling_governor") for policy in policies(tree)}
    return ",".join(sorted(name for name in each if name)) or None


def turbo_switches(tree: Tree) -> List[Tuple[str, str]]:
    """Every file that turns turbo on or off, with the word that turns it off; one kind of them."""
    if tree.exists(NO_TURBO):
        return [(NO_TURBO, "1")]
    if tree.exists(CPUS + "/cpufreq/boost"):
        return [(CPUS + "/cpufreq/boost", "0")]
    # since Linux 6.11 each clock domain may have its own
    return [(f"{p}/boost", "0") for p in policies(tree) if tree.exists(f"{p}/boost")]


def turbo(tree: Tree) -> Optional[bool]:
    """Whether some CPU may clock above its nominal frequency; None where nothing tells."""
    told = [(tree.read(path), off) for path, off in turbo_switches(tree)]
    known = [text != off for text, off in told if text in ("0", "1")]
    return any(known) if known else None


def frequencies_mhz(tree: Tree) -> List[float]:
    """Present frequencies, one a clock domain; those that could be read within 2 ms."""
    found = []
    deadline = time.monotonic() + _FREQUENCY_BUDGET_S
    for policy in policies(tree):
        khz = tree.integer(policy + "/scaling_cur_freq")
        if khz is not None:
            found.append(khz / 1000)
        if time.monotonic() > deadline:
            break
    if found:
        return found
    processors = cpuinfo.parse(tree.read("/proc/cpuinfo")).processors
    return [processor.mhz for processor in processors if processor.mhz is not None]


def temperature_c(tree: Tree) -> Optional[float]:
    """The hottest CPU sensor, in degrees Celsius."""
    millidegrees = [*_zones(tree), *_chips(tree)]
    plausible = [value for value in millidegrees if value in _PLAUSIBLE_MILLIDEGREES]
    return max(plausible) / 1000 if plausible else None


def zones_c(tree: Tree) -> Dict[str, float]:
    """Every thermal zone that tells a temperature, in degrees Celsius, by its name.

    Named as tegrastats does: ``CPU`` for what the kernel calls ``CPU-therm`` or ``CPU-thermal``.
    """
    found = {}
    for zone in tree.entries("/sys/class/thermal", "thermal_zone*"):
        name, value = tree.read(zone + "/type"), tree.integer(zone + "/temp")
        if name and value is not None and value in _PLAUSIBLE_MILLIDEGREES:
            found[_THERMAL.sub("", name)] = value / 1000
    return found


def plausible_c(celsius: float) -> bool:
    """Whether a sensor that is on may say so."""
    return round(celsius * 1000) in _PLAUSIBLE_MILLIDEGREES


def cpu_zones(tree: Tree) -> List[str]:
    """The folders of the thermal zones that are the CPU's."""
    zones = tree.entries("/sys/class/thermal", "thermal_zone*")
    return [zone for zone in zones if _CPU_ZONE.search(tree.read(zone + "/type") or "")]


def _zones(tree: Tree) -> List[int]:
    return _readings(tree, [zone + "/temp" for zone in cpu_zones(tree)])


def _chips(tree: Tree) -> List[int]:
    found = []
    for chip in tree.entries("/sys/class/hwmon", "hwmon*"):
        if tree.read(chip + "/name") in _CPU_CHIPS:
            found += _readings(tree, _sensors(tree, chip))
    return found


def _sensors(tree: Tree, chip: str) -> List[str]:
    """The sensors that speak for the whole package, else all of the chip's.

    coretemp's package sensor is the hottest of its cores, and each reading interrupts a core;
    k10temp's Tctl is, on some parts, Tdie with an offset for the fan.
    """
    sensors = tree.entries(chip, "temp*_input")
    labels = {sensor: tree.read(sensor[: -len("input")] + "label") or "" for sensor in sensors}
    whole = [sensor for sensor in sensors if labels[sensor].startswith(("Package", "Tdie"))]
    return whole or sensors


def _readings(tree: Tree, paths: List[str]) -> List[int]:
    values = [tree.integer(path) for path in paths]
    return [value for value in values if value is not None]
