"""The cells of a factorial run: one comparison each, its levels and its blocks. Pure."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from orchestrator.analysis.sides.pairing import Statistic, group_key, pair
from orchestrator.analysis.sides.side import Side
from orchestrator.analysis.statistics import MIN_PAIRS
from orchestrator.analysis.table import Speedup, SpeedupTable
from orchestrator.factors import FACTORS as ALL
from orchestrator.factors import Factors, find_factor
from orchestrator.frameworks.settings import level_of
from orchestrator.runs.records import RunRecord, TrialRecord

#: What a comparison group holds equal: what surprises most comes first.
SETTING = tuple(each.name for each in sorted(ALL, key=lambda each: each.place))

#: What a speed-up may depend on, on one device.
FACTORS = ("model", "scheme", *SETTING)


@dataclass(frozen=True)
class Cell:
    """One comparison with its level of each of ``FACTORS``, as text, and the logarithm of its
    speed-up in each block."""

    row: Speedup
    levels: Mapping[str, str]
    logs: Mapping[int, float]

    @property
    def group(self) -> tuple[str, ...]:
        """Names the group: cells of one group share blocks, and the baseline in them."""
        return (self.row.device, *(self.levels[name] for name in ("model", *SETTING)))

    def without(self, *names: str) -> tuple[tuple[str, str], ...]:
        """Return its levels of all other factors."""
        return tuple((name, level) for name, level in self.levels.items() if name not in names)


@dataclass(frozen=True)
class Gap:
    """A comparison of which nothing can be used, as a cell without blocks, and why."""

    cell: Cell
    why: str


def cells(run: RunRecord, table: SpeedupTable) -> tuple[tuple[Cell, ...], tuple[Gap, ...]]:
    """Split the comparisons of ``table``, which is that of ``run``: those that say something, and
    as gaps those that do not, because they are invalid or have too few blocks for an interval."""
    logs = _logs(run)
    usable, gaps = [], []
    for row in table.rows:
        levels = levels_of(row)
        found = logs.get((row.device, *levels.values()), {})
        if row.speedup is None:
            gaps.append(Gap(Cell(row, levels, {}), row.reason))
        elif len(found) < MIN_PAIRS:
            why = f"{len(found)} blocks, and an interval needs {MIN_PAIRS}"
            gaps.append(Gap(Cell(row, levels, {}), why))
        else:
            usable.append(Cell(row, levels, found))
    return tuple(usable), tuple(gaps)


def levels_of(row: Speedup) -> dict[str, str]:
    """Return the row's level of each of ``FACTORS``; empty where nothing of it was sent."""
    setting = setting_levels(row.factors) if row.factors else itertools.repeat("")
    return {"model": row.model, "scheme": row.scheme, **dict(zip(SETTING, setting, strict=False))}


def _logs(run: RunRecord) -> dict[tuple[str, ...], dict[int, float]]:
    """Device and levels → block → the logarithm of baseline ÷ treatment."""
    groups: dict[tuple[str, str, Factors], dict[str, list[TrialRecord]]] = {}
    for record in run.trials:
        by_scheme = groups.setdefault(group_key(record), {})
        by_scheme.setdefault(record.trial.variant.scheme, []).append(record)
    found = {}
    for (device, model, factors), by_scheme in groups.items():
        sides = {s: Side(s, tuple(records), None) for s, records in by_scheme.items()}
        baseline = sides.pop(run.baseline, None)
        for scheme, side in sides.items() if baseline else ():
            assert baseline is not None  # noqa: S101 (for the types)
            pairs = pair(
                baseline.times_for(side, Statistic.CENTRE), side.times[Statistic.CENTRE, 0]
            )
            key = (device, model, scheme, *setting_levels(factors))
            found[key] = dict(zip(pairs.blocks, pairs.logs, strict=True))
    return found


def setting_levels(factors: Factors) -> Iterable[str]:
    """Return the levels of ``SETTING``, in its order, as a row under ``factors`` has them."""
    for name in SETTING:
        yield str(level_of(factors, name))


def ordered(factor: str, levels: Iterable[str]) -> list[str]:
    """List each level once, the reference first: ``native`` and then ever older instruction sets,
    ``xnnpack``, the smallest number, the first model or scheme of the table, else by name."""
    known = find_factor(factor)
    return known.ordered(levels) if known else list(dict.fromkeys(levels))


def varied(some: Sequence[Cell]) -> dict[str, list[str]]:
    """Find the factors that differ between cells of one device, with their levels in order."""
    levels = {name: ordered(name, (cell.levels[name] for cell in some)) for name in FACTORS}
    return {name: found for name, found in levels.items() if len(found) > 1}
