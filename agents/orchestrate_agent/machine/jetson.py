"""A Jetson's power mode, its locked clocks, its temperatures and what its rails take.

``nvpmodel`` keeps the mode that is set in ``/var/lib/nvpmodel/status`` and the modes that there are
in ``/etc/nvpmodel.conf``; ``jetson_clocks`` sets the lowest frequency of every CPU and the GPU to
the highest; tegrastats reads the thermal zones and the INA chips. All of that is read from the same
files. Where they are not to be had, in a container for instance, ``nvpmodel`` and ``tegrastats``
are asked themselves; ``jetson_clocks --show`` is not, as it needs root and reads no other files.
"""

from __future__ import annotations

import re
from typing import Any, Dict, List, Optional, Tuple

from orchestrate_agent.machine import ina, sensors, tools
from orchestrate_agent.sysfs import Tree, to_int

NVPMODEL, TEGRASTATS = "nvpmodel", "tegrastats"

_RELEASE = "/etc/nv_tegra_release"
_COMPATIBLE = "/proc/device-tree/compatible"
_STATUS = "/var/lib/nvpmodel/status"
_MODES = "/etc/nvpmodel.conf"
_SET = re.compile(r"pmode:0*(\d+)")
_MODE = re.compile(r"<\s*POWER_MODEL\s+ID=(\d+)\s+NAME=([^\s>]{1,64})")
#: ``nvpmodel -q``: a line with the name, and the number on the next.
_ASKED = re.compile(r"^NV Power Mode:\s*(\S{1,64})\s*\n\s*(\d+)\s*$", re.M)
_L4T = re.compile(r"#\s*R(\d+)\s*\(release\),\s*REVISION:\s*([\d.]+)")
_DEVFREQ = "/sys/class/devfreq"
#: ``CPU@47.5C``, and ``VDD_IN 4567mW/4567mW`` (now/average), which JetPack 4 writes without unit.
#: ``RAM 1903/3956MB`` is not a power.
_TEMPERATURE = re.compile(r"(?<!\S)([\w-]{1,40})@(-?\d{1,4}(?:\.\d+)?)C(?!\S)")
_POWER = re.compile(r"(?<!\S)([A-Z]\w{1,39}) (\d{1,7})(?:mW)?/\d{1,7}(?:mW)?(?!\S)")
_INTERVAL_MS = "100"

Json = Dict[str, Any]


def describe(tree: Tree) -> Optional[Json]:
    """``l4t`` (NVIDIA's release, ``35.4.1``) and the present :func:`state`; None where this is
    not a Jetson."""
    now = state(tree)
    found = _L4T.search(tree.read(_RELEASE) or "")
    release = f"{found.group(1)}.{found.group(2)}" if found else None
    return None if now is None else {"l4t": release, **now}


def state(tree: Tree) -> Optional[Json]:
    """What may change while it runs; None where this is not a Jetson.

    ``power_mode`` (its name), ``power_mode_id``, ``clocks_locked``, each None where it is not
    told; ``temperatures_c`` by thermal zone and ``power_w`` by rail, empty where none is told.
    """
    if not _is_jetson(tree):
        return None
    number, name = _mode(tree)
    temperatures_c, power_w = _telemetry(tree)
    return {
        "power_mode": name,
        "power_mode_id": number,
        "clocks_locked": _clocks_locked(tree),
        "temperatures_c": temperatures_c,
        "power_w": power_w,
    }


def _is_jetson(tree: Tree) -> bool:
    # in a container the release may be that of another image; the device tree is the machine's
    return tree.exists(_RELEASE) or "nvidia,tegra" in (tree.read(_COMPATIBLE) or "")


def _mode(tree: Tree) -> Tuple[Optional[int], Optional[str]]:
    """Number and name of the power mode."""
    found = _SET.search(tree.read(_STATUS) or "")
    number = to_int(found.group(1)) if found else None
    name = None if number is None else _name(tree, number)
    if name is None and tree.is_live:
        asked = _ASKED.search(tools.ask(NVPMODEL, "-q") or "")
        if asked:
            return to_int(asked.group(2)), asked.group(1)
    return number, name


def _name(tree: Tree, mode: int) -> Optional[str]:
    for number, name in _MODE.findall(tree.read(_MODES) or ""):
        if to_int(number) == mode:
            return str(name)
    return None


def _clocks_locked(tree: Tree) -> Optional[bool]:
    """Whether no CPU and no GPU may change its frequency."""
    ranges = [
        _range(tree, f, "scaling_min_freq", "scaling_max_freq") for f in sensors.policies(tree)
    ]
    ranges += [_range(tree, f, "min_freq", "max_freq") for f in _gpus(tree)]
    known = [each for each in ranges if each is not None]
    return all(low == high for low, high in known) if known else None


def _gpus(tree: Tree) -> List[str]:
    # gpu.0 and 17000000.ga10b (Orin), 17000000.gv11b (Xavier), 57000000.gpu (Nano)
    return [p for pattern in ("*gpu*", "*.g[avp]*b") for p in tree.entries(_DEVFREQ, pattern)]


def _range(tree: Tree, folder: str, low: str, high: str) -> Optional[Tuple[int, int]]:
    lowest, highest = tree.integer(f"{folder}/{low}"), tree.integer(f"{folder}/{high}")
    return None if lowest is None or highest is None else (lowest, highest)


def _telemetry(tree: Tree) -> Tuple[Dict[str, float], Dict[str, float]]:
    """Temperatures in degrees Celsius and power in watts."""
    temperatures_c = sensors.zones_c(tree)
    rails = [(rail.name, rail.watts(tree)) for rail in ina.rails(tree)]
    power_w = {name: round(watts, 3) for name, watts in rails if watts is not None}
    if tree.is_live and not (temperatures_c and power_w):
        asked = tegrastats(tools.first_line(TEGRASTATS, "--interval", _INTERVAL_MS) or "")
        return temperatures_c or asked[0], power_w or asked[1]
    return temperatures_c, power_w


def tegrastats(line: str) -> Tuple[Dict[str, float], Dict[str, float]]:
    """The temperatures and the present power on a line of tegrastats, in °C and watts."""
    temperatures_c = {name: float(text) for name, text in _TEMPERATURE.findall(line)}
    plausible = {n: value for n, value in temperatures_c.items() if sensors.plausible_c(value)}
    return plausible, {name: int(mw) / 1000 for name, mw in _POWER.findall(line)}
