"""The simulation behind the judgement of accuracy differences; prints its tables.

``python -m benchmarks.accuracy_intervals [comparisons [draws]]``. Two models of known accuracy
answer the same samples, more or less alike. How often does the product's 95 % interval of their
difference hold the truth, and how often does a verdict claim what is not so? Then the same of two
detectors on drawn scenes, whose interval is a bootstrap (minutes; ``draws`` 0 leaves it out).
Seeded; the first part is vectorised over comparisons. A test runs a small part of it, and holds
:func:`verdicts` against the product's own code.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binom

from orchestrator.measures.accuracy.coco import Evaluation, evaluate, ground_truth
from orchestrator.measures.accuracy.detection import Detections
from orchestrator.measures.accuracy.resampling import paired_ap
from orchestrator.measures.accuracy.shares import ALPHA, newcombe
from orchestrator.measures.accuracy.verdicts import AccuracyVerdict
from tests.unit.measures.accuracy.scenes import CATEGORIES, scenes

Array: TypeAlias = "NDArray[np.float64]"

SAMPLES = (30, 100, 300, 1000, 10_000)
ACCURACIES = (0.5, 0.76, 0.95)
#: Pearson's correlation of the two sides' being right: files of one model lie between.
CORRELATIONS = (0.0, 0.5, 0.9)
LOSSES = (0.0, 0.01, 0.1)
MARGIN = 0.01


@dataclass(frozen=True)
class Pair:
    """Two models: the baseline's accuracy, what the treatment loses, and how alike they answer."""

    accuracy: float
    loss: float
    correlation: float

    @property
    def cells(self) -> Array | None:
        """Chances of both right, lost, gained, and neither; None where no two models are so."""
        base, treat = self.accuracy, self.accuracy - self.loss
        both = base * treat + self.correlation * np.sqrt(base * (1 - base) * treat * (1 - treat))
        cells = np.array([both, base - both, treat - both, 1 - base - treat + both])
        return None if (cells < -1e-12).any() else np.maximum(cells, 0.0)


def counts(pair: Pair, n: int, comparisons: int, seed: int) -> Array:
    """Simulated counts of both, lost, gained and neither: one row a comparison."""
    cells = pair.cells
    assert cells is not None
    drawn = np.random.default_rng(seed).multinomial(n, cells / cells.sum(), comparisons)
    return np.asarray(drawn, float)


def coverage(pair: Pair, n: int, comparisons: int, seed: int = 0) -> float:
    """How often the interval holds the true difference."""
    _, low, high = newcombe(*counts(pair, n, comparisons, seed).T)
    return float(np.mean((low <= -pair.loss + 1e-12) & (high >= -pair.loss - 1e-12)))


def verdicts(drawn: Array, margin: float = MARGIN) -> NDArray[np.str_]:
    """The product's verdict of each row, for all rows at once."""
    _, low, high = newcombe(*drawn.T)
    lost, gained = drawn[:, 1], drawn[:, 2]
    p = np.minimum(1.0, 2 * binom.cdf(np.minimum(lost, gained), lost + gained, 0.5))
    differs = p <= ALPHA
    told = np.full(len(drawn), AccuracyVerdict.CANNOT_TELL.value, dtype="<U11")
    told[differs & (high < 0)] = AccuracyVerdict.WORSE.value
    told[low > -margin] = AccuracyVerdict.NO_WORSE.value
    told[differs & (low > 0)] = AccuracyVerdict.BETTER.value
    return told


def wrongly_no_worse(pair: Pair, n: int, comparisons: int, seed: int = 0) -> float:
    """How often a loss of just the margin is called ``no worse`` or ``better``."""
    at_margin = Pair(pair.accuracy, MARGIN, pair.correlation)
    told = verdicts(counts(at_margin, n, comparisons, seed))
    wrong = (AccuracyVerdict.NO_WORSE.value, AccuracyVerdict.BETTER.value)
    return float(np.isin(told, wrong).mean())


