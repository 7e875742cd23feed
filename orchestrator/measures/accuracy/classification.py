"""How often a classifier names the right class, and what quantizing changes of that. Pure.

Two sides are compared over the same samples: what counts is how many right answers were lost and
how many were gained, not two accuracies beside each other. A share without a change may hide that
as many answers were gained as lost.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from orchestrator.measures.accuracy.answers import TOP, Bools, Ints
from orchestrator.measures.accuracy.shares import Share, mcnemar_p, newcombe, share
from orchestrator.measures.accuracy.verdicts import AccuracyVerdict, checked_margin, verdict_of

#: Nobody measures more samples than this for one figure.
_MOST_SAMPLES = 10**9


@dataclass(frozen=True, slots=True, eq=False)
class Correct:
    """Whether the label is the first answer, and whether among the first five, sample by sample."""

    top1: Bools
    top5: Bools

    @property
    def top1_share(self) -> Share:
        """The accuracy."""
        return share_of(self.top1)

    @property
    def top5_share(self) -> Share:
        """The share of samples with the label among the first five."""
        return share_of(self.top5)


def score(top: Ints, labels: Ints) -> Correct:
    """Hold answers against labels.

    ``top`` is [n, k]: the classes each sample was given, best first (:func:`answers.tops`), where
    ``NOTHING`` is never right. ``labels`` is [n], and counts from 0. Raises ValueError where they
    do not belong together, or a sample has no label.
    """
    labels = np.asarray(labels)
    if top.ndim != 2 or labels.shape != top.shape[:1] or top.shape[1] < 1:
        raise ValueError(f"answers of shape {top.shape} and labels of {labels.shape} do not match")
    if len(labels) and labels.min() < 0:
        raise ValueError("a label is negative: every sample needs one, counted from 0")
    is_label = top == labels[:, np.newaxis]
    return Correct(top1=is_label[:, 0], top5=is_label[:, :TOP].any(axis=1))


def share_of(mask: Bools) -> Share:
    """Return the share of samples for which ``mask`` holds."""
    return share(int(np.count_nonzero(mask)), len(mask))


@dataclass(frozen=True, slots=True)
class PairedDifference:
    """A treatment's accuracy minus its baseline's, over the same samples.

    ``difference``, ``low`` and ``high`` are shares of 1 (-0.01 is a loss of one percentage point);
    ``margin_points`` is in percentage points. ``lost`` samples only the baseline has right,
    ``gained`` only the treatment. ``p`` is McNemar's, exact, of this comparison alone, and
    ``p_adjusted`` the one that the verdict rests on. ``samples_that_would_tell`` is given where the
    verdict is ``cannot tell``: about as many samples as it takes if the shares stay as they are;
    None also where no number of them would do.
    """

    n: int
    baseline: Share
    treatment: Share
    difference: float
    low: float
    high: float
    lost: int
    gained: int
    p: float
    p_adjusted: float
    margin_points: float
    verdict: AccuracyVerdict
    samples_that_would_tell: int | None

    def adjusted(self, p_adjusted: float) -> PairedDifference:
        """Return the same difference with the verdict that a p-value adjusted over its table
        leaves."""
        margin = checked_margin(self.margin_points)
        verdict = verdict_of(self.low, self.high, margin, p_adjusted)
        changed = replace(self, p_adjusted=p_adjusted, verdict=verdict)
        return replace(changed, samples_that_would_tell=_samples_that_would_tell(changed))


def paired(baseline: Bools, treatment: Bools, margin_points: float) -> PairedDifference:
    """Compare which samples either side has right, the same samples in the same order.

    ``margin_points``: the loss in percentage points that counts as no loss. Raises ValueError where
    there are no samples, or the two sides have unlike numbers.
    """
    margin = checked_margin(margin_points)
    if baseline.shape != treatment.shape or baseline.ndim != 1 or not len(baseline):
        raise ValueError(
            f"a paired difference needs the same samples on both sides, at least one; these are "
            f"{baseline.shape} and {treatment.shape}"
        )
    one, other = np.asarray(baseline, bool), np.asarray(treatment, bool)
    lost, gained = int(np.count_nonzero(one & ~other)), int(np.count_nonzero(~one & other))
    both = int(np.count_nonzero(one & other))
    counts = [
        np.asarray(each, float) for each in (both, lost, gained, len(one) - both - lost - gained)
    ]
    difference, low, high = (float(each) for each in newcombe(*counts))
    p = mcnemar_p(lost, gained)
    found = PairedDifference(
        n=len(one),
        baseline=share_of(one),
        treatment=share_of(other),
        difference=difference,
        low=low,
        high=high,
        lost=lost,
        gained=gained,
        p=p,
        p_adjusted=p,
        margin_points=margin_points,
        verdict=verdict_of(low, high, margin, p),
        samples_that_would_tell=None,
    )
    return replace(found, samples_that_would_tell=_samples_that_would_tell(found))


def _samples_that_would_tell(found: PairedDifference) -> int | None:
    """How many samples lead to a verdict where each outcome stays as frequent as it was."""
    if found.verdict is not AccuracyVerdict.CANNOT_TELL:
        return None
    margin = checked_margin(found.margin_points)
    both = found.baseline.count - found.lost
    cells = np.array([both, found.lost, found.gained, found.n - both - found.lost - found.gained])
    # what adjusting over the table did to this p-value it will do to the next one
    factor = found.p_adjusted / found.p if found.p else 1.0

    def tells(n: int) -> bool:
        scaled = cells * (n / found.n)
        _, low, high = newcombe(*scaled)
        p = min(1.0, factor * mcnemar_p(round(scaled[1]), round(scaled[2])))
        verdict = verdict_of(float(low), float(high), margin, p)
        return verdict is not AccuracyVerdict.CANNOT_TELL

    enough = found.n
    while not tells(enough):
        enough *= 2
        if enough > _MOST_SAMPLES:
            return None
    too_few = enough // 2
    while enough - too_few > max(1, enough // 200):  # half a percent: it is an extrapolation
        middle = (too_few + enough) // 2
        too_few, enough = (too_few, middle) if tells(middle) else (middle, enough)
    return enough


def fewest_samples(accuracy: float, margin_points: float) -> int | None:
    """Return how many samples it takes to call a treatment ``no worse`` that changes no answer.

    With fewer no result whatever can say so. ``accuracy`` is the baseline's, a share of 1. None
    where no number of samples would do: with a margin of 0.
    """
    margin = checked_margin(margin_points)
    if margin == 0:
        return None

    def would_do(n: int) -> bool:
        right = np.asarray(accuracy * n)
        none = np.zeros(())
        return bool(newcombe(right, none, none, n - right)[1] > -margin)

    enough = 1
    while not would_do(enough):
        enough *= 2
        if enough > _MOST_SAMPLES:
            return None
    low = enough // 2
    while enough - low > 1:
        middle = (low + enough) // 2
        low, enough = (low, middle) if would_do(middle) else (middle, enough)
    return enough


# -- per class


@dataclass(frozen=True, slots=True)
class ClassLoss:
    """What the treatment lost and gained among the samples of one label, with either side's
    accuracy there."""

    label: int
    n: int
    baseline: Share
    treatment: Share
    lost: int
    gained: int

    @property
    def net_lost(self) -> int:
        """How many more right answers were lost than gained; negative where more were gained."""
        return self.lost - self.gained


def losses_by_class(baseline: Bools, treatment: Bools, labels: Ints) -> tuple[ClassLoss, ...]:
    """Return every label that occurs, those that lost the most samples first; of equal losses the
    one with the larger share, then the lower label."""
    if not baseline.shape == treatment.shape == labels.shape:
        raise ValueError("both sides and the labels must be of the same samples")
    found = []
    for label in np.unique(labels):
        one, other = baseline[labels == label], treatment[labels == label]
        found.append(
            ClassLoss(
                label=int(label),
                n=len(one),
                baseline=share_of(one),
                treatment=share_of(other),
                lost=int(np.count_nonzero(one & ~other)),
                gained=int(np.count_nonzero(~one & other)),
            )
        )
    return tuple(sorted(found, key=lambda c: (-c.net_lost, -c.net_lost / c.n, c.label)))


@dataclass(frozen=True, slots=True)
class ClassAnswers:
    """How many of the samples were answered with one class (``NOTHING``: with none)."""

    answer: int
    share: Share


def answers_by_class(top1: Ints) -> tuple[ClassAnswers, ...]:
    """Return the classes that were answered, the commonest first; of equals, the lowest."""
    classes, counts = np.unique(top1, return_counts=True)
    found = [
        ClassAnswers(int(each), share(int(count), len(top1)))
        for each, count in zip(classes, counts, strict=True)
    ]
    return tuple(sorted(found, key=lambda c: (-c.share.count, c.answer)))
