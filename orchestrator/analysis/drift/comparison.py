"""What changed from one run to another, beyond both noise floors, and what changed with it. Pure.

Both runs' blocks are independent samples of the same thing. A figure is called changed where the
95 % interval of its ratio excludes 1, the change is beyond the noise floor of either run, and it
passes Holm's correction over all figures of the two runs: the rule of a table, applied between two.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from orchestrator.analysis.drift.shift import shift, shift_p
from orchestrator.analysis.sides.pairing import centres, compared_replicate, pair, partners
from orchestrator.analysis.sides.recorded import Change, SideKey, changes, of_device, of_side
from orchestrator.analysis.speedups.analyse import analyse
from orchestrator.analysis.speedups.verdicts import doubt
from orchestrator.analysis.statistics import Estimate, Interval, holm_of_known
from orchestrator.analysis.table import Speedup, SpeedupTable, Verdict
from orchestrator.errors import UsageError
from orchestrator.factors import Factors
from orchestrator.frameworks.settings import title_of
from orchestrator.runs.manifest import Manifest
from orchestrator.runs.records import RunRecord, TrialRecord
from orchestrator.trial import Variant

#: The figures of a comparison that can drift.
SPEEDUP, BASELINE, TREATMENT = "speed-up", "baseline time", "treatment time"


@dataclass(frozen=True)
class ReadRun:
    """A run as it was read from disk."""

    manifest: Manifest
    record: RunRecord

    @cached_property
    def table(self) -> SpeedupTable:
        """The table of its trials. Raises JournalError as ``analyse`` does."""
        return analyse(self.record)


@dataclass(frozen=True)
class Drift:
    """One figure in both runs: ``ratio`` is the second run's ÷ the first's, with its interval.

    ``first`` and ``second`` are plain speed-ups or milliseconds. ``floor`` is the larger of both
    runs' noise floors. ``changed``: beyond doubt; else ``reason`` says why not.
    """

    figure: str
    first: float
    second: float
    ratio: float
    low: float | None
    high: float | None
    floor: float | None
    p_value: float | None
    p_adjusted: float | None = None
    changed: bool = False
    reason: str = ""


@dataclass(frozen=True)
class ComparedRow:
    """One scheme over the baseline, on one device under one setting of the factors, in both runs.

    ``drifts`` is empty where a run has no figure; ``reason`` then says why. ``verdicts`` are the
    first and the second run's. ``conditions`` are those of the two files and what ran them.
    """

    device: str
    model: str
    scheme: str
    factors: Factors
    verdicts: tuple[Verdict, Verdict]
    drifts: tuple[Drift, ...]
    conditions: tuple[Change, ...]
    reason: str = ""

    @property
    def changed(self) -> bool:
        return any(each.changed for each in self.drifts)


@dataclass(frozen=True)
class RunComparison:
    """Two runs held against each other. ``only_first`` and ``only_second`` were measured in one run
    alone."""

    first: str
    second: str
    baseline: str
    rows: tuple[ComparedRow, ...]
    conditions: Mapping[str, tuple[Change, ...]]
    only_first: tuple[str, ...]
    only_second: tuple[str, ...]


def compare_runs(first: ReadRun, second: ReadRun) -> RunComparison:
    """Return what changed from ``first`` to ``second``.

    Raises UsageError where their baselines are not the same scheme, JournalError as ``analyse``.
    """
    one, other = first.record, second.record
    if one.baseline != other.baseline:
        raise UsageError(
            f"the speed-ups of {one.run_id} are over {one.baseline}, those of {other.run_id} over "
            f"{other.baseline}; compare runs with one baseline"
        )
    before, after = _rows(first.table), _rows(second.table)
    shared = [key for key in before if key in after]
    sides = _Sides(one), _Sides(other)
    rows = [_row(key, (before[key], after[key]), sides) for key in shared]
    devices = dict.fromkeys(key[0] for key in shared)
    return RunComparison(
        first=one.run_id,
        second=other.run_id,
        baseline=one.baseline,
        rows=_judge(rows),
        conditions={
            device: changes(
                of_device(first.manifest, one, device), of_device(second.manifest, other, device)
            )
            for device in devices
        },
        only_first=tuple(_name(key) for key in before if key not in after),
        only_second=tuple(_name(key) for key in after if key not in before),
    )


def _rows(table: SpeedupTable) -> dict[SideKey, Speedup]:
    """Every comparison of which anything was sent to its device."""
    return {
        (row.device, row.model, row.factors, row.scheme): row
        for row in table.rows
        if row.factors is not None
    }


class _Sides:
    """A run's trials by what they measured."""

    def __init__(self, run: RunRecord) -> None:
        self.run = run
        self._trials: dict[SideKey, list[TrialRecord]] = {}
        for record in run.trials:
            trial = record.trial
            key = (trial.device, trial.variant.model, trial.factors, trial.variant.scheme)
            self._trials.setdefault(key, []).append(record)

    def trials(self, key: SideKey) -> Sequence[TrialRecord]:
        return self._trials.get(key, ())

    def baseline_of(self, key: SideKey) -> SideKey:
        return (*key[:3], self.run.baseline)

    def logs(self, key: SideKey) -> dict[str, list[float]]:
        """Return the logarithms of each figure, of the blocks that are compared."""
        baselines, trials = self.trials(self.baseline_of(key)), self.trials(key)
        replicate = compared_replicate(partners(trials), baselines)
        pairs = pair(centres(baselines, replicate=replicate), centres(trials))
        return {
            SPEEDUP: pairs.logs,
            BASELINE: [math.log(us / 1000) for us in pairs.baseline],
            TREATMENT: [math.log(us / 1000) for us in pairs.treatment],
        }

    def conditions(self, key: SideKey) -> dict[str, str]:
        """Return the conditions of the treatment and of the baseline, each under its scheme's
        name."""
        return {
            f"{name} of {side[3]}": value
            for side in (self.baseline_of(key), key)
            for name, value in of_side(self.run, self._variant(side), self.trials(side)).items()
        }

    def _variant(self, side: SideKey) -> Variant:
        """Whose file it is, which the trials say."""
        planned = Variant(side[1], side[3], side[2].export)
        return next((record.trial.variant for record in self.trials(side)), planned)


