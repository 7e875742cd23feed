"""What the CPU is: identity, features, topology, caches, clocks, and what of it we may use."""

from __future__ import annotations

import os
import re
from typing import Any, Dict, List, Optional, Tuple

from orchestrate_agent.machine import cgroup, microarchitecture, sensors
from orchestrate_agent.machine.cpuinfo import CpuInfo, Processor
from orchestrate_agent.machine.microarchitecture import Identity
from orchestrate_agent.machine.sensors import CPUS
from orchestrate_agent.sysfs import Tree, cpu_list, to_bytes, to_float

_NOMINAL_GHZ = re.compile(r"@ ([\d.]+)GHz")
#: Linux lists the cores of a hybrid x86 CPU under its two performance counters.
_HYBRID_KINDS = ("cpu_core", "cpu_atom")

Json = Dict[str, Any]


def describe(tree: Tree, cpus: CpuInfo) -> Json:
    """The ``cpu`` part of the facts."""
    return {**_identity(tree, cpus), **_topology(tree, cpus), **_clocks(tree, cpus), **_use(tree)}


def _identity(tree: Tree, cpus: CpuInfo) -> Json:
    clusters = _clusters(tree, cpus)
    first = cpus.processors[0] if cpus.processors else Processor(0, {})
    chosen = clusters[0] if clusters else _core(first)
    name = _x86_name(first, cpus)
    return {
        "vendor": first.fields.get("vendor_id") or chosen["vendor"],
        "model_name": first.fields.get("model name"),
        "family": first.integer("cpu family"),
        "model": first.integer("model"),
        "stepping": first.integer("stepping"),
        "implementer": chosen["implementer"],
        "part": chosen["part"],
        "variant": chosen["variant"],
        "revision": chosen["revision"],
        "microarchitecture": name.name if first.is_x86 else chosen["microarchitecture"],
        "microarchitecture_note": name.note,
        "clusters": clusters if len(clusters) > 1 else _hybrid(tree),
        "features": cpus.features,
    }


def _x86_name(first: Processor, cpus: CpuInfo) -> Identity:
    return microarchitecture.x86(
        first.fields.get("vendor_id"),
        first.integer("cpu family"),
        first.integer("model"),
        first.integer("stepping"),
        cpus.flags or frozenset(),
    )


def _core(processor: Processor) -> Json:
    """An Arm core: maker and part as the kernel writes them, and its r(variant)p(revision)."""
    implementer = processor.hexadecimal("CPU implementer")
    part = processor.hexadecimal("CPU part")
    return {
        "vendor": microarchitecture.arm_vendor(implementer),
        "microarchitecture": microarchitecture.arm(implementer, part),
        "implementer": None if implementer is None else f"0x{implementer:02x}",
        "part": None if part is None else f"0x{part:03x}",
        "variant": processor.hexadecimal("CPU variant"),
        "revision": processor.integer("CPU revision"),
    }


def _clusters(tree: Tree, cpus: CpuInfo) -> List[Json]:
    """The kinds of Arm cores with their CPUs, the most capable first."""
    kinds: Dict[Tuple[Any, ...], List[int]] = {}
    for processor in cpus.processors:
        if processor.is_arm:
            kinds.setdefault(tuple(_core(processor).items()), []).append(processor.number)
    clusters = [
        {
            **dict(kind),
            "cpus": numbers,
            "capacity": tree.integer(f"{CPUS}/cpu{numbers[0]}/cpu_capacity"),
            "max_mhz": _mhz(tree.integer(f"{CPUS}/cpu{numbers[0]}/cpufreq/cpuinfo_max_freq")),
        }
        for kind, numbers in kinds.items()
    ]
    return sorted(clusters, key=_capability, reverse=True)


def _capability(cluster: Json) -> Tuple[float, int, float, int]:
    """The kernel's own measure first; of equals, what there is more of."""
    return (
        cluster["capacity"] or 0,
        microarchitecture.arm_rank(cluster["microarchitecture"]),
        cluster["max_mhz"] or 0,
        len(cluster["cpus"]),
    )


def _hybrid(tree: Tree) -> Optional[List[Json]]:
    kinds = [(kind, cpu_list(tree.read(f"/sys/devices/{kind}/cpus"))) for kind in _HYBRID_KINDS]
    clusters = [{"kind": kind, "cpus": cpus} for kind, cpus in kinds if cpus]
    return clusters if len(clusters) > 1 else None


def _topology(tree: Tree, cpus: CpuInfo) -> Json:
    online = cpu_list(tree.read(CPUS + "/online"))
    return {
        "logical_cpus": len(online or cpus.processors) or None,
        "physical_cores": _distinct(tree, cpus, "thread_siblings_list") or _x86_cores(cpus),
        "sockets": _sockets(tree, cpus),
        "smt": _smt(tree, cpus),
        "numa_nodes": len(tree.entries("/sys/devices/system/node", "node[0-9]*")) or None,
        "caches": _caches(tree, cpus),
    }


