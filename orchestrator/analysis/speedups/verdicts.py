"""When two sides may be called different. Pure; one rule for every statistic and every table."""

from __future__ import annotations

import math
from collections.abc import Sequence

from orchestrator.analysis.statistics import Estimate, estimate

#: Family-wise error rate of a table.
ALPHA = 0.05

#: The reason of a verdict that nothing speaks against.
CERTAIN = (
    "the interval excludes 1, the effect is beyond the noise floor, and it passes Holm's correction"
)


def floor_of(logs: Sequence[float]) -> float | None:
    """The noise floor that the baseline's log ratios to itself yield: the bound of their interval
    farther from 1, as a ratio of at least 1. None with too few for an interval."""
    interval = estimate(logs).interval if logs else None
    return math.exp(max(abs(interval.low), abs(interval.high))) if interval else None


def doubt(found: Estimate, floor: float | None, p_adjusted: float | None) -> str | None:
    """Why the two sides may not be called different; None if they may."""
    if found.interval is None:
        return "too few blocks for a 95 % interval"
    if not found.interval.excludes_zero:
        return "the interval includes 1"
    if floor is None:
        return "there is no noise floor to hold the effect against"
    if abs(found.centre) <= math.log(floor):
        return f"the effect is within the noise floor ({floor:.4g})"
    if p_adjusted is None or p_adjusted > ALPHA:
        return "it does not pass Holm's correction over the table"
    return None
