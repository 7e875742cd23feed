"""The cells of a factorial run: one comparison each, its levels and its blocks. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from orchestrator.analysis.sides.pairing import Statistic, group_key, pair
from orchestrator.analysis.sides.side import Side
from orchestrator.analysis.statistics import MIN_PAIRS
from orchestrator.analysis.table import Speedup, SpeedupTable
from orchestrator.frameworks.registry import OPTIONAL, own_level
from orchestrator.isa.levels import LEVELS, NATIVE
from orchestrator.runs.records import RunRecord, TrialRecord
from orchestrator.trial import Factors

#: What a comparison group holds equal, as rows and factors name it.
SETTING = (
    "isa", "runtime", "delegate", "runner", "engine", "processor", "threads", "batch", "input_size",
)  # fmt: skip

#: What a speed-up may depend on, on one device.
FACTORS = ("model", "scheme", *SETTING)

_NUMBERS = ("threads", "batch", "input_size")


@dataclass(frozen=True)
class Cell:
    """One comparison with its level of each of ``FACTORS``, as text, and the logarithm of its
    speed-up in each block."""

    row: Speedup
    levels: Mapping[str, str]
    logs: Mapping[int, float]

    @property
    def group(self) -> tuple[str, ...]:
        """Cells of one group share blocks, and the baseline in them."""
        return (self.row.device, *(self.levels[name] for name in ("model", *SETTING)))

    def without(self, *names: str) -> tuple[tuple[str, str], ...]:
        """Its levels of all other factors."""
        return tuple((name, level) for name, level in self.levels.items() if name not in names)


@dataclass(frozen=True)
class Gap:
    """A comparison of which nothing can be used, as a cell without blocks, and why."""

    cell: Cell
    why: str


def cells(run: RunRecord, table: SpeedupTable) -> tuple[tuple[Cell, ...], tuple[Gap, ...]]:
    """The comparisons of ``table``, which is that of ``run``: those that say something, and those
    that do not, because they are invalid or have too few blocks for an interval."""
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
    """The row's level of each of ``FACTORS``; empty where nothing of it was sent."""
    return {name: _text(getattr(row, name)) for name in FACTORS}


def _text(value: object) -> str:
    return "" if value is None else str(value)


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
    """The levels of ``SETTING``, in its order, as a row under ``factors`` has them."""
    for name in SETTING:
        yield _text(own_level(factors, name) if name in OPTIONAL else getattr(factors, name))


def ordered(factor: str, levels: Iterable[str]) -> list[str]:
    """Each level once, the reference first: ``native`` and then ever older instruction sets,
    ``xnnpack``, the smallest number, the first model or scheme of the table, else by name."""
    distinct = list(dict.fromkeys(levels))
    if factor in ("model", "scheme"):
        return distinct
    if factor == "isa":
        return sorted(distinct, key=_isa_place)
    if factor in _NUMBERS:
        return sorted(distinct, key=lambda level: (int(level or 0), level))
    if factor == "delegate":
        return sorted(distinct, key=lambda level: (level != "xnnpack", level))
    return sorted(distinct)


def _isa_place(level: str) -> tuple[int, str]:
    known = (NATIVE, *reversed(LEVELS))
    return (known.index(level) if level in known else len(known), level)


def varied(some: Sequence[Cell]) -> dict[str, list[str]]:
    """The factors that differ between cells of one device, with their levels in order."""
    levels = {name: ordered(name, (cell.levels[name] for cell in some)) for name in FACTORS}
    return {name: found for name, found in levels.items() if len(found) > 1}
