"""How a node fares around a trial: a snapshot before, one after, and what lies between.

What cannot be told is None. Files are read, a few milliseconds in all; a maker's program is asked
only where a board has no file for what it tells.
"""

from __future__ import annotations

import datetime
import os
import re
import time
from typing import Any, Dict, Iterable, List, Mapping, Optional, Tuple

from orchestrate_agent.machine import cgroup, jetson, sensors, tools
from orchestrate_agent.machine.facts import meminfo_bytes
from orchestrate_agent.sysfs import Tree, to_float, to_int

#: The first columns of ``/proc/stat``'s ``cpu`` line; what follows is contained in them.
_CPU_STATES = ("user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal")
_BUSY_STATES = ("user", "nice", "system", "irq", "softirq")

#: Bits of the Raspberry Pi firmware's ``get_throttled``: now, and 16 bits up since boot.
_FIRMWARE_BITS = ("under_voltage", "frequency_capped", "throttled", "soft_temperature_limit")
_SINCE_BOOT_SHIFT = 16
#: Cooling devices that lower the clock of a CPU or GPU; the last ones are of JetPack 4.
_SLOWING = re.compile(r"\A((thermal-)?cpufreq-|(thermal-)?devfreq-|(cpu|gpu|emergency)-balanced\Z)")
_ASKED_BITS = re.compile(r"\Athrottled=0x([0-9a-fA-F]{1,8})\s*\Z")
_PLATFORM = "/sys/devices/platform"
_POWERCAP = "/sys/class/powercap"
_OF_A_CPU = re.compile(r"\Acpu([0-9]{1,5})\Z")
#: A machine with more has no kinds of cores, and every trial's lines would be long.
_MOST_CPUS = 64
#: No package draws more for long; at this rate the usual counter begins anew every nine minutes.
_MOST_WATTS = 500.0

Json = Dict[str, Any]


def snapshot(root: str = "/") -> Json:
    """The machine's state now; plain JSON values. Never raises.

    ``cpu_s`` are seconds since boot summed over all CPUs, ``busy_by_cpu_s`` those that each CPU
    spent at work, by its number, ``mhz`` the frequencies of ``count`` clock domains, ``energy_uj``
    microjoules by RAPL package, ``energy_range_uj`` where its counter begins again from 0,
    ``jetson`` what ``orchestrate_agent.machine.jetson`` tells, ``pressure`` the share of the last
    ten seconds, in percent, in which some task waited.
    """
    return of_machine(Tree(root))


def of_machine(tree: Tree) -> Json:
    """What :func:`snapshot` tells of the machine that ``tree`` has the files of."""
    stat = (tree.read("/proc/stat") or "").splitlines()
    return {
        "time": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="milliseconds"),
        "wall_clock_s": time.time(),
        "monotonic_s": time.monotonic(),
        "boot_id": tree.read("/proc/sys/kernel/random/boot_id"),
        "mhz": _spread(sensors.frequencies_mhz(tree)),
        "governor": sensors.governor(tree),
        "turbo": sensors.turbo(tree),
        "temperature_c": sensors.temperature_c(tree),
        "throttle": throttle(tree),
        "jetson": jetson.state(tree),
        "load1": to_float((tree.read("/proc/loadavg") or "").partition(" ")[0]),
        "running_processes": _stat_number(stat, "procs_running"),
        "context_switches": _stat_number(stat, "ctxt"),
        "cpu_s": cpu_seconds(tree),
        "busy_by_cpu_s": busy_by_cpu(stat),
        "memory_available_bytes": meminfo_bytes(tree.read("/proc/meminfo"), "MemAvailable"),
        "energy_uj": energy_uj(tree),
        "energy_range_uj": energy_ranges_uj(tree),
        "pressure": {name: _pressure(tree, name) for name in ("cpu", "memory")},
    }


def _spread(values: List[float]) -> Optional[Json]:
    if not values:
        return None
    mean = sum(values) / len(values)
    return {"min": min(values), "mean": round(mean, 3), "max": max(values), "count": len(values)}


