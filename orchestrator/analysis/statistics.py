"""Estimate, interval and test for paired log ratios. Pure; works on a handful of floats.

Every function takes ``logs``: one value per block, the logarithm of baseline time ÷ treatment
time. Where both sides of a block suffer the same kind of noise, whatever kind, the logs are
symmetric about the logarithm of the speed-up. That is the one assumption of what follows; where
noise strikes the two sides unlike, the interval is one for the pseudo-median of the logs.

Estimate and interval
---------------------
The Hodges-Lehmann estimate (median of the Walsh averages, the means of every pair of logs with
itself included) and the interval that inverts Wilcoxon's exact signed-rank test. Sources:
Hollander, Wolfe & Chicken, *Nonparametric Statistical Methods*, 3rd ed., sections 3.1 to 3.3;
Lehmann, *Nonparametrics*, chapter 4.

It was chosen by simulation (``benchmarks/interval_methods.py``: log-normal, bimodal and
heavy-tailed noise and a drift common to both sides, 10,000 comparisons each). Least and greatest
coverage of 95 % intervals over the four, and mean width relative to the one chosen::

                                coverage, %                   width, n = 20
    method              n = 6       n = 10      n = 20     log-normal  bimodal
    signed-rank       96.5-97.0   94.8-95.5   94.6-95.3       1          1
    t on log ratios   94.9-98.6   94.8-97.7   94.5-95.7       0.97       1.36
    order statistics  96.5-97.0   97.8-98.1   95.5-96.1       1.24       0.52
    BCa, mean         74.1-89.2   79.0-91.1   85.5-93.5       0.88       1.26
    BCa, median       93.0-94.8   93.6-94.1   93.5-94.0       1.10       0.44

Asked for: at least 94 % everywhere, at most 97.5 % from ten blocks on. The signed-rank interval
alone holds both. (The t interval comes close, and is a fifth narrower at six blocks.) Below six
blocks there is no 95 % signed-rank interval, and none is given.

Taking the geometric mean of a block's two baselines would narrow the interval by 13 % but breaks
the symmetry: coverage falls to 92.5 % (bimodal, n = 20). So the second baseline serves the noise
floor alone. Stopping as soon as a precision is reached costs up to 1.5 points: 93.5 % at worst.

Test
----
An exact signed-rank p-value cannot go below 2/64 with six blocks, so no effect however large
could pass Holm's correction over a table; a t-test can, but one process that hung makes it blind.
The p-value is therefore twice the smaller of the two (Bonferroni over two looks). With the
interval, the noise floor and Holm's correction together, at most 0.9 % of 10,000 simulated A/A
tables of 18 comparisons call anything different, whatever the noise and the number of blocks.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from statistics import NormalDist, fmean, median

CONFIDENCE = 0.95

#: The signed-rank test has no two-sided 95 % interval with fewer pairs (2/2^5 > 0.05).
MIN_PAIRS = 6

#: Up to here the null distribution is exact; beyond, its normal limit is good to four digits.
_EXACT_UP_TO = 100


@dataclass(frozen=True)
class Interval:
    """Bounds of a 95 % interval, in log space."""

    low: float
    high: float

    @property
    def half_width(self) -> float:
        return (self.high - self.low) / 2

    @property
    def excludes_zero(self) -> bool:
        return self.low > 0 or self.high < 0


@dataclass(frozen=True)
class Estimate:
    """Centre of the log ratios; ``interval`` is None with fewer than ``MIN_PAIRS`` pairs."""

    centre: float
    interval: Interval | None


def estimate(logs: Sequence[float]) -> Estimate:
    """Hodges-Lehmann estimate with its signed-rank interval. Raises ValueError on no pairs."""
    averages = _walsh_averages(logs)
    rank = _interval_rank(len(logs))
    interval = None if rank is None else Interval(averages[rank], averages[-1 - rank])
    return Estimate(median(averages), interval)


def p_value(logs: Sequence[float]) -> float | None:
    """Compute the two-sided p-value of "the centre is 0"; None with fewer than two pairs."""
    if len(logs) < 2:
        return None
    return min(1.0, 2 * min(signed_rank_p(logs), t_p(logs)))


def signed_rank_p(logs: Sequence[float]) -> float:
    """Compute the two-sided exact signed-rank p-value; averages of exactly zero count against an
    effect."""
    averages = _walsh_averages(logs)
    not_above = bisect_right(averages, 0.0)
    not_below = len(averages) - bisect_left(averages, 0.0)
    return min(1.0, 2 * _null_cdf(len(logs), min(not_above, not_below)))


def t_p(logs: Sequence[float]) -> float:
    """Compute the two-sided p-value of Student's t-test; it needs two pairs or more."""
    # scipy takes a while to import, and only a finished table needs it
    from scipy.special import stdtr  # noqa: PLC0415

    if min(logs) == max(logs):
        return 1.0 if logs[0] == 0 else 0.0
    n, mean = len(logs), fmean(logs)
    variance = math.fsum((x - mean) ** 2 for x in logs) / (n - 1)
    return float(2 * stdtr(n - 1, -abs(mean) / math.sqrt(variance / n)))


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down adjusted p-values, in the order given (Holm 1979)."""
    adjusted = [1.0] * len(p_values)
    running = 0.0
    order = sorted(range(len(p_values)), key=p_values.__getitem__)
    for rank, index in enumerate(order):
        running = max(running, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = running
    return adjusted


def holm_of_known(p_values: Sequence[float | None]) -> list[float | None]:
    """Return the same for the p-values that are there; None stays None and counts for nothing."""
    adjusted = iter(holm([p for p in p_values if p is not None]))
    return [None if p is None else next(adjusted) for p in p_values]


def _walsh_averages(logs: Sequence[float]) -> tuple[float, ...]:
    if not logs:
        raise ValueError("no pairs: nothing to estimate from")
    return _walsh_averages_of(tuple(logs))


# Estimate, precision and test of one comparison are asked for one after the other.
@lru_cache(maxsize=4)
def _walsh_averages_of(logs: tuple[float, ...]) -> tuple[float, ...]:
    return tuple(sorted([(a + b) / 2 for i, a in enumerate(logs) for b in logs[i:]]))


@cache
def _interval_rank(pairs: int) -> int | None:
    """How many Walsh averages to leave out at either end; None where even none are too few."""
    tail = (1 - CONFIDENCE) / 2
    if _null_cdf(pairs, 0) > tail:
        return None
    low, high = 0, pairs * (pairs + 1) // 4
    while high - low > 1:  # invariant: cdf(low) <= tail < cdf(high)
        middle = (low + high) // 2
        low, high = (middle, high) if _null_cdf(pairs, middle) <= tail else (low, middle)
    return low


def _null_cdf(pairs: int, statistic: int) -> float:
    """P(T+ <= statistic) when nothing differs."""
    if pairs <= _EXACT_UP_TO:
        return _null_table(pairs)[statistic]
    mean = pairs * (pairs + 1) / 4
    deviation = math.sqrt(pairs * (pairs + 1) * (2 * pairs + 1) / 24)
    return NormalDist(mean, deviation).cdf(statistic + 0.5)


@cache
def _null_table(pairs: int) -> tuple[float, ...]:
    """P(T+ <= k) for every k: each rank 1..pairs is in the sum or not, by a fair coin."""
    ways = [1]
    for rank in range(1, pairs + 1):
        with_rank = [0] * rank + ways
        without = ways + [0] * rank
        ways = [a + b for a, b in zip(with_rank, without, strict=True)]
    total, below, table = 2**pairs, 0, []
    for count in ways:
        below += count
        table.append(below / total)
    return tuple(table)


def floor_of(logs: Sequence[float]) -> float | None:
    """Return the noise floor that the baseline's log ratios to itself yield: the bound of their
    interval farther from 1, as a ratio of at least 1. None with too few for an interval."""
    interval = estimate(logs).interval if logs else None
    return math.exp(max(abs(interval.low), abs(interval.high))) if interval else None
