"""Estimate, interval and test for the shift between two independent samples. Pure.

For what two runs measured of the same thing: their blocks are not pairs. The Hodges-Lehmann
estimate of the shift (the median of all differences) with the interval that inverts the exact
rank-sum test of Wilcoxon, Mann and Whitney (Hollander, Wolfe & Chicken, section 4.2), and, as in
``statistics`` and for the same reason, a p-value of twice the smaller of that test's and Welch's.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from functools import cache
from statistics import NormalDist, fmean, median, variance

from orchestrator.analysis.statistics import CONFIDENCE, Estimate, Interval

#: Up to so many differences the null distribution is exact; beyond, its normal limit serves.
_EXACT_UP_TO = 1600


def shift(first: Sequence[float], second: Sequence[float]) -> Estimate:
    """Estimate how far ``second`` lies above ``first``. Raises ValueError where one is empty."""
    differences = _differences(first, second)
    rank = _interval_rank(*sorted((len(first), len(second))))
    interval = None if rank is None else Interval(differences[rank], differences[-1 - rank])
    return Estimate(median(differences), interval)


def shift_p(first: Sequence[float], second: Sequence[float]) -> float | None:
    """Compute the two-sided p-value of "no shift"; None with fewer than two values on a side."""
    if min(len(first), len(second)) < 2:
        return None
    return min(1.0, 2 * min(rank_sum_p(first, second), welch_p(first, second)))


def rank_sum_p(first: Sequence[float], second: Sequence[float]) -> float:
    """Compute the two-sided exact p-value of the rank-sum test; ties count against a shift."""
    differences = _differences(first, second)
    not_above = bisect_right(differences, 0.0)
    not_below = len(differences) - bisect_left(differences, 0.0)
    smaller, larger = sorted((len(first), len(second)))
    return min(1.0, 2 * _null_cdf(smaller, larger, min(not_above, not_below)))


def welch_p(first: Sequence[float], second: Sequence[float]) -> float:
    """Compute the two-sided p-value of Welch's t-test; it needs two values or more on either
    side."""
    # scipy takes a while to import
    from scipy.special import stdtr  # noqa: PLC0415

    a, b = variance(first) / len(first), variance(second) / len(second)
    apart = fmean(second) - fmean(first)
    if not a + b:
        return 1.0 if not apart else 0.0
    freedom = (a + b) ** 2 / (a**2 / (len(first) - 1) + b**2 / (len(second) - 1))
    return float(2 * stdtr(freedom, -abs(apart) / math.sqrt(a + b)))


def _differences(first: Sequence[float], second: Sequence[float]) -> list[float]:
    if not first or not second:
        raise ValueError("a sample is empty: no shift to estimate")
    return sorted(b - a for a in first for b in second)


@cache
def _interval_rank(smaller: int, larger: int) -> int | None:
    """How many differences to leave out at either end; None where even none are too few."""
    tail = (1 - CONFIDENCE) / 2
    if _null_cdf(smaller, larger, 0) > tail:
        return None
    low, high = 0, smaller * larger // 2
    while high - low > 1:  # invariant: cdf(low) <= tail < cdf(high)
        middle = (low + high) // 2
        low, high = (middle, high) if _null_cdf(smaller, larger, middle) <= tail else (low, middle)
    return low


def _null_cdf(smaller: int, larger: int, statistic: int) -> float:
    """P(U <= statistic) when nothing differs."""
    if smaller * larger <= _EXACT_UP_TO:
        return _null_table(smaller, larger)[statistic]
    deviation = math.sqrt(smaller * larger * (smaller + larger + 1) / 12)
    return NormalDist(smaller * larger / 2, deviation).cdf(statistic + 0.5)


@cache
def _null_table(smaller: int, larger: int) -> tuple[float, ...]:
    """P(U <= k) for every k, from the number of ways in which ``smaller`` of all ranks can lie."""
    size = smaller * larger
    # ways[j][k]: of the ranks seen so far j belong to the smaller sample, with U = k in all
    ways = [[0] * (size + 1) for _ in range(smaller + 1)]
    ways[0][0] = 1
    for rank in range(smaller + larger):
        for taken in range(min(rank, smaller - 1), -1, -1):
            above = rank - taken  # values of the larger sample below this one
            if above > larger:
                continue
            source, target = ways[taken], ways[taken + 1]
            for k in range(size - above + 1):
                if source[k]:
                    target[k + above] += source[k]
    total, below, table = math.comb(smaller + larger, smaller), 0, []
    for count in ways[smaller]:
        below += count
        table.append(below / total)
    return tuple(table)
