"""Where quantizing makes a model faster in one setting and slower in another. Pure.

Only verdicts count: what is indistinguishable or invalid is on neither side. What switches the sign
is read off pairs of comparisons that differ in a single factor, the device being one of them.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from orchestrator.analysis.explain.cells import SETTING, levels_of
from orchestrator.analysis.table import Speedup, Verdict

DEVICE = "device"


@dataclass(frozen=True)
class Switch:
    """Two comparisons of opposite verdict that differ in ``factor`` and in nothing else."""

    factor: str
    slower: Speedup
    faster: Speedup

    @property
    def ratio(self) -> float:
        """The quotient of the faster speed-up and the slower one."""
        return (self.faster.speedup or 1.0) / (self.slower.speedup or 1.0)


@dataclass(frozen=True)
class Flip:
    """A model and scheme with both verdicts: where the scheme slows it down, where it speeds it up,
    and what switches between them, the widest apart first; nothing where no single factor does."""

    model: str
    scheme: str
    slower: tuple[Speedup, ...]
    faster: tuple[Speedup, ...]
    switches: tuple[Switch, ...]


def flips(rows: Iterable[Speedup]) -> tuple[Flip, ...]:
    """Find every model and scheme of ``rows`` whose sign flips.

    Of devices that differ in nothing else only the two widest apart are a switch: a fleet would
    have thousands.
    """
    by_variant: dict[tuple[str, str], list[Speedup]] = {}
    for row in rows:
        if row.verdict in (Verdict.FASTER, Verdict.SLOWER):
            by_variant.setdefault((row.model, row.scheme), []).append(row)
    found = []
    for (model, scheme), own in by_variant.items():
        slower, faster = _sides(own)
        if slower and faster:
            switches = sorted(_switches(own), key=lambda each: -each.ratio)
            found.append(Flip(model, scheme, slower, faster, tuple(switches)))
    return tuple(found)


def _sides(rows: Sequence[Speedup]) -> tuple[tuple[Speedup, ...], tuple[Speedup, ...]]:
    return (
        tuple(row for row in rows if row.verdict is Verdict.SLOWER),
        tuple(row for row in rows if row.verdict is Verdict.FASTER),
    )


def _switches(rows: Sequence[Speedup]) -> Iterable[Switch]:
    """Pair, for each factor, the rows that are alike in all others."""
    places = [{DEVICE: row.device, **levels_of(row)} for row in rows]
    for factor in (DEVICE, *SETTING):
        alike: dict[tuple[str, ...], list[Speedup]] = {}
        for row, place in zip(rows, places, strict=True):
            rest = tuple(level for name, level in place.items() if name != factor)
            alike.setdefault(rest, []).append(row)
        for some in alike.values():
            slower, faster = _sides(some)
            if factor == DEVICE and slower and faster:
                slower = (min(slower, key=lambda row: row.speedup or 1.0),)
                faster = (max(faster, key=lambda row: row.speedup or 1.0),)
            for low, high in itertools.product(slower, faster):
                yield Switch(factor, low, high)
