"""Where quantizing makes a model faster in one setting and slower in another. Pure.

Only verdicts count: what is indistinguishable or invalid is on neither side. What switches the sign
is read off pairs of comparisons that differ in a single factor, the device being one of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from orchestrator.analysis.cells import SETTING, levels_of
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
        """The faster speed-up ÷ the slower one."""
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


def flips(rows: Sequence[Speedup]) -> tuple[Flip, ...]:
    """Every model and scheme of ``rows`` whose sign flips."""
    found = []
    for model, scheme in dict.fromkeys((row.model, row.scheme) for row in rows):
        own = [row for row in rows if (row.model, row.scheme) == (model, scheme)]
        slower = tuple(row for row in own if row.verdict is Verdict.SLOWER)
        faster = tuple(row for row in own if row.verdict is Verdict.FASTER)
        if slower and faster:
            switches = [
                Switch(unlike[0], low, high)
                for low in slower
                for high in faster
                for unlike in [_unlike(low, high)]
                if len(unlike) == 1
            ]
            switches.sort(key=lambda each: -each.ratio)
            found.append(Flip(model, scheme, slower, faster, tuple(switches)))
    return tuple(found)


def _unlike(one: Speedup, other: Speedup) -> list[str]:
    """The factors in which two comparisons of one model and scheme differ."""
    levels, others = levels_of(one), levels_of(other)
    names = [name for name in SETTING if levels[name] != others[name]]
    return names if one.device == other.device else [DEVICE, *names]