def running_processes(tree: Tree) -> Optional[int]:
    """How many tasks run or could run now, the one that asks among them."""
    return _stat_number((tree.read("/proc/stat") or "").splitlines(), "procs_running")


def _stat_number(stat: List[str], key: str) -> Optional[int]:
    for line in stat:
        name, _, value = line.partition(" ")
        if name == key:
            return to_int(value)
    return None


def cpu_seconds(tree: Tree) -> Optional[Dict[str, float]]:
    """Seconds since boot in each state, summed over all CPUs; the kernel counts them in ticks."""
    stat = (tree.read("/proc/stat") or "").partition("\n")[0]
    columns = stat.split()
    ticks = [to_int(column) for column in columns[1 : 1 + len(_CPU_STATES)]]
    hertz = os.sysconf("SC_CLK_TCK")
    told = [n / hertz for n in ticks if n is not None]
    if columns[:1] != ["cpu"] or len(told) < len(_CPU_STATES):
        return None
    return dict(zip(_CPU_STATES, told))


def busy_by_cpu(stat: List[str]) -> Optional[Dict[str, float]]:
    """Seconds since boot that each CPU spent at work, by its number, in lines of ``/proc/stat``;
    None where they are not told, or there are very many."""
    hertz = os.sysconf("SC_CLK_TCK")
    found: Dict[str, float] = {}
    for line in stat:
        columns = line.split()
        number = _OF_A_CPU.match(columns[0]) if columns else None
        if number is None:
            continue
        ticks = dict(zip(_CPU_STATES, (to_int(column) for column in columns[1:])))
        told = [ticks.get(state) for state in _BUSY_STATES]
        if None in told:
            return None
        found[number.group(1)] = sum(n or 0 for n in told) / hertz
    return found if 1 < len(found) <= _MOST_CPUS else None


def throttle(tree: Tree) -> Json:
    """Counters and bits of every mechanism known to slow a CPU down behind one's back.

    ``over_current_events``: a Jetson's, whose supply was asked for too much. ``cooling_state``: how
    far the kernel has lowered a clock to cool, 0 for not at all. ``held_back_s``: seconds for which
    a control group's quota kept its processes from running.
    """
    return {
        "core_events": _thermal_events(tree, "core_throttle_count"),
        "package_events": _thermal_events(tree, "package_throttle_count"),
        "over_current_events": _over_current_events(tree),
        "cooling_state": _cooling_state(tree),
        "firmware_bits": _firmware_bits(tree),
        "under_voltage": _under_voltage(tree),
        "held_back_s": cgroup.held_back_s(tree),
    }


def _thermal_events(tree: Tree, name: str) -> Optional[int]:
    """Summed over the CPUs; each CPU of a core or package may count the same event."""
    folders = sensors.cpu_folders(tree)
    counts = [tree.integer(f"{folder}/thermal_throttle/{name}") for folder in folders]
    told = [count for count in counts if count is not None]
    return sum(told) if told else None


def _over_current_events(tree: Tree) -> Optional[int]:
    chips = tree.entries("/sys/class/hwmon", "hwmon*")
    counts = [tree.integer(f) for chip in chips for f in tree.entries(chip, "oc*_event_cnt")]
    told = [count for count in counts if count is not None]
    return sum(told) if told else None


def _cooling_state(tree: Tree) -> Optional[int]:
    """Tell how far the device is throttled that is slowed the most; fans are cooling devices, too,
    and are left out."""
    devices = tree.entries("/sys/class/thermal", "cooling_device*")
    slowing = [each for each in devices if _SLOWING.search(tree.read(each + "/type") or "")]
    states = [tree.integer(each + "/cur_state") for each in slowing]
    return max((state for state in states if state is not None), default=None)


def _firmware_bits(tree: Tree) -> Optional[int]:
    for soc in tree.entries(_PLATFORM, "soc*"):
        for firmware in tree.entries(soc, "*firmware"):
            bits = to_int(tree.read(firmware + "/get_throttled"), 16)
            if bits is not None:
                return bits
    # not every kernel of Raspberry Pi OS, and no container, has the file
    found = (
        _ASKED_BITS.search(tools.ask(tools.VCGENCMD, "get_throttled") or "")
        if tree.is_live
        else None
    )
    return int(found.group(1), 16) if found else None


