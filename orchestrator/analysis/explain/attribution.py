"""Which factor moves the speed-up, and by how much: matched pairs of a factorial run. Pure.

The effect of a level against the reference level is the mean difference, in log speed-up, of all
pairs of cells that differ in that factor and in nothing else: with every combination measured, the
main effect of an analysis of variance. A pair of which one side is missing is left out and counted,
so nothing is estimated from what was not measured. An interaction of two factors is the same for
fours of cells: by how much the effect of one factor differs between two levels of the other.

Intervals are over blocks (``contrasts``): they say how well the effect is known on these models and
settings, not what another model would show. P-values pass Holm's correction, over all effects of a
run and over all its interactions.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from orchestrator.analysis.explain.cells import Cell, varied
from orchestrator.analysis.explain.contrasts import Ratio, contrast
from orchestrator.analysis.speedups.verdicts import ALPHA
from orchestrator.analysis.statistics import holm_of_known

#: Interactions that are always told; others where they are certain.
ALWAYS = frozenset({frozenset({"scheme", "isa"}), frozenset({"scheme", "runtime"})})


@dataclass(frozen=True)
class Effect:
    """What the levels do to the speed-up against the reference levels, as a ratio; of one model, or
    (None) over all. One factor: its main effect. Two: their interaction, the ratio of two effects.

    ``sets`` counts the pairs (or fours) of cells that it rests on, ``missing`` those of which a
    cell is missing. ``found`` is None where there is no set at all.
    """

    device: str
    model: str | None
    factors: tuple[str, ...]
    levels: tuple[str, ...]
    references: tuple[str, ...]
    found: Ratio | None
    sets: int
    missing: int
    p_adjusted: float | None = None

    @property
    def certain(self) -> bool:
        """Whether it is not 1: by its interval, and after Holm's correction."""
        found = self.found
        if found is None or found.low is None or found.high is None or self.p_adjusted is None:
            return False
        return not found.low <= 1 <= found.high and self.p_adjusted <= ALPHA


def main_effects(device: str, cells: Sequence[Cell], planned: Sequence[Cell]) -> tuple[Effect, ...]:
    """Estimate the effects of every factor that varies, over all models and of each model; p-values
    are not adjusted yet.

    ``planned``: all that were to be measured, ``cells`` among them. The factor ``model`` is told by
    the effects of each model.
    """
    return tuple(
        _effect(device, model, _Corner((factor,), (level,), (reference,)), own, of_plan)
        for model, own, of_plan in _scopes(cells, planned)
        for factor, (reference, *others) in _levels(of_plan).items()
        for level in others
    )


def interactions(device: str, cells: Sequence[Cell], planned: Sequence[Cell]) -> tuple[Effect, ...]:
    """Estimate the interactions of every two factors that vary, as ``main_effects`` does for
    one."""
    return tuple(
        _effect(
            device, model, _Corner((one, other), (level, another), (first, second)), own, of_plan
        )
        for model, own, of_plan in _scopes(cells, planned)
        for (one, (first, *levels)), (other, (second, *others)) in itertools.combinations(
            _levels(of_plan).items(), 2
        )
        for level in levels
        for another in others
    )


def adjusted(effects: Iterable[Effect]) -> tuple[Effect, ...]:
    """Adjust the p-values by Holm's correction over all of them."""
    effects = list(effects)
    corrected = holm_of_known([each.found.p_value if each.found else None for each in effects])
    return tuple(replace(e, p_adjusted=p) for e, p in zip(effects, corrected, strict=True))


def worth_telling(effects: Iterable[Effect]) -> tuple[Effect, ...]:
    """Return the interactions that are always told, and those others that are certain."""
    return tuple(e for e in effects if frozenset(e.factors) in ALWAYS or e.certain)


def _scopes(
    cells: Sequence[Cell], planned: Sequence[Cell]
) -> Iterable[tuple[str | None, Sequence[Cell], Sequence[Cell]]]:
    """Return all models where there are several, and then each of them."""
    models = list(dict.fromkeys(cell.levels["model"] for cell in planned))
    if len(models) > 1:
        yield None, cells, planned
    for model in models:
        yield (
            model,
            [cell for cell in cells if cell.levels["model"] == model],
            [cell for cell in planned if cell.levels["model"] == model],
        )


def _levels(planned: Sequence[Cell]) -> dict[str, list[str]]:
    return {name: levels for name, levels in varied(planned).items() if name != "model"}


@dataclass(frozen=True)
class _Corner:
    """One or two factors' levels, against their reference levels."""

    factors: tuple[str, ...]
    levels: tuple[str, ...]
    references: tuple[str, ...]

    @property
    def signs(self) -> dict[tuple[str, ...], int]:
        """Return every combination of level and reference, and its sign in the difference (of
        differences)."""
        combinations = itertools.product(*zip(self.references, self.levels, strict=True))
        return {
            each: (-1) ** sum(a == b for a, b in zip(each, self.references, strict=True))
            for each in combinations
        }


def _effect(
    device: str, model: str | None, corner: _Corner, cells: Sequence[Cell], planned: Sequence[Cell]
) -> Effect:
    signs = corner.signs
    by_rest: dict[object, dict[tuple[str, ...], Cell]] = {}
    for cell in cells:
        place = tuple(cell.levels[name] for name in corner.factors)
        if place in signs:
            by_rest.setdefault(cell.without(*corner.factors), {})[place] = cell
    whole = [found for found in by_rest.values() if len(found) == len(signs)]
    asked = {
        cell.without(*corner.factors)
        for cell in planned
        if tuple(cell.levels[name] for name in corner.factors) in signs
    }
    weighted = [(sign / len(whole), found[at]) for found in whole for at, sign in signs.items()]
    return Effect(
        device=device,
        model=model,
        factors=corner.factors,
        levels=corner.levels,
        references=corner.references,
        found=contrast(weighted) if weighted else None,
        sets=len(whole),
        missing=len(asked) - len(whole),
    )
