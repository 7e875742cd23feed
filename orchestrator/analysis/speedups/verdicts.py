"""When two sides may be called different. Pure; one rule for every statistic and every table."""

from __future__ import annotations

import math

from orchestrator.analysis.statistics import Estimate

#: Family-wise error rate of a table.
ALPHA = 0.05

#: The reason of a verdict that nothing speaks against.
CERTAIN = (
    "the interval excludes 1, the effect is beyond the noise floor, and it passes Holm's correction"
)


def doubt(
    found: Estimate, floor: float | None, p_adjusted: float | None, nothing: str = "1"
) -> str | None:
    """Why the two sides may not be called different; None if they may.

    ``floor`` is a ratio, the exponential of the gain that it bounds; ``nothing`` is what no effect
    is called in the figure's own terms.
    """
    if found.interval is None:
        return "too few blocks for a 95 % interval"
    if not found.interval.excludes_zero:
        return f"the interval includes {nothing}"
    if floor is None:
        return "there is no noise floor to hold the effect against"
    if abs(found.centre) <= math.log(floor):
        return f"the effect is within the noise floor ({floor:.4g})"
    if p_adjusted is None or p_adjusted > ALPHA:
        return "it does not pass Holm's correction over the table"
    return None