def _under_voltage(tree: Tree) -> Optional[bool]:
    for chip in tree.entries("/sys/class/hwmon", "hwmon*"):
        if tree.read(chip + "/name") == "rpi_volt":
            return tree.flag(chip + "/in0_lcrit_alarm")
    return None


def energy_uj(tree: Tree) -> Optional[Dict[str, int]]:
    """Read the counter of each package; only root may read it since 2020 (CVE-2020-8694)."""
    return _of_packages(tree, "energy_uj")


def energy_ranges_uj(tree: Tree) -> Optional[Dict[str, int]]:
    """Read for each package where its counter begins again from 0."""
    return _of_packages(tree, "max_energy_range_uj")


def _of_packages(tree: Tree, file: str) -> Optional[Dict[str, int]]:
    found = {}
    for domain in tree.entries(_POWERCAP, "intel-rapl:*"):
        name = tree.read(domain + "/name") or ""
        number = tree.integer(f"{domain}/{file}") if name.startswith("package") else None
        if number is not None:
            found[name] = number
    return found or None


def _pressure(tree: Tree, name: str) -> Optional[float]:
    for line in (tree.read(f"/proc/pressure/{name}") or "").splitlines():
        words = line.split()
        if words[:1] == ["some"]:
            fields = dict(word.partition("=")[::2] for word in words[1:])
            return to_float(fields.get("avg10"))
    return None


def difference(before: Mapping[str, Any], after: Mapping[str, Any]) -> Json:
    """What happened between two snapshots of one machine.

    ``clock_jump_s`` is how far the wall clock moved beyond the time that passed (NTP steps,
    suspended guests). ``throttle_events`` is how far the thermal counters grew;
    ``throttle_reasons`` names each mechanism that acted, and is None, not empty, where the machine
    tells of none. ``busy_by_cpu_s`` is how long each CPU was at work that was, whoever's work it
    was. ``held_back_s`` is how long, summed over CPUs, a quota of CPU time kept the
    control group's processes from running; None without one. ``busy_s`` and ``steal_s`` are parts
    of ``cpu_s``, which is the time of all CPUs together in every state. Across a reboot only the
    wall clock counts.
    """
    if before.get("boot_id") != after.get("boot_id"):
        return {**dict.fromkeys(_DIFFERENCES), "rebooted": True}
    elapsed = _growth(before, after, "monotonic_s")
    wall = _delta(before.get("wall_clock_s"), after.get("wall_clock_s"))
    throttle = before.get("throttle") or {}, after.get("throttle") or {}
    events, reasons = _throttling(*throttle)
    cpu_before, cpu_after = before.get("cpu_s") or {}, after.get("cpu_s") or {}
    return {
        "rebooted": False,
        "elapsed_s": elapsed,
        "clock_jump_s": _delta(elapsed, wall),
        "cpu_s": _total(_growth(cpu_before, cpu_after, state) for state in _CPU_STATES),
        "busy_s": _total(_growth(cpu_before, cpu_after, state) for state in _BUSY_STATES),
        "steal_s": _growth(cpu_before, cpu_after, "steal"),
        "busy_by_cpu_s": _grown_each(before.get("busy_by_cpu_s"), after.get("busy_by_cpu_s")),
        "context_switches": _growth(before, after, "context_switches"),
        "throttle_events": events,
        "throttle_reasons": reasons,
        "held_back_s": _growth(*throttle, "held_back_s"),
        "energy_j": _energy_joules(before, after, elapsed),
    }


_DIFFERENCES = (
    "elapsed_s",
    "clock_jump_s",
    "cpu_s",
    "busy_s",
    "steal_s",
    "busy_by_cpu_s",
    "context_switches",
    "throttle_events",
    "throttle_reasons",
    "held_back_s",
    "energy_j",
)


def _delta(before: Any, after: Any) -> Any:
    return None if before is None or after is None else round(after - before, 6)


