"""From trials to pairs: which process is compared with which. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from statistics import median
from typing import TypeAlias

from orchestrator.analysis.statistics import estimate
from orchestrator.measurement import Outcome
from orchestrator.plan import Factors, TrialKind
from orchestrator.runs.records import TrialRecord

#: Device, model, factors: what a comparison holds equal.
GroupKey: TypeAlias = "tuple[str, str, Factors]"

#: Block → one statistic of the process's steady state, in µs.
Centres: TypeAlias = "Mapping[int, float]"


class Statistic(str, Enum):
    """What stands for a process: which figure of its steady state.

    ``CENTRE`` is the median where the runner reports one, else the mean.
    """

    CENTRE = "centre_us"
    MEAN = "mean_us"
    MINIMUM = "min_us"


@dataclass(frozen=True)
class Pairs:
    """The blocks in which both sides ended ok, with both times in µs, in the order of blocks."""

    blocks: tuple[int, ...]
    baseline_us: tuple[float, ...]
    treatment_us: tuple[float, ...]

    def __len__(self) -> int:
        return len(self.blocks)

    @property
    def logs(self) -> list[float]:
        """The logarithm of baseline ÷ treatment, a block each."""
        both = zip(self.baseline_us, self.treatment_us, strict=True)
        return [math.log(baseline / treatment) for baseline, treatment in both]


def group_key(record: TrialRecord) -> GroupKey:
    trial = record.trial
    return (trial.device, trial.variant.model, trial.factors)


def pair(baseline: Centres, treatment: Centres) -> Pairs:
    blocks = tuple(sorted(baseline.keys() & treatment.keys()))
    return Pairs(blocks, tuple(baseline[b] for b in blocks), tuple(treatment[b] for b in blocks))


def centre_us(record: TrialRecord) -> float | None:
    """A usable time of one process, else None: a logarithm needs it positive and finite."""
    return _usable_us(record, Statistic.CENTRE)


def _usable_us(record: TrialRecord, statistic: Statistic) -> float | None:
    if record.outcome is not Outcome.OK or record.measurement is None:
        return None
    time: float | None = getattr(record.measurement.steady, statistic.value)
    return time if time is not None and 0 < time < math.inf else None


def centres(
    records: Iterable[TrialRecord],
    *,
    replicate: int = 0,
    statistic: Statistic = Statistic.CENTRE,
) -> dict[int, float]:
    """The usable time of each block, of the timing trials among ``records``."""
    found: dict[int, float] = {}
    for record in records:
        trial = record.trial
        if trial.kind is not TrialKind.TIMING or trial.replicate != replicate:
            continue
        time = _usable_us(record, statistic)
        if time is not None:
            found[trial.block] = time
    return found


def comparison_precision(trials: Iterable[TrialRecord], baseline: str) -> dict[str, float | None]:
    """How well each treatment of one group is known so far: scheme → achieved half-width.

    The half-width is that of the 95 % interval of the log ratio, so 0.02 means about ±2 %; None
    where there are too few pairs for an interval. Cheap enough to be asked after every block.
    """
    by_scheme: dict[str, list[TrialRecord]] = {}
    for record in trials:
        by_scheme.setdefault(record.trial.variant.scheme, []).append(record)
    base = centres(by_scheme.pop(baseline, ()))
    return {
        scheme: half_width(pair(base, centres(records))) for scheme, records in by_scheme.items()
    }


def half_width(pairs: Pairs) -> float | None:
    """Half the width of the 95 % interval of the log ratio; None where there is none."""
    interval = estimate(pairs.logs).interval if len(pairs) else None
    return None if interval is None else interval.half_width


def median_ms(times_us: Iterable[float]) -> float | None:
    times = list(times_us)
    return median(times) / 1000 if times else None
