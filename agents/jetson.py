"""A Jetson's power mode and locked clocks, from the files that NVIDIA's own tools go by.

``nvpmodel`` keeps the mode that is set in ``/var/lib/nvpmodel/status`` and the modes that there are
in ``/etc/nvpmodel.conf``; ``jetson_clocks`` sets the lowest frequency of every CPU and the GPU to
the highest. Temperatures and power are read elsewhere (``sensors``, ``power``), where tegrastats
reads them too.
"""

from __future__ import annotations

import re
from typing import Any, Dict, List, Optional, Tuple

from agents import sensors
from agents.sysfs import Tree, to_int

_RELEASE = "/etc/nv_tegra_release"
_STATUS = "/var/lib/nvpmodel/status"
_MODES = "/etc/nvpmodel.conf"
_SET = re.compile(r"pmode:0*(\d+)")
_MODE = re.compile(r"<\s*POWER_MODEL\s+ID=(\d+)\s+NAME=([^\s>]{1,64})")
_L4T = re.compile(r"#\s*R(\d+)\s*\(release\),\s*REVISION:\s*([\d.]+)")
_DEVFREQ = "/sys/class/devfreq"


def describe(tree: Tree) -> Optional[Dict[str, Any]]:
    """``l4t`` (NVIDIA's release, ``35.4.1``), ``power_mode`` (its name), ``power_mode_id`` and
    ``clocks_locked``, each None where it is not told; None where this is no Jetson."""
    release = tree.read(_RELEASE)
    if release is None:
        return None
    found = _L4T.search(release)
    mode = _mode_id(tree)
    return {
        "l4t": f"{found.group(1)}.{found.group(2)}" if found else None,
        "power_mode": None if mode is None else _name(tree, mode),
        "power_mode_id": mode,
        "clocks_locked": _clocks_locked(tree),
    }


def _mode_id(tree: Tree) -> Optional[int]:
    found = _SET.search(tree.read(_STATUS) or "")
    return to_int(found.group(1)) if found else None


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