def _distinct(tree: Tree, cpus: CpuInfo, name: str) -> Optional[int]:
    """How many values a topology file takes over the CPUs that are online."""
    numbers = [processor.number for processor in cpus.processors]
    each = {tree.read(f"{CPUS}/cpu{number}/topology/{name}") for number in numbers}
    return len(each) if each and all(each) else None


def _x86_cores(cpus: CpuInfo) -> Optional[int]:
    keys = ("physical id", "core id")
    cores = {tuple(processor.fields.get(key) for key in keys) for processor in cpus.processors}
    return len(cores) if cores and all(None not in core for core in cores) else None


def _sockets(tree: Tree, cpus: CpuInfo) -> Optional[int]:
    packages = {processor.fields.get("physical id") for processor in cpus.processors}
    if packages and None not in packages:
        return len(packages)
    found = _distinct(tree, cpus, "physical_package_id")
    if found == 1 and tree.read(f"{CPUS}/cpu0/topology/physical_package_id") == "-1":
        return None
    # without firmware tables older Arm kernels number clusters here, not packages
    return found if found == 1 or tree.exists("/sys/firmware/acpi/tables") else None


def _smt(tree: Tree, cpus: CpuInfo) -> Optional[bool]:
    """Whether cores run several threads now; kernels before 4.19 tell only of each package."""
    told = tree.flag(CPUS + "/smt/active")
    if told is not None or not cpus.processors:
        return told
    threads, cores = (cpus.processors[0].integer(key) for key in ("siblings", "cpu cores"))
    return None if threads is None or cores is None else threads > cores


def _caches(tree: Tree, cpus: CpuInfo) -> Dict[str, Optional[int]]:
    """Bytes of one L1 data, L2 and L3 cache of the most capable core; each is one instance."""
    clusters = _clusters(tree, cpus)
    numbers = clusters[0]["cpus"] if clusters else [p.number for p in cpus.processors]
    sizes: Dict[str, Optional[int]] = {"l1d": None, "l2": None, "l3": None}
    for index in tree.entries(f"{CPUS}/cpu{numbers[0]}/cache", "index*") if numbers else []:
        kind, level = tree.read(index + "/type"), tree.read(index + "/level")
        name = {"Data": f"l{level}d", "Unified": f"l{level}"}.get(kind or "")
        if name in sizes:
            sizes[name] = to_bytes(tree.read(index + "/size"))
    return sizes


def _clocks(tree: Tree, cpus: CpuInfo) -> Json:
    folders = sensors.policies(tree)
    low = [tree.integer(folder + "/cpuinfo_min_freq") for folder in folders]
    high = [tree.integer(folder + "/cpuinfo_max_freq") for folder in folders]
    return {
        "governor": sensors.governor(tree),
        "scaling_driver": tree.read(folders[0] + "/scaling_driver") if folders else None,
        "min_mhz": _mhz(min((khz for khz in low if khz), default=None)),
        "max_mhz": _mhz(max((khz for khz in high if khz), default=None)),
        "base_mhz": _base_mhz(tree, cpus),
        "turbo": sensors.turbo(tree),
    }


def _mhz(khz: Optional[int]) -> Optional[float]:
    return None if khz is None else khz / 1000


def _base_mhz(tree: Tree, cpus: CpuInfo) -> Optional[float]:
    """The nominal frequency: of the driver, of the firmware, or of Intel's brand string."""
    khz = tree.integer(CPUS + "/cpu0/cpufreq/base_frequency")
    nominal = tree.integer(CPUS + "/cpu0/acpi_cppc/nominal_freq")
    if khz or nominal:
        return _mhz(khz) if khz else float(nominal or 0)
    name = cpus.processors[0].fields.get("model name", "") if cpus.processors else ""
    match = _NOMINAL_GHZ.search(name)
    ghz = to_float(match.group(1)) if match else None
    return None if ghz is None else round(ghz * 1000, 3)


def _use(tree: Tree) -> Json:
    return {"cpus_allowed": cpus_allowed(tree), "cpu_quota": cgroup.cpu_quota(tree)}


def cpus_allowed(tree: Tree) -> Optional[List[int]]:
    """The CPUs that this process, and so what it starts, may use."""
    if tree.is_live:
        return sorted(os.sched_getaffinity(0))
    match = re.search(r"^Cpus_allowed_list:\s*(\S*)$", tree.read("/proc/self/status") or "", re.M)
    return cpu_list(match.group(1)) if match else None
