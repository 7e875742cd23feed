"""From trials to pairs: which process is compared with which. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from statistics import median
from typing import TypeAlias

from orchestrator.analysis.statistics import estimate
from orchestrator.runs.records import TrialRecord
from orchestrator.trial import Factors, TrialKind

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


def partners(records: Iterable[TrialRecord]) -> frozenset[str]:
    """The ids of the trials that these ran beside, in duets; empty where each ran alone."""
    return frozenset(r.trial.duet.partner for r in records if r.trial.duet is not None)


def compared_replicate(partner_ids: frozenset[str], baselines: Iterable[TrialRecord]) -> int:
    """Which replicate of the baseline a treatment is compared with: the first, but in duets the one
    that ran at the same time. The same in every block; one that there is not, where it never ran.
    """
    if not partner_ids:
        return 0
    return next((r.trial.replicate for r in baselines if r.trial.trial_id in partner_ids), -1)


def pair(baseline: Centres, treatment: Centres) -> Pairs:
    blocks = tuple(sorted(baseline.keys() & treatment.keys()))
    return Pairs(blocks, tuple(baseline[b] for b in blocks), tuple(treatment[b] for b in blocks))


def centre_us(record: TrialRecord) -> float | None:
    """A usable time of one process, else None: a logarithm needs it positive and finite."""
    time = record.measurement.steady.centre_us if record.measurement is not None else None
    return time if time is not None and 0 < time < math.inf else None


def centres(records: Iterable[TrialRecord], *, replicate: int = 0) -> dict[int, float]:
    """The usable time of each block, of the timing trials among ``records``."""
    return dict(all_times(records).get((Statistic.CENTRE, replicate), {}))


def all_times(records: Iterable[TrialRecord]) -> Mapping[tuple[Statistic, int], Centres]:
    """The usable times by block, of the timing trials among ``records``, for each statistic and
    replicate: 0, 1 and those that there are."""
    found: dict[tuple[Statistic, int], dict[int, float]] = {
        (statistic, replicate): {} for statistic in Statistic for replicate in (0, 1)
    }
    by_replicate = {
        replicate: [found[statistic, replicate] for statistic in _ORDER] for replicate in (0, 1)
    }
    for record in records:
        trial, measurement = record.trial, record.measurement
        if measurement is None or trial.kind is not TrialKind.TIMING:
            continue
        places = by_replicate.get(trial.replicate)
        if places is None:  # of a duet
            places = [found.setdefault((s, trial.replicate), {}) for s in _ORDER]
            by_replicate[trial.replicate] = places
        steady, block = measurement.steady, trial.block
        times = (steady.centre_us, steady.mean_us, steady.min_us)
        for place, time in zip(places, times, strict=True):
            if time is not None and 0 < time < math.inf:
                place[block] = time
    return found


_ORDER = (Statistic.CENTRE, Statistic.MEAN, Statistic.MINIMUM)


def comparison_precision(trials: Iterable[TrialRecord], baseline: str) -> dict[str, float | None]:
    """How well each treatment of one group is known so far: scheme → achieved half-width.

    The half-width is that of the 95 % interval of the log ratio, so 0.02 means about ±2 %; None
    where there are too few pairs for an interval. Cheap enough to be asked after every block.
    """
    by_scheme: dict[str, list[TrialRecord]] = {}
    for record in trials:
        by_scheme.setdefault(record.trial.variant.scheme, []).append(record)
    baselines = by_scheme.pop(baseline, [])
    base = all_times(baselines)
    found = {}
    for scheme, records in by_scheme.items():
        replicate = compared_replicate(partners(records), baselines)
        beside = base.get((Statistic.CENTRE, replicate), {})
        found[scheme] = half_width(pair(beside, centres(records)))
    return found


def half_width(pairs: Pairs) -> float | None:
    """Half the width of the 95 % interval of the log ratio; None where there is none."""
    interval = estimate(pairs.logs).interval if len(pairs) else None
    return None if interval is None else interval.half_width


def median_ms(times_us: Iterable[float]) -> float | None:
    times = list(times_us)
    return median(times) / 1000 if times else None
