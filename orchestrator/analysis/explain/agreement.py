"""A device's speed-ups are held against published ones, model by model and as geometric means.
Pure.

A capped instruction set is held against the published figures of the microarchitecture it is named
for. Only figures of the same thing are put together (``PublishedFigure.comparable``), and a
geometric mean has the same models on both sides.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from orchestrator.analysis.explain.cells import SETTING, Cell
from orchestrator.analysis.explain.contrasts import Ratio, contrast
from orchestrator.analysis.table import PublishedFigure, Speedup
from orchestrator.isa.levels import capped

#: Ratios of ours to theirs up to here, or one over it, are said to agree.
WITHIN = 1.15


@dataclass(frozen=True)
class ModelAgreement:
    """One model: our comparison, and the published figure that it is held against."""

    row: Speedup
    figure: PublishedFigure

    @property
    def ratio(self) -> float:
        """Return the quotient of our speed-up and theirs."""
        return (self.row.speedup or math.nan) / (self.figure.speedup or math.nan)

    @property
    def within(self) -> bool:
        """Whether the two agree within 15 %."""
        return agree(self.ratio)


@dataclass(frozen=True)
class Agreement:
    """One device under one setting, held against one source's figures of one microarchitecture.

    ``ours`` is the geometric mean of our speed-ups with its interval over blocks, ``published``
    that of the same models.
    """

    device: str
    microarchitecture: str
    scheme: str
    source: str
    hardware: str
    models: tuple[ModelAgreement, ...]
    ours: Ratio
    published: float

    @property
    def ratio(self) -> float:
        """Return the quotient of our geometric mean and theirs."""
        return self.ours.ratio / self.published

    @property
    def within(self) -> bool:
        """Whether the geometric means agree within 15 %."""
        return agree(self.ratio)


def agree(ratio: float) -> bool:
    """Whether a ratio is within 15 % of 1, either way."""
    return 1 / WITHIN <= ratio <= WITHIN


def agreements(cells: Sequence[Cell]) -> tuple[Agreement, ...]:
    """Hold every device and setting against every source that has figures to compare with."""
    found: dict[tuple[str, ...], list[tuple[Cell, PublishedFigure]]] = {}
    for cell in cells:
        row = cell.row
        kind = row.isa if capped(row.isa) else row.microarchitecture
        place = (row.device, *(cell.levels[name] for name in SETTING), row.scheme, kind)
        for figure in row.published:
            if figure.comparable and figure.speedup:
                key = (*place, figure.source, figure.hardware)
                found.setdefault(key, []).append((cell, figure))
    return tuple(
        _agreement(key[-3], members) for key, members in found.items() if _once_each(members)
    )


def _once_each(members: Sequence[tuple[Cell, PublishedFigure]]) -> bool:
    """Whether no model has two figures, of two dates say: such a source has no one geometric
    mean."""
    return len({cell.row.model for cell, _ in members}) == len(members)


def _agreement(kind: str, members: Sequence[tuple[Cell, PublishedFigure]]) -> Agreement:
    row, figure = members[0][0].row, members[0][1]
    ours = contrast((1 / len(members), cell) for cell, _ in members)
    assert ours is not None  # noqa: S101 (each is a group of its own, with six blocks or more)
    return Agreement(
        device=row.device,
        microarchitecture=kind,
        scheme=row.scheme,
        source=figure.source,
        hardware=figure.hardware,
        models=tuple(ModelAgreement(cell.row, each) for cell, each in members),
        ours=ours,
        published=math.exp(fmean(math.log(each.speedup or math.nan) for _, each in members)),
    )
