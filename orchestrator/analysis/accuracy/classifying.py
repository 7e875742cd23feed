"""Two classifiers over the same labelled samples. Pure."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from orchestrator.analysis.accuracy.score import Score
from orchestrator.analysis.table import ChangedAnswer, ClassChange, ScoredShare
from orchestrator.measurement import Finding
from orchestrator.measures.accuracy import audit
from orchestrator.measures.accuracy.answers import NOTHING, Ints, SampleAnswer, tops
from orchestrator.measures.accuracy.classification import losses_by_class, paired, score
from orchestrator.measures.accuracy.samples import SampleSet
from orchestrator.measures.accuracy.shares import Share

METRIC = "top-1"
#: Classes and samples of which a table tells what changed.
MOST_CLASSES, MOST_CHANGED = 10, 60


def score_classifiers(
    samples: SampleSet, ours: Sequence[SampleAnswer], theirs: Sequence[SampleAnswer]
) -> Score:
    """Score the answers of baseline and treatment to the same samples, in the same order."""
    try:
        one, other = tops(ours), tops(theirs)
    except ValueError as exc:
        return Score(METRIC, findings=(_unclear(exc),))
    labels = np.array([_label(samples, each) for each in ours], dtype=np.int64)
    base, treated = score(one, labels), score(other, labels)
    difference = paired(base.top1, treated.top1, samples.margin)
    findings = (
        *audit.labels_shifted(one, labels),
        *audit.baseline_at_chance(base.top1_share, labels),
        *audit.one_class(other[:, 0], labels, one[:, 0]),
        *audit.too_few_samples(len(ours), base.top1_share.value or 0.0, samples.margin),
    )
    return Score(
        METRIC,
        shown(base.top1_share),
        shown(treated.top1_share),
        difference,
        {"top-5": (base.top5_share.value, treated.top5_share.value)},
        _changes(samples, base.top1, treated.top1, labels),
        _changed(samples, ours, labels, one[:, 0], other[:, 0]),
        _outcomes(samples, ours, base.top1, treated.top1),
        findings,
        base.top1_share,
    )


def shown(share: Share) -> ScoredShare:
    """A share as a table has it."""
    return ScoredShare(share.value, share.low, share.high)


def _label(samples: SampleSet, answer: SampleAnswer) -> int:
    label = samples.labels[answer.key_index]
    return NOTHING if label is None else label


def _unclear(exc: ValueError) -> Finding:
    return Finding(
        "outputs_unclear",
        f"which output holds the classes cannot be told: {exc}",
        "measure agreement (`task: agreement`), or a model with one output",
        forbids=True,
    )


def _changes(
    samples: SampleSet, baseline: np.ndarray, treatment: np.ndarray, labels: Ints
) -> tuple[ClassChange, ...]:
    losses = losses_by_class(baseline, treatment, labels)
    return tuple(
        ClassChange(
            class_name(samples, each.label),
            each.n,
            each.baseline.value or 0.0,
            each.treatment.value or 0.0,
            each.lost,
            each.gained,
        )
        for each in losses
        if each.lost or each.gained
    )[:MOST_CLASSES]


def _outcomes(
    samples: SampleSet, ours: Sequence[SampleAnswer], baseline: np.ndarray, treatment: np.ndarray
) -> str:
    """A letter for each sample of the run: see ``AccuracyComparison``."""
    letters = [" "] * len(samples.keys)
    for answer, before, after in zip(ours, baseline, treatment, strict=True):
        letters[answer.key_index] = "0+-1"[2 * int(before) + int(after)]
    return "".join(letters)


def class_name(samples: SampleSet, number: int) -> str:
    """The name of a class, or its number where it has none."""
    known = 0 <= number < len(samples.classes)
    return (samples.classes[number] if known else "") or f"class {number}"


def _changed(
    samples: SampleSet, ours: Sequence[SampleAnswer], labels: Ints, one: Ints, other: Ints
) -> tuple[ChangedAnswer, ...]:
    places = np.flatnonzero(one != other)[:MOST_CHANGED]
    return tuple(
        ChangedAnswer(
            samples.keys[ours[place].key_index],
            *(class_name(samples, int(side[place])) for side in (labels, one, other)),
        )
        for place in places
    )