def _row(key: SideKey, rows: tuple[Speedup, Speedup], sides: tuple[_Sides, _Sides]) -> ComparedRow:
    device, model, factors, scheme = key
    told = tuple(each.conditions(key) for each in sides)
    invalid = [row for row in rows if row.speedup is None]
    return ComparedRow(
        device=device,
        model=model,
        scheme=scheme,
        factors=factors,
        verdicts=(rows[0].verdict, rows[1].verdict),
        drifts=() if invalid else tuple(_drifts(key, rows, sides)),
        conditions=changes(told[0], told[1]),
        reason=f"{invalid[0].run_id} has no figure: {invalid[0].reason}" if invalid else "",
    )


def _drifts(
    key: SideKey, rows: tuple[Speedup, Speedup], sides: tuple[_Sides, _Sides]
) -> Iterator[Drift]:
    before, after = (each.logs(key) for each in sides)
    floors = [row.noise_floor for row in rows if row.noise_floor is not None]
    floor = max(floors) if len(floors) == len(rows) else None
    for figure, first in before.items():
        second = after[figure]
        found = shift(first, second)
        interval = found.interval
        yield Drift(
            figure=figure,
            first=_middle(figure, rows[0]),
            second=_middle(figure, rows[1]),
            ratio=math.exp(found.centre),
            low=math.exp(interval.low) if interval else None,
            high=math.exp(interval.high) if interval else None,
            floor=floor,
            p_value=shift_p(first, second),
        )


def _middle(figure: str, row: Speedup) -> float:
    value = {SPEEDUP: row.speedup, BASELINE: row.baseline_ms, TREATMENT: row.treatment_ms}[figure]
    return value if value is not None else math.nan


def _judge(rows: Sequence[ComparedRow]) -> tuple[ComparedRow, ...]:
    """Every drift called changed or not, after Holm's correction over all of them."""
    adjusted = iter(holm_of_known([drift.p_value for row in rows for drift in row.drifts]))
    return tuple(
        replace(row, drifts=tuple(_called(drift, next(adjusted)) for drift in row.drifts))
        for row in rows
    )


def _called(drift: Drift, p_adjusted: float | None) -> Drift:
    why = doubt(_logs(drift), drift.floor, p_adjusted)
    return replace(drift, p_adjusted=p_adjusted, changed=why is None, reason=why or "")


def _logs(drift: Drift) -> Estimate:
    interval = None
    if drift.low is not None and drift.high is not None:
        interval = Interval(math.log(drift.low), math.log(drift.high))
    return Estimate(math.log(drift.ratio), interval)


def _name(key: SideKey) -> str:
    device, model, factors, scheme = key
    return f"{device} {model} {scheme} ({title_of(factors)})"
