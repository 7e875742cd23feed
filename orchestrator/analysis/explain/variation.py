"""How much of the variation of log speed-ups each factor explains: an analysis of variance. Pure.

Every cell counts once, however many blocks it has. The total is the squared distance of the cells'
means from their mean, and the mean squared distance of a cell's blocks from its own mean, which is
the noise of a single block. What lies between the cells is shared among the factors and their
interactions in pairs by sums of squares of type II: what a term adds to a model that has all other
terms that do not contain it. With every combination measured the shares and the rest, interactions
of three factors or more, add up; where combinations are missing some variation may belong to one
term as well as to another, and is given to none: ``shared``, which can be negative.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, pvariance

import numpy as np
import numpy.typing as npt

from orchestrator.analysis.explain.cells import Cell

#: Squared distances below this share of the total are the arithmetic's.
_NOTHING = 1e-12


@dataclass(frozen=True)
class Share:
    """One term's share of the total, 0 to 1; the term is a factor or two of them that interact.
    ``known`` is False where no combination was measured that would tell the term from the
    others."""

    factors: tuple[str, ...]
    share: float
    known: bool = True


@dataclass(frozen=True)
class Variation:
    """The variation of the log speed-ups of one device, of one model or (None) of all.

    ``noise``, ``rest`` and ``shared`` are shares of the total as well. ``complete`` says whether
    every combination of the levels was measured.
    """

    device: str
    model: str | None
    cells: int
    complete: bool
    terms: tuple[Share, ...]
    noise: float
    rest: float
    shared: float


def variation(
    device: str, model: str | None, cells: Sequence[Cell], levels: Mapping[str, Sequence[str]]
) -> Variation | None:
    """Compute the shares of ``levels``' factors; None where there are not two cells or nothing
    varies."""
    if len(cells) < 2 or not levels:
        return None
    means = np.array([fmean(cell.logs.values()) for cell in cells])
    between = float(((means - means.mean()) ** 2).sum())
    noise = sum(pvariance(list(cell.logs.values())) for cell in cells)
    total = between + noise
    if total <= 0:
        return None
    single = [(name,) for name in levels]
    terms = [*single, *itertools.combinations(levels, 2)]
    columns = {term: _columns(term, cells, levels) for term in terms}
    shares = []
    for term in terms:
        others = [t for t in terms if not set(term) <= set(t)]
        left, rank = _fit(means, [columns[t] for t in others])
        left_with, rank_with = _fit(means, [columns[t] for t in (*others, term)])
        shares.append(Share(term, max(0.0, left - left_with) / total, rank_with > rank))
    unexplained, _ = _fit(means, columns.values())
    unexplained = unexplained if unexplained > _NOTHING * total else 0.0
    explained = sum(each.share for each in shares)
    size = len({tuple(cell.levels[name] for name in levels) for cell in cells})
    return Variation(
        device=device,
        model=model,
        cells=len(cells),
        complete=size == math.prod(map(len, levels.values())),
        terms=tuple(shares),
        noise=noise / total,
        rest=unexplained / total,
        shared=(between - unexplained) / total - explained,
    )


def _columns(
    term: Sequence[str], cells: Sequence[Cell], levels: Mapping[str, Sequence[str]]
) -> npt.NDArray[np.float64]:
    """An indicator of each combination of the term's levels."""
    combinations = list(itertools.product(*(levels[name] for name in term)))
    rows = [
        [tuple(cell.levels[name] for name in term) == each for each in combinations]
        for cell in cells
    ]
    return np.array(rows, dtype=float)


def _fit(
    values: npt.NDArray[np.float64], columns: Iterable[npt.NDArray[np.float64]]
) -> tuple[float, int]:
    """What least squares leave of ``values``, squared and added up, and the rank of the model."""
    design = np.hstack([np.ones((len(values), 1)), *columns])
    solution, _, rank, _ = np.linalg.lstsq(design, values, rcond=None)
    return float(((values - design @ solution) ** 2).sum()), int(rank)
