"""What an interval of a difference in accuracy says, given the loss that counts as none. Pure."""

from __future__ import annotations

from enum import Enum

from orchestrator.measures.accuracy.shares import ALPHA


class AccuracyVerdict(str, Enum):
    """What can be said of a treatment's accuracy beside its baseline's."""

    BETTER = "better"
    NO_WORSE = "no worse"
    WORSE = "worse"
    CANNOT_TELL = "cannot tell"


def verdict_of(low: float, high: float, margin: float, p: float) -> AccuracyVerdict:
    """Judge a difference by the bounds of its 95 % interval, all in the unit of ``margin``.

    ``better``: the interval lies above 0. ``no worse``: it lies above -margin, so that a loss of
    that size is ruled out, even where a smaller one is certain. ``worse``: it lies below 0 and
    reaches -margin. ``cannot tell``: anything else. ``p``, adjusted over its table, must pass for
    ``better`` and ``worse``, which claim that there is a difference; ``no worse`` claims none.
    """
    differs = p <= ALPHA
    if differs and low > 0:
        return AccuracyVerdict.BETTER
    if low > -margin:
        return AccuracyVerdict.NO_WORSE
    if differs and high < 0:
        return AccuracyVerdict.WORSE
    return AccuracyVerdict.CANNOT_TELL


def checked_margin(margin_points: float) -> float:
    """Return a margin in percentage points as a share of 1. Raises ValueError beyond 0 to 100."""
    if not 0 <= margin_points <= 100:
        raise ValueError(f"a margin is between 0 and 100 percentage points, not {margin_points}")
    return margin_points / 100
