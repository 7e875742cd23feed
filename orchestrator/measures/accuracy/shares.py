"""Shares of samples, their intervals, and the difference of two over the same samples. Pure.

The interval of a share is Wilson's score interval (1927); the interval of a difference is method 10
of Newcombe, *Improved confidence intervals for the difference between binomial proportions based on
paired data*, Statistics in Medicine 17 (1998) 2635; the test is McNemar's, exact. All are 95 %.
``benchmarks/accuracy_intervals.py`` simulates how often the interval holds the truth.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

_Numbers: TypeAlias = "NDArray[np.float64]"

CONFIDENCE = 0.95
#: An adjusted p-value above it shows nothing.
ALPHA = 1 - CONFIDENCE
_Z = NormalDist().inv_cdf(0.5 + CONFIDENCE / 2)


@dataclass(frozen=True, slots=True)
class Share:
    """``count`` of ``n`` samples, with Wilson's 95 % interval, as shares of 1.

    With no samples the interval is all of 0 to 1, and there is no value.
    """

    count: int
    n: int
    low: float
    high: float

    @property
    def value(self) -> float | None:
        """The share itself, None where there are no samples."""
        return self.count / self.n if self.n else None


def share(count: int, n: int) -> Share:
    """Return ``count`` of ``n`` with its interval. Raises ValueError where it is not a share."""
    if not 0 <= count <= n:
        raise ValueError(f"{count} of {n} is not a share")
    low, high = wilson(np.asarray(count, float), np.asarray(n, float))
    return Share(count, n, float(low), float(high))


def wilson(count: _Numbers, n: _Numbers) -> tuple[_Numbers, _Numbers]:
    """Return the bounds of Wilson's interval, of single numbers or arrays alike."""
    count, n = np.broadcast_arrays(np.asarray(count, float), np.asarray(n, float))
    safe = np.where(n > 0, n, 1.0)
    p = count / safe
    middle = p + _Z**2 / (2 * safe)
    half = _Z * np.sqrt(p * (1 - p) / safe + _Z**2 / (4 * safe**2))
    scale = 1 + _Z**2 / safe
    # at either end the bound is exactly the end, which rounding misses by a hair
    low = np.where((count <= 0) | (n <= 0), 0.0, (middle - half) / scale)
    high = np.where((count >= n) | (n <= 0), 1.0, (middle + half) / scale)
    return low, high


def newcombe(
    both: _Numbers, lost: _Numbers, gained: _Numbers, neither: _Numbers
) -> tuple[_Numbers, _Numbers, _Numbers]:
    """Return the difference of two paired shares, treatment minus baseline, and its bounds.

    The four counts say how many samples both sides have right, the baseline alone, the treatment
    alone, and neither. Counts may be arrays, and need not be whole. There must be a sample.
    """
    a, b, c, d = (np.asarray(count, float) for count in (both, lost, gained, neither))
    n = a + b + c + d
    p_base, p_treat = (a + b) / n, (a + c) / n
    low_base, high_base = wilson(a + b, n)
    low_treat, high_treat = wilson(a + c, n)
    # how far the two go together, with the correction for continuity that makes it method 10
    together = a * d - b * c
    together = np.where(together > 0, np.maximum(together - n / 2, 0.0), together)
    scale = np.sqrt((a + b) * (c + d) * (a + c) * (b + d))
    phi = np.where(scale > 0, together / np.where(scale > 0, scale, 1.0), 0.0)
    down, up = p_treat - low_treat, high_treat - p_treat
    base_down, base_up = p_base - low_base, high_base - p_base
    below = down**2 - 2 * phi * down * base_up + base_up**2
    above = up**2 - 2 * phi * up * base_down + base_down**2
    difference = (c - b) / n
    return (
        difference,
        difference - np.sqrt(np.maximum(below, 0.0)),
        difference + np.sqrt(np.maximum(above, 0.0)),
    )


def mcnemar_p(lost: int, gained: int) -> float:
    """Return McNemar's exact two-sided p-value: how surprising it is that of the samples that
    changed sides so unlike numbers were lost and gained."""
    # scipy.stats takes a second to import, and only a finished table needs it
    from scipy.stats import binom  # noqa: PLC0415

    return min(1.0, float(binom.cdf(min(lost, gained), lost + gained, 0.5) * 2))
