"""Which CPUs a trial is pinned to: the most capable ones, each a core of its own."""

from __future__ import annotations

from collections import Counter
from typing import Dict, List, NamedTuple, Optional, Sequence, Tuple

from orchestrate_agent.machine.cpu import cpus_allowed
from orchestrate_agent.machine.sensors import CPUS
from orchestrate_agent.sysfs import Tree, cpu_list

#: The fast cores of a hybrid x86 CPU, which has no ``cpu_capacity``.
_FAST_X86 = "/sys/devices/cpu_core/cpus"


class _Cpu(NamedTuple):
    number: int
    capability: Tuple[int, int]
    #: The first CPU of its core: two CPUs of one core share its units, and slow each other down.
    core: int
    node: int


def choose(
    tree: Tree, count: int, within: Optional[Sequence[int]] = None
) -> Tuple[Optional[Tuple[int, ...]], str]:
    """Choose ``count`` CPUs of those the node lets us use and, if given, ``within``; else None and
    why.

    The most capable first (``cpu_capacity``, then the highest clock), a core each before two of one
    core, on one memory node where that has enough, and CPU 0's core last: there the kernel and most
    devices have their interrupts handled.
    """
    allowed = cpus_allowed(tree)
    if allowed is None:
        return None, "the node does not say which CPUs we may use"
    usable = sorted(set(allowed) & set(allowed if within is None else within))
    if len(usable) < count:
        return None, f"{count} threads, but only {len(usable)} CPUs to pin them to"
    return tuple(cpu.number for cpu in _ranked(tree, usable, count)[:count]), ""


def choose_half(
    tree: Tree, count: int, half: int, within: Optional[Sequence[int]] = None
) -> Tuple[Optional[Tuple[int, ...]], str]:
    """Choose twice ``count`` CPUs and return those of ``half``, 0 or 1, the other half being the
    partner's in a duet. Else None and why.

    Never the same core for both, where there are cores enough.
    """
    cpus, why = choose(tree, 2 * count, within)
    if cpus is None:
        return None, f"for two trials at once: {why}"
    return cpus[half * count : (half + 1) * count], ""


def share_cores(tree: Tree, one: Sequence[int], other: Sequence[int]) -> bool:
    """Whether some CPU of ``one`` is of the same core as one of ``other``."""
    return bool({_core(tree, cpu) for cpu in one} & {_core(tree, cpu) for cpu in other})


def _ranked(tree: Tree, numbers: Sequence[int], count: int) -> List[_Cpu]:
    fast = cpu_list(tree.read(_FAST_X86)) or []
    nodes = _nodes(tree)
    cpus = [
        _Cpu(number, _capability(tree, number, fast), _core(tree, number), nodes.get(number, 0))
        for number in numbers
    ]
    best = max(cpu.capability for cpu in cpus)
    cores = Counter(node for node, _ in {(c.node, c.core) for c in cpus if c.capability == best})
    seen: Counter[int] = Counter()
    order = {}
    for cpu in cpus:
        order[cpu] = seen[cpu.core]  # 0 for the first of its core, 1 for its sibling
        seen[cpu.core] += 1

    def rank(cpu: _Cpu) -> Tuple[object, ...]:
        slower = tuple(-part for part in cpu.capability)
        too_small = cores[cpu.node] < count
        return (order[cpu], slower, too_small, cpu.node, cpu.core == 0, cpu.number)

    return sorted(cpus, key=rank)


def _capability(tree: Tree, number: int, fast: Sequence[int]) -> Tuple[int, int]:
    folder = f"{CPUS}/cpu{number}"
    capacity = tree.integer(folder + "/cpu_capacity")
    highest = tree.integer(folder + "/cpufreq/cpuinfo_max_freq") or 0
    return (int(number in fast) if capacity is None else capacity, highest)


def _core(tree: Tree, number: int) -> int:
    text = tree.read(f"{CPUS}/cpu{number}/topology/thread_siblings_list")
    siblings = cpu_list(text)
    return min(siblings) if siblings else number


def _nodes(tree: Tree) -> Dict[int, int]:
    found = {}
    for index, folder in enumerate(tree.entries("/sys/devices/system/node", "node[0-9]*")):
        for number in cpu_list(tree.read(folder + "/cpulist")) or []:
            found[number] = index
    return found
