"""Weighted sums of cells' log speed-ups, with their uncertainty over blocks. Pure.

A contrast is a sum of cells, each with a weight: the effect of a factor is half the cells at one
level less half those at another. Its replicates are the blocks: of every comparison group the
first blocks are added up, then the second ones, and so on, and the Hodges-Lehmann estimate with
its exact signed-rank interval is taken over these sums, as for a single speed-up. That asks for
nothing but blocks that are independent of each other and noise that is symmetric in each. Cells may
differ in their noise, and those that are measured in one round, or share a baseline, may be
correlated in any way. (An ordinary least-squares fit assumes neither; its cluster-robust covariance
allows both, but with the six clusters of a short run its intervals are too narrow.)

Groups stop at different numbers of blocks. The longer ones are then folded into as many as the
shortest has, neighbours averaged: nothing measured is dropped, and the sums stay symmetric.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean

from orchestrator.analysis.explain.cells import Cell
from orchestrator.analysis.statistics import estimate, p_value


@dataclass(frozen=True)
class Ratio:
    """A contrast as a ratio, with its 95 % interval, None with fewer than six blocks."""

    ratio: float
    low: float | None
    high: float | None
    blocks: int
    p_value: float | None


def contrast(weighted: Iterable[tuple[float, Cell]]) -> Ratio | None:
    """Compute the exponential of the weighted sum of the cells' log speed-ups.

    None where some group has no block in which all of its cells were measured.
    """
    groups: dict[tuple[str, ...], list[tuple[float, Cell]]] = {}
    for weight, cell in weighted:
        groups.setdefault(cell.group, []).append((weight, cell))
    sums = [_sums(members) for members in groups.values()]
    blocks = min(map(len, sums), default=0)
    if not blocks:
        return None
    logs = [math.fsum(some) for some in zip(*(_folded(each, blocks) for each in sums), strict=True)]
    found = estimate(logs)
    interval = found.interval
    return Ratio(
        math.exp(found.centre),
        math.exp(interval.low) if interval else None,
        math.exp(interval.high) if interval else None,
        blocks,
        p_value(logs),
    )


def _sums(members: Sequence[tuple[float, Cell]]) -> list[float]:
    """Sum block by block, where all of the group's cells were measured."""
    shared = set.intersection(*(set(cell.logs) for _, cell in members))
    return [
        math.fsum(weight * cell.logs[block] for weight, cell in members) for block in sorted(shared)
    ]


def _folded(values: Sequence[float], count: int) -> list[float]:
    """``count`` means of neighbours, as many in each as can be."""
    edges = [place * len(values) // count for place in range(count + 1)]
    return [fmean(values[start:end]) for start, end in itertools.pairwise(edges)]