def wrongly_different(pair: Pair, n: int, comparisons: int, seed: int = 0) -> float:
    """How often equal models are called ``better`` or ``worse``."""
    equal = Pair(pair.accuracy, 0.0, pair.correlation)
    told = verdicts(counts(equal, n, comparisons, seed))
    return float(np.isin(told, (AccuracyVerdict.BETTER.value, AccuracyVerdict.WORSE.value)).mean())


def pairs(losses: tuple[float, ...] = LOSSES) -> list[Pair]:
    """Every pair of models that there can be."""
    every = [Pair(a, d, c) for a in ACCURACIES for d in losses for c in CORRELATIONS]
    return [pair for pair in every if pair.cells is not None]


# -- detectors


def two_detectors(images: int, seed: int) -> tuple[Evaluation, Evaluation]:
    """A detector on scenes of its own, and the same one with shaken boxes and a tenth less."""
    made, rng = scenes(images, seed, ties=False), np.random.default_rng(seed)
    sides: tuple[list[Detections], list[Detections]] = ([], [])
    for image_id, (boxes, scores, classes) in zip(made.image_ids, made.found, strict=True):
        sides[0].append(Detections(image_id, boxes, scores, classes))
        seen = scores * (rng.random(len(scores)) > 0.1)
        shaken = boxes + rng.normal(0, 4, boxes.shape)
        sides[1].append(Detections(image_id, shaken, seen, classes))
    truth = ground_truth(made.annotations)
    return evaluate(truth, sides[0], CATEGORIES), evaluate(truth, sides[1], CATEGORIES)


def ap_difference(images: int, seed: int) -> float:
    """The difference of the two detectors' AP on that many images."""
    one, other = two_detectors(images, seed)
    assert one.figures.ap is not None and other.figures.ap is not None
    return other.figures.ap - one.figures.ap


def ap_coverage(truth: float, images: int, draws: int, resamples: int = 200) -> float:
    """How often the bootstrap's interval over so many images holds the true difference."""
    held = 0
    for seed in range(draws):
        found = paired_ap(*two_detectors(images, 1000 + seed), 1.0, resamples=resamples, seed=seed)
        held += found.low <= truth <= found.high
    return held / draws


def main(comparisons: int = 20_000, draws: int = 300) -> None:
    print(f"coverage of the 95 % interval in percent, {comparisons} comparisons each\n")
    print(f"{'accuracy':>9}{'loss':>6}{'alike':>6}" + "".join(f"{n:>9}" for n in SAMPLES))
    every: dict[int, list[float]] = {n: [] for n in SAMPLES}
    for pair in pairs():
        found = {n: 100 * coverage(pair, n, comparisons) for n in SAMPLES}
        for n, each in found.items():
            every[n].append(each)
        shown = "".join(f"{each:>9.1f}" for each in found.values())
        print(f"{pair.accuracy:>9}{pair.loss:>6}{pair.correlation:>6}{shown}")
    print(f"{'least':>21}" + "".join(f"{min(every[n]):>9.1f}" for n in SAMPLES))
    print(f"{'most':>21}" + "".join(f"{max(every[n]):>9.1f}" for n in SAMPLES))
    print(f"\na loss of just the margin ({MARGIN:.0%}) called no worse or better, percent\n")
    for pair in pairs((MARGIN,)):
        rates = "".join(f"{100 * wrongly_no_worse(pair, n, comparisons):>9.2f}" for n in SAMPLES)
        print(f"{pair.accuracy:>9}{'':>6}{pair.correlation:>6}{rates}")
    print("\nequal models called better or worse, percent\n")
    for pair in pairs((0.0,)):
        rates = "".join(f"{100 * wrongly_different(pair, n, comparisons):>9.2f}" for n in SAMPLES)
        print(f"{pair.accuracy:>9}{'':>6}{pair.correlation:>6}{rates}")
    if draws:
        # one set of 3,000 images is off by half a point, as much as matters at 200
        truth = float(np.mean([ap_difference(3000, seed) for seed in range(8)]))
        print(
            f"\ncoverage of the bootstrap's interval of AP in percent, {draws} draws; it falls by "
            f"{-truth:.3f}\n"
        )
        for images in (10, 20, 30, 60, 200):
            print(f"{images:>9} images{100 * ap_coverage(truth, images, draws):>9.1f}", flush=True)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
