"""The difference of two detectors' average precision, over the same images. Pure.

A paired bootstrap over images: each resample draws as many images as there are, with replacement,
the same for both sides. A box is matched within its image alone, so the matches stand, and a
resample only counts each image as often as it was drawn; the figure is that of a full evaluation
with copies of the images. The interval is the expanded percentile interval, 95 %: a bootstrap knows
as little as the sample does, so its tails are taken by Student's t and widened by √(n/(n-1))
(Hesterberg, *What teachers should know about the bootstrap*, The American Statistician 69 (2015)
371). ``benchmarks/accuracy_intervals.py`` simulates how often it holds the truth.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from statistics import NormalDist
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from orchestrator.measures.accuracy.answers import Ints
from orchestrator.measures.accuracy.coco import CategoryMatches, Evaluation
from orchestrator.measures.accuracy.shares import ALPHA
from orchestrator.measures.accuracy.verdicts import AccuracyVerdict, checked_margin, verdict_of

_Doubles: TypeAlias = "NDArray[np.float64]"

RESAMPLES = 1000
#: COCO's recalls at which precision is read, made as pycocotools makes them.
_RECALLS = np.linspace(0.0, 1.0, 101)
_MOST_IMAGES = 10**9


@dataclass(frozen=True, slots=True)
class ApDifference:
    """A treatment's AP@[.50:.95] minus its baseline's, over the same ``n`` images.

    Figures are shares of 1, ``margin_points`` is in percentage points. ``p`` is two-sided, from the
    difference over the bootstrap's standard error, of this comparison alone, and ``p_adjusted`` the
    one that the verdict rests on. ``samples_that_would_tell`` is as in
    :class:`classification.PairedDifference`. ``resamples`` are those that had an object to find.
    """

    n: int
    baseline: float
    treatment: float
    difference: float
    low: float
    high: float
    p: float
    p_adjusted: float
    margin_points: float
    verdict: AccuracyVerdict
    samples_that_would_tell: int | None
    resamples: int

    def adjusted(self, p_adjusted: float) -> ApDifference:
        """Return the same difference with the verdict that a p-value adjusted over its table
        leaves."""
        margin = checked_margin(self.margin_points)
        verdict = verdict_of(self.low, self.high, margin, p_adjusted)
        changed = replace(self, p_adjusted=p_adjusted, verdict=verdict)
        return replace(changed, samples_that_would_tell=_images_that_would_tell(changed))


def paired_ap(
    baseline: Evaluation,
    treatment: Evaluation,
    margin_points: float,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> ApDifference:
    """Compare two evaluations of the same images by a paired bootstrap.

    Raises ValueError where they are not of the same ground truth, there is nothing to find, or
    fewer than two resamples are asked for.
    """
    if resamples < 2:
        raise ValueError(f"an interval needs resamples, at least two, not {resamples}")
    margin = checked_margin(margin_points)
    same = baseline.image_ids == treatment.image_ids and baseline.objects == treatment.objects
    if not same:
        raise ValueError("a paired difference needs evaluations of the same images and annotations")
    if baseline.figures.ap is None or treatment.figures.ap is None:
        raise ValueError("the annotations of these images have no object: there is no AP")
    n = len(baseline.image_ids)
    rng = np.random.default_rng(seed)
    differences = []
    for _ in range(resamples):
        copies = np.bincount(rng.integers(0, n, n), minlength=n)
        one, other = average_precision(baseline, copies), average_precision(treatment, copies)
        if one is not None and other is not None:
            differences.append(other - one)
    if len(differences) < 2:
        raise ValueError("hardly a resample of these images has an object: there is no interval")
    difference = treatment.figures.ap - baseline.figures.ap
    drawn = np.array(differences)
    tail = _tail(n)
    low, high = (float(each) for each in np.quantile(drawn, [tail, 1 - tail]))
    p = _p_of(difference, float(drawn.std(ddof=1)), n)
    found = ApDifference(
        n=n,
        baseline=baseline.figures.ap,
        treatment=treatment.figures.ap,
        difference=difference,
        low=low,
        high=high,
        p=p,
        p_adjusted=p,
        margin_points=margin_points,
        verdict=verdict_of(low, high, margin, p),
        samples_that_would_tell=None,
        resamples=len(drawn),
    )
    return replace(found, samples_that_would_tell=_images_that_would_tell(found))


def average_precision(evaluation: Evaluation, copies: Ints) -> float | None:
    """Return AP@[.50:.95] where each image stands as often as ``copies`` says, in the order of
    ``image_ids``; None where no object is left."""
    precisions = [
        found
        for matches in evaluation.matches
        if (found := _precisions(matches, copies)) is not None
    ]
    return float(np.mean(precisions)) if precisions else None


def _precisions(matches: CategoryMatches, copies: Ints) -> _Doubles | None:
    """The interpolated precision of one category at each threshold and recall."""
    objects = int(matches.objects @ copies)
    if objects == 0:
        return None
    drawn = _drawn(matches, copies)
    hits, misses = matches.hit[:, drawn], matches.miss[:, drawn]
    # how many hits it takes to reach each recall; recalls are compared as pycocotools does
    needed = np.searchsorted(np.arange(objects + 1) / objects, _RECALLS, side="left")
    found = np.zeros((len(hits), len(_RECALLS)))
    for row, hit, miss in zip(found, hits, misses, strict=True):
        places = np.flatnonzero(hit)
        if not len(places):
            continue
        count = np.arange(1, len(places) + 1)
        # the highest precision at this recall or beyond is always that at a hit
        precision = count / (np.cumsum(miss)[places] + count + np.spacing(1))
        best = np.maximum.accumulate(precision[::-1])[::-1]
        reached = needed <= len(places)
        row[reached] = best[np.maximum(needed[reached], 1) - 1]
    return found


def _drawn(matches: CategoryMatches, copies: Ints) -> Ints:
    """Places of the boxes as the copies have them, in the order of falling scores.

    Of equal scores all of an image's first copy come before those of its second, as they would in
    an evaluation of the copies.
    """
    times = copies[matches.image]
    drawn = np.repeat(np.arange(len(times)), times)
    scores, image = matches.scores, matches.image
    tied = (scores[1:] == scores[:-1]) & (image[1:] == image[:-1])
    if not tied.any():
        return drawn
    first = np.cumsum(times) - times
    copy = np.arange(len(drawn)) - first[drawn]
    order = np.lexsort((drawn, copy, image[drawn], -scores[drawn]))
    return drawn[order]


def _tail(n: int) -> float:
    """The share of resamples to leave out at either end."""
    from scipy.special import stdtrit  # noqa: PLC0415 # scipy takes a while to import

    if n < 2:
        return 0.0
    quantile = float(stdtrit(n - 1, ALPHA / 2))
    return NormalDist().cdf(math.sqrt(n / (n - 1)) * quantile)


def _p_of(difference: float, error: float, n: int) -> float:
    """The two-sided p-value of a difference with the bootstrap's standard error."""
    from scipy.special import stdtr  # noqa: PLC0415 # scipy takes a while to import

    if n < 2:
        return 1.0
    if error == 0:
        return 1.0 if difference == 0 else 0.0
    widened = error * math.sqrt(n / (n - 1))
    return float(2 * stdtr(n - 1, -abs(difference) / widened))


def _images_that_would_tell(found: ApDifference) -> int | None:
    """How many images lead to a verdict where the interval shrinks with the root of their
    number."""
    if found.verdict is not AccuracyVerdict.CANNOT_TELL:
        return None
    margin = checked_margin(found.margin_points)
    growths = []
    if found.difference > -margin:
        growths.append(((found.difference - found.low) / (found.difference + margin)) ** 2)
    if found.difference < 0:
        by_interval = ((found.high - found.difference) / -found.difference) ** 2
        growths.append(max(by_interval, _growth_for_p(found)))
    growths = [each for each in growths if found.n * each < _MOST_IMAGES]
    return max(found.n + 1, math.ceil(found.n * min(growths))) if growths else None


def _growth_for_p(found: ApDifference) -> float:
    """By what factor the images must grow until the p-value, adjusted alike, passes."""
    factor = found.p_adjusted / found.p if found.p else 1.0
    if found.p >= 1:
        return math.inf
    normal = NormalDist()
    has, needs = normal.inv_cdf(1 - found.p / 2), normal.inv_cdf(1 - ALPHA / factor / 2)
    return (needs / has) ** 2 if has > 0 else math.inf
