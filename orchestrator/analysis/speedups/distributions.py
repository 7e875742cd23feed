"""Every process's time, scheme by scheme: what bars, box plots and warm-up curves stand on. Pure.

The centre and its interval are over blocks, as for speed-ups, and of the first baseline of each
block alone, so that every scheme has one sample a block. The processes themselves are all there.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from orchestrator.analysis.sides.groups import ComparisonGroup
from orchestrator.analysis.sides.pairing import Statistic
from orchestrator.analysis.sides.side import Side
from orchestrator.analysis.sides.summaries import inputs_fed
from orchestrator.analysis.statistics import estimate
from orchestrator.analysis.table import Distribution
from orchestrator.trial import Factors


def distributions(groups: Iterable[ComparisonGroup]) -> tuple[Distribution, ...]:
    """One a scheme that has a usable time, in the order of the groups, the baseline first."""
    return tuple(
        _distribution(group, group.factors, side)
        for group in groups
        if group.factors is not None
        for side in group.sides
        if any(side.times.values())
    )


def _distribution(group: ComparisonGroup, factors: Factors, side: Side) -> Distribution:
    times = sorted(
        (block, replicate, time_us)
        for (statistic, replicate), by_block in side.times.items()
        if statistic is Statistic.CENTRE
        for block, time_us in by_block.items()
    )
    first = [math.log(time_us) for time_us in side.times[Statistic.CENTRE, 0].values()]
    estimated = estimate(first) if first else None
    interval = estimated.interval if estimated else None
    return Distribution(
        device=group.device,
        model=group.model,
        factors=factors,
        scheme=side.scheme,
        centres_ms=tuple(time_us / 1000 for _, _, time_us in times),
        centre_ms=math.exp(estimated.centre) / 1000 if estimated else None,
        low_ms=math.exp(interval.low) / 1000 if interval else None,
        high_ms=math.exp(interval.high) / 1000 if interval else None,
        inputs=inputs_fed(side, factors),
    )
