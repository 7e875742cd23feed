"""What moves the speed-up of a run, and what flips its sign. Pure: findings, no sentences."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from orchestrator.analysis.explain.agreement import Agreement, agreements
from orchestrator.analysis.explain.attribution import (
    Effect,
    adjusted,
    interactions,
    main_effects,
    worth_telling,
)
from orchestrator.analysis.explain.cells import SETTING, Cell, Gap, cells, levels_of, varied
from orchestrator.analysis.explain.flips import Flip, flips
from orchestrator.analysis.explain.moves import Move, moves
from orchestrator.analysis.explain.profiles import Profile, profiles
from orchestrator.analysis.explain.variation import Variation, variation
from orchestrator.analysis.table import Speedup, SpeedupTable
from orchestrator.runs.records import RunRecord


@dataclass(frozen=True)
class Explanation:
    """``factors`` maps a device to the factors that vary on it, each with its levels, the reference
    first. ``usable`` are the comparisons that the rest is made of, ``gaps`` those that it is not.
    ``flips`` and ``moves``, which are of accuracy, are across devices, all else is device by
    device."""

    run_id: str
    baseline: str
    factors: Mapping[str, Mapping[str, tuple[str, ...]]]
    usable: tuple[Speedup, ...]
    gaps: tuple[Gap, ...]
    effects: tuple[Effect, ...]
    interactions: tuple[Effect, ...]
    variations: tuple[Variation, ...]
    flips: tuple[Flip, ...]
    agreements: tuple[Agreement, ...]
    profiles: tuple[Profile, ...] = ()
    moves: tuple[Move, ...] = ()

    @property
    def factorial(self) -> bool:
        """Whether anything but the model varied, be it the device."""
        several = len({row.device for row in self.usable}) > 1
        return several or any(set(levels) - {"model"} for levels in self.factors.values())


def settings_vary(table: SpeedupTable) -> bool:
    """Whether anything but model and scheme varied on some device. This is much quicker than
    explaining."""
    seen: dict[tuple[str, str], str] = {}
    for row in table.rows:
        levels = levels_of(row) if row.factors is not None else {}
        for name in SETTING if levels else ():
            if seen.setdefault((row.device, name), levels[name]) != levels[name]:
                return True
    return False


def explain(run: RunRecord, table: SpeedupTable) -> Explanation:
    """Find out what ``table``, which is that of ``run``, says of its factors."""
    usable, gaps = cells(run, table)
    sent = [gap.cell for gap in gaps if gap.cell.row.factors is not None]
    planned = _by_device([*usable, *sent])
    own = _by_device(usable)
    factors = {device: varied(some) for device, some in planned.items()}
    main: list[Effect] = []
    between: list[Effect] = []
    variations: list[Variation] = []
    for device, some in planned.items():
        mine = own.get(device, [])
        main += main_effects(device, mine, some)
        between += interactions(device, mine, some)
        models = list(dict.fromkeys(cell.levels["model"] for cell in some))
        for model in (None, *models) if len(models) > 1 else models:
            within = [cell for cell in mine if model in (None, cell.levels["model"])]
            found = variation(device, model, within, varied(within))
            variations += [found] if found else []
    return Explanation(
        run_id=run.run_id,
        baseline=run.baseline,
        factors={
            device: {name: tuple(levels) for name, levels in found.items()}
            for device, found in factors.items()
        },
        usable=tuple(cell.row for cell in usable),
        gaps=gaps,
        effects=adjusted(main),
        interactions=worth_telling(adjusted(between)),
        variations=tuple(variations),
        flips=flips([cell.row for cell in usable]),
        agreements=agreements(usable),
        profiles=profiles(run, table.rows),
        moves=moves(table.accuracy),
    )


def _by_device(some: list[Cell] | tuple[Cell, ...]) -> dict[str, list[Cell]]:
    found: dict[str, list[Cell]] = {}
    for cell in some:
        found.setdefault(cell.row.device, []).append(cell)
    return found
