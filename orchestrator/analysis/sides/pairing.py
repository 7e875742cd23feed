"""From trials to pairs: which process is compared with which. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from statistics import median
from typing import TypeAlias

from orchestrator.analysis.statistics import estimate
from orchestrator.figures import INFERENCE_TIME, Comparison, Figure, figures_named, own_figure
from orchestrator.measurement import Samples
from orchestrator.measures.registry import measure_of
from orchestrator.runs.records import TrialRecord
from orchestrator.trial import Factors

#: Device, model, factors: what a comparison holds equal.
GroupKey: TypeAlias = "tuple[str, str, Factors]"

#: Block → what stands for the process of a figure, in its unit: of its times one statistic, in µs.
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
    """The blocks in which both sides ended ok, with what each found of ``figure``, in the order of
    blocks. Times are in µs."""

    blocks: tuple[int, ...]
    baseline: tuple[float, ...]
    treatment: tuple[float, ...]
    figure: Figure = INFERENCE_TIME

    def __len__(self) -> int:
        return len(self.blocks)

    @property
    def logs(self) -> list[float]:
        """The treatment's gain, a block each: of times the logarithm of baseline ÷ treatment."""
        both = zip(self.baseline, self.treatment, strict=True)
        return [self.figure.gain(baseline, treatment) for baseline, treatment in both]


def group_key(record: TrialRecord) -> GroupKey:
    trial = record.trial
    return (trial.device, trial.variant.model, trial.factors)


def partners(records: Iterable[TrialRecord]) -> frozenset[str]:
    """The ids of the partners of these trials, in duets; empty where each ran alone."""
    return frozenset(r.trial.duet.partner for r in records if r.trial.duet is not None)


def compared_replicate(partner_ids: frozenset[str], baselines: Iterable[TrialRecord]) -> int:
    """Which replicate of the baseline a treatment is compared with: the first, but in duets the one
    that ran at the same time. The same in every block; one that there is not, where it never ran.
    """
    if not partner_ids:
        return 0
    return next((r.trial.replicate for r in baselines if r.trial.trial_id in partner_ids), -1)


def pair(baseline: Centres, treatment: Centres, figure: Figure = INFERENCE_TIME) -> Pairs:
    """Both sides' amounts of ``figure``, over the blocks that both have."""
    blocks = tuple(sorted(baseline.keys() & treatment.keys()))
    one, other = (tuple(side[block] for block in blocks) for side in (baseline, treatment))
    return Pairs(blocks, one, other, figure)


def centre_us(record: TrialRecord) -> float | None:
    """A usable time of one process, else None: a logarithm needs it positive and finite."""
    measured = record.measurement
    return None if measured is None else INFERENCE_TIME.usable(measured.centre(INFERENCE_TIME.name))


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
        if measurement is None or measurement.steady is None:
            continue
        if not measure_of(trial.kind).in_blocks:
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


def amounts(records: Iterable[TrialRecord], figure: Figure) -> Mapping[int, Centres]:
    """Replicate → block → the usable amount of ``figure``, of the trials that stand in blocks."""
    found: dict[int, dict[int, float]] = {}
    for record in records:
        if record.measurement is None or not measure_of(record.trial.kind).in_blocks:
            continue
        amount = figure.usable(record.measurement.centre(figure.name))
        if amount is not None:
            found.setdefault(record.trial.replicate, {})[record.trial.block] = amount
    return found


def figures_of(records: Iterable[TrialRecord]) -> tuple[Figure, ...]:
    """The figures other than time that some trial in a block found, in the order of their list;
    those that are not in it come last."""
    found: dict[str, Samples] = {}
    for record in records:
        if record.measurement is not None and measure_of(record.trial.kind).in_blocks:
            found.update(record.measurement.figures)
    described = {
        name: figure
        for name, each in found.items()
        if each.better and (figure := own_figure(name, each.unit, each.better)) is not None
    }
    return figures_named(found, described)


def comparison_precision(trials: Iterable[TrialRecord], baseline: str) -> dict[str, float | None]:
    """How well each treatment of one group is known so far: scheme → achieved half-width.

    The half-width is that of the 95 % interval of the log ratio, so 0.02 means about ±2 %; None
    where there are too few pairs for an interval. Where no trial has a time, it is that of the
    least certain of the figures that are compared as ratios. Cheap enough to be asked after every
    block.
    """
    by_scheme: dict[str, list[TrialRecord]] = {}
    for record in trials:
        by_scheme.setdefault(record.trial.variant.scheme, []).append(record)
    baselines = by_scheme.pop(baseline, [])
    base = all_times(baselines)
    found = {}
    for scheme, records in by_scheme.items():
        replicate = compared_replicate(partners(records), baselines)
        beside, own = base.get((Statistic.CENTRE, replicate), {}), centres(records)
        ratios = [f for f in figures_of(baselines) if f.comparison is Comparison.RATIO]
        if own or beside or not ratios:
            found[scheme] = half_width(pair(beside, own))
        else:
            found[scheme] = _least_certain(baselines, records, ratios, replicate)
    return found


def _least_certain(
    baselines: Sequence[TrialRecord],
    records: Sequence[TrialRecord],
    figures: Sequence[Figure],
    replicate: int,
) -> float | None:
    widths = []
    for figure in figures:
        beside, own = amounts(baselines, figure).get(replicate, {}), amounts(records, figure)
        widths.append(half_width(pair(beside, own.get(0, {}), figure)))
    known = [width for width in widths if width is not None]
    return max(known) if len(known) == len(widths) else None


def half_width(pairs: Pairs) -> float | None:
    """Half the width of the 95 % interval of the log ratio; None where there is none."""
    interval = estimate(pairs.logs).interval if len(pairs) else None
    return None if interval is None else interval.half_width


def median_ms(times_us: Iterable[float]) -> float | None:
    times = list(times_us)
    return median(times) / 1000 if times else None