def _grown_each(
    before: Optional[Mapping[str, float]], after: Optional[Mapping[str, float]]
) -> Optional[Dict[str, float]]:
    """How much each counter grew that did; None where they are not the same ones."""
    if not before or not after or set(before) != set(after):
        return None
    grown = {name: _growth(before, after, name) for name in before}
    return {name: value for name, value in grown.items() if value}


def _growth(before: Mapping[str, Any], after: Mapping[str, Any], key: str) -> Any:
    """How much a counter grew; None where one that went backwards was reset or wrapped."""
    grown = _delta(before.get(key), after.get(key))
    return None if grown is None or grown < 0 else grown


def _throttling(
    before: Mapping[str, Any], after: Mapping[str, Any]
) -> Tuple[Optional[int], Optional[List[str]]]:
    core = _growth(before, after, "core_events")
    package = _growth(before, after, "package_events")
    events = None if core is None and package is None else (core or 0) + (package or 0)
    firmware = _firmware_reasons(before.get("firmware_bits"), after.get("firmware_bits"))
    alarms = (before.get("under_voltage"), after.get("under_voltage"))
    current = _growth(before, after, "over_current_events")
    cooling = [each.get("cooling_state") for each in (before, after)]
    if all(told is None for told in (events, firmware, current, *cooling, *alarms)):
        return None, None
    acted = {
        "core_temperature": core,
        "package_temperature": package,
        "cooling": any(cooling),
        "over_current": current,
        "under_voltage": True in alarms,
        **dict.fromkeys(firmware or (), True),
    }
    return events, [name for name, acts in acted.items() if acts]


def _firmware_reasons(before: Optional[int], after: Optional[int]) -> Optional[List[str]]:
    """The conditions that held at either end, or were first noted in between."""
    if before is None or after is None:
        return None
    first_noted = (after & ~before) >> _SINCE_BOOT_SHIFT
    held = before | after | first_noted
    return [name for bit, name in enumerate(_FIRMWARE_BITS) if held >> bit & 1]


def since_boot(throttle: Mapping[str, Any]) -> List[str]:
    """The conditions that a Raspberry Pi's firmware noted since the boot, or that hold now."""
    bits = throttle.get("firmware_bits") or 0
    noted = bits | bits >> _SINCE_BOOT_SHIFT
    return [name for bit, name in enumerate(_FIRMWARE_BITS) if noted >> bit & 1]


def busy_share(before: Optional[Json], after: Optional[Json]) -> Optional[float]:
    """The share of all CPUs' time that was spent at work between two :func:`cpu_seconds`."""
    if before is None or after is None:
        return None
    total = _total(_growth(before, after, state) for state in _CPU_STATES)
    busy = _total(_growth(before, after, state) for state in _BUSY_STATES)
    return busy / total if busy is not None and total else None


def _total(parts: Iterable[Optional[float]]) -> Optional[float]:
    """Add up the parts; None where one is missing."""
    known = list(parts)
    return None if None in known else round(sum(part or 0.0 for part in known), 6)


def _energy_joules(
    before: Mapping[str, Any], after: Mapping[str, Any], elapsed: Optional[float]
) -> Optional[float]:
    first, last = before.get("energy_uj"), after.get("energy_uj")
    if not first or not last or set(first) != set(last):
        return None
    ranges = after.get("energy_range_uj") or {}
    parts = [
        _counted_uj(first[name], last[name], ranges.get(name), elapsed or 0.0) for name in first
    ]
    return None if None in parts else round(sum(part or 0 for part in parts) / 1e6, 6)


def _counted_uj(first: int, last: int, wraps_at: Optional[int], elapsed: float) -> Optional[int]:
    """What a package's counter counted; None where it may have begun anew more than once."""
    if wraps_at is not None and elapsed * _MOST_WATTS * 1e6 >= wraps_at:
        return None
    return unwrapped(first, last, wraps_at)


def unwrapped(first: int, last: int, wraps_at: Optional[int]) -> Optional[int]:
    """What a counter counted that began anew at most once; None where it did, nobody knows when."""
    if last >= first:
        return last - first
    return None if wraps_at is None else last - first + wraps_at
