"""What speaks against a figure of accuracy beyond the scores: what was made of the samples, what
the files were made with, and outputs that no label is needed to judge. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from orchestrator.analysis.accuracy.answering import Pair
from orchestrator.analysis.accuracy.detecting import METRICS as OF_OBJECTS
from orchestrator.analysis.accuracy.score import Score
from orchestrator.analysis.sides.groups import ComparisonGroup
from orchestrator.analysis.sides.outputs import RANDOM
from orchestrator.analysis.sides.side import Side
from orchestrator.measurement import Finding
from orchestrator.measures.accuracy import audit
from orchestrator.measures.accuracy.answers import tops
from orchestrator.measures.accuracy.samples import FeedRecord, SampleSet
from orchestrator.runs.records import ArtifactRecord

CLASSIFICATION, AGREEMENT = "classification", "agreement"


def doubts(
    samples: SampleSet,
    group: ComparisonGroup,
    side: Side,
    pair: Pair,
    *,
    feed: FeedRecord | None,
    score: Score,
) -> Iterator[Finding]:
    """Yield every finding on a comparison that its score does not make itself."""
    ours, theirs = pair
    if ours:
        yield from audit.constant_outputs(theirs)
        if samples.task not in OF_OBJECTS:  # of those the places that count are looked at
            yield from audit.not_finite(theirs)
            yield from audit.saturated(ours, theirs)
        yield from _of_calibration(samples, group, side)
        yield from _of_preprocessing(samples, feed, group, pair, score)
    untrained = [each.scheme for each in (group.baseline, side) if _is_random(each)]
    if untrained and samples.task != AGREEMENT:
        yield Finding(
            "random_weights",
            f"the weights of {' and '.join(untrained)} are random: what is right by chance is "
            "not accuracy",
            "build the models with trained weights (`--weights imagenet`), or measure agreement "
            "(`task: agreement`)",
            forbids=True,
        )


def _is_random(side: Side) -> bool:
    return side.artifact is not None and side.artifact.weights.startswith(RANDOM)


def _of_calibration(samples: SampleSet, group: ComparisonGroup, side: Side) -> Iterator[Finding]:
    """Findings about what the sides were trained and calibrated on, as far as anybody knows."""
    for each in (group.baseline, side):
        if each.artifact is not None:
            yield from audit.seen_in_training(
                each.scheme,
                each.artifact.trained_on_samples,
                len(samples.keys),
                samples.margin,
            )
        if each.artifact is None or each.artifact.calibration is None:
            continue
        found = each.artifact.calibration
        yield from audit.calibrated_on_evaluation(
            each.scheme, found.sampled, len(samples.keys), samples.margin
        )
        # nothing is lost of weights that were never trained
        if found.kind == RANDOM and not _is_random(each):
            yield from audit.calibration_random(each.scheme, found.count)


def _of_preprocessing(
    samples: SampleSet,
    feed: FeedRecord | None,
    group: ComparisonGroup,
    pair: Pair,
    score: Score,
) -> Iterator[Finding]:
    """What shows that the samples are not fed as the model was trained. No device is asked again:
    all of it is known from the files, the samples, and what was answered."""
    baseline = group.baseline.artifact
    if feed is not None:
        yield from audit.constant_input(feed.commonest)
        yield from _of_range(feed, baseline)
    if samples.task != CLASSIFICATION or _is_random(group.baseline):
        return
    if score.baseline_share is not None and baseline is not None:
        yield from audit.below_published(score.baseline_share, baseline.published_top1)
    if any(each.code == "baseline_at_chance" for each in score.findings):
        one, other = (tops(answers)[:, 0] for answers in pair)
        yield from audit.alike_and_wrong(one, other)


def _of_range(feed: FeedRecord, baseline: ArtifactRecord | None) -> Iterator[Finding]:
    """``check_range`` is that of every file of the network, so that the baseline's tells it too."""
    fed = feed.fed_range
    if fed is not None and baseline is not None and baseline.check_range is not None:
        yield from audit.outside_the_input(fed, baseline.check_range)
