"""What makes a figure of accuracy mean less than it seems, or nothing. Pure.

Each function looks at answers or scores of one side, or at a difference, and returns the findings;
``rereading`` looks for boxes that are read in the wrong way. All have a row in
docs/reference/findings.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from orchestrator.measurement import Finding
from orchestrator.measures.accuracy.agreement import OutputAgreement
from orchestrator.measures.accuracy.answers import (
    NOTHING,
    TOP,
    Ints,
    SampleAnswer,
    matched_outputs,
    named_outputs,
    outputs_of,
)
from orchestrator.measures.accuracy.classification import (
    PairedDifference,
    answers_by_class,
    fewest_samples,
)
from orchestrator.measures.accuracy.coco import CocoFigures
from orchestrator.measures.accuracy.detection import Detections
from orchestrator.measures.accuracy.resampling import ApDifference
from orchestrator.measures.accuracy.shares import Share
from orchestrator.measures.accuracy.verdicts import AccuracyVerdict

_Doubles: TypeAlias = "NDArray[np.floating[Any]]"

#: Answers that are nearly all of one class, and the fewest samples for which that means anything.
_NEARLY_ALL, _ENOUGH = 0.9, 10
#: Below it a detector's AP50 is what chance would find.
_CHANCE_AP50 = 0.02
#: More samples than this with a value cut off are worth a word.
_SATURATED = 0.01
#: A baseline below this part of what is published for its weights is worth a word: another data set
#: of the same classes costs some ten points, wrong colours or ranges more.
_OF_PUBLISHED = 0.85
#: What is fed and what the file's integers hold have less than this part in common.
_IN_COMMON = 0.5
#: From here on two sides give the same answers.
_ALIKE = 0.9
#: A single value that so many of the fed ones have leaves nothing to see.
_CONSTANT = 0.99
#: Decibels above which the answers of two batches differ by rounding alone, if at all.
_ROUNDING_DB = 40.0
#: With fewer images a bootstrap's interval holds the truth less often than it says (simulated: 95 %
#: of the time with 60, 91 % with 30).
_FEWEST_IMAGES = 60
#: Below it an overlap says little about where a box lies.
_STRICT_IOU = 0.5


def leaps(score: float, other: float) -> bool:
    """Whether another reading of the same answers is so much better that the stated one is wrong:
    over twice the score, and over 0.1 more."""
    return other > 2 * score and other > score + 0.1


# -- what the model was made with


def calibrated_on_evaluation(
    scheme: str, sampled: int, samples: int, margin_points: float
) -> tuple[Finding, ...]:
    """Find samples that the scheme was also calibrated on: ``sampled`` of ``samples``.

    It forbids the comparison where these alone could hide a loss of the margin.
    """
    if not sampled or not samples:
        return ()
    share = 100 * sampled / samples
    return (
        Finding(
            "calibrated_on_evaluation",
            f"{scheme} was calibrated on {sampled} of the {samples} samples that it is judged by "
            f"({share:.1f} %; the margin is {margin_points:g} points): it does better on these",
            "calibrate on images of the training set (`--representative`), or measure accuracy on "
            "others (`split:`)",
            forbids=share >= margin_points,
        ),
    )


def seen_in_training(
    scheme: str, seen: int, samples: int, margin_points: float
) -> tuple[Finding, ...]:
    """Find samples that the scheme's weights were trained on: ``seen`` of ``samples``.

    It forbids the comparison where these alone could hide a loss of the margin.
    """
    if not seen or not samples:
        return ()
    share = 100 * seen / samples
    return (
        Finding(
            "seen_in_training",
            f"{scheme} was trained on {seen} of the {samples} samples that it is judged by "
            f"({share:.1f} %; the margin is {margin_points:g} points): it does better on these",
            "train on the training set (`--dataset` takes its `train/`), and measure accuracy on "
            "others (`split: val`)",
            forbids=share >= margin_points,
        ),
    )


def calibration_random(scheme: str, images: int) -> tuple[Finding, ...]:
    """Find a scheme whose ranges were found on ``images`` generated images."""
    return (
        Finding(
            "calibration_random",
            f"{scheme} was calibrated on {images} generated images, not on real ones: its accuracy "
            "is lower than it could be (of EfficientNet-Lite0 by 14 points)",
            "give it images such as the model will see (`--representative FOLDER`), none of which "
            "is a sample here",
        ),
    )


# -- what the model is fed


def constant_input(commonest: float | None) -> tuple[Finding, ...]:
    """Find inputs that are all alike: ``commonest`` is the share of the commonest value among those
    that were prepared, None where nobody knows."""
    if commonest is None or commonest < _CONSTANT:
        return ()
    return (
        Finding(
            "constant_input",
            f"{100 * commonest:.1f} % of the values that are fed are one and the same: there is "
            "nothing in the samples to tell apart",
            "look at the data: images of 0 to 1 that are stored as whole numbers are black",
            forbids=True,
        ),
    )


def outside_the_input(fed: tuple[float, float], held: tuple[float, float]) -> tuple[Finding, ...]:
    """Find values that are not those which the model's quantized input was calibrated for.

    ``fed`` are the lowest and the highest real value that the samples become, ``held`` those that
    the integers of the input can stand for.
    """
    (low, high), (least, most) = fed, held
    overlap = min(high, most) - max(low, least)
    union = max(high, most) - min(low, least)
    if union <= 0 or overlap >= _IN_COMMON * union:
        return ()
    return (
        Finding(
            "preprocessing_suspect",
            f"the samples become values from {low:.4g} to {high:.4g}, and the integers of the "
            f"quantized input stand for {least:.4g} to {most:.4g}: the model was made for another "
            "range",
            "compare `mean` and `std` under `preprocessing:` with those that the model was trained "
            "and calibrated with",
        ),
    )


def below_published(accuracy: Share, published: float | None) -> tuple[Finding, ...]:
    """Find a baseline that is certainly far below what is published for its weights.

    ``published`` is the share of ImageNet's validation set that it has right, None where nobody
    says.
    """
    if published is None or not accuracy.n or accuracy.high >= _OF_PUBLISHED * published:
        return ()
    return (
        Finding(
            "preprocessing_suspect",
            f"the baseline has {100 * accuracy.count / accuracy.n:.1f} % right "
            f"(at most {100 * accuracy.high:.1f} %), and {100 * published:.1f} % of ImageNet's "
            "validation set are published for its weights",
            "check how images are resized, the order of colours and their range "
            "(`preprocessing: auto` is the model's own), and `labels:`; where these are right, the "
            "data is harder than ImageNet's",
        ),
    )


def alike_and_wrong(one: Ints, other: Ints) -> tuple[Finding, ...]:
    """Find two sides that give the same answers though the baseline is no better than chance.

    ``one`` and ``other`` are the first classes of baseline and treatment for the same samples. A
    baseline that nearly always gives one class agrees with anything, and says nothing.
    """
    if len(one) < _ENOUGH:
        return ()
    same = float(np.mean(one == other))
    commonest = answers_by_class(one)[0].share.count / len(one)
    if same < _ALIKE or commonest > 1 - _IN_COMMON:
        return ()
    return (
        Finding(
            "preprocessing_suspect",
            f"both sides give the same answer to {100 * same:.1f} % of the samples, and the "
            "baseline's are no better than chance: the network tells its inputs apart, and either "
            "they or their labels are not what it was trained with",
            "compare `preprocessing:` (range, colours, layout) and `labels:` with the training",
        ),
    )


def depends_on_the_batch(
    scheme: str, batches: tuple[int, int], outputs: Sequence[OutputAgreement]
) -> tuple[Finding, ...]:
    """Find a file that answers the same samples otherwise at another batch, beyond rounding.

    ``outputs`` hold its answers at the first batch against those at the second.
    """
    worst = min(
        (each for each in outputs if each.snr_db is not None),
        key=lambda each: each.snr_db.minimum if each.snr_db else 0.0,
        default=None,
    )
    if worst is None or worst.snr_db is None or worst.snr_db.minimum >= _ROUNDING_DB:
        return ()
    moved = worst.n - worst.same_bytes.count
    other = (
        ""
        if worst.same_top1 is None
        else (f", and gives another first class to {worst.n - worst.same_top1.count}")
    )
    return (
        Finding(
            "depends_on_the_batch",
            f"{scheme} answers {moved} of {worst.n} samples otherwise at batch {batches[1]} than "
            f"at batch {batches[0]} (at worst {worst.snr_db.minimum:.0f} dB apart){other}: what it "
            "answers to a sample depends on what stands beside it",
            "judge it by its accuracy at the batch that you will run; one scale for all "
            "activations of a batch does this, and so would a mistake of the runtime",
        ),
    )


# -- outputs


def not_finite(answers: Sequence[SampleAnswer]) -> tuple[Finding, ...]:
    """Find outputs with values that are not a number or infinite."""
    odd = [a for a in answers if not all(output.finite for output in a.outputs)]
    if not odd:
        return ()
    names = sorted({output.name for a in odd for output in a.outputs if not output.finite})
    return (
        Finding(
            "not_finite",
            f"for {len(odd)} of {len(answers)} samples the outputs ({', '.join(names)}) hold "
            "values that are not a number or infinite: what is ranked among them means nothing",
            "the same file without the delegate tells whether its kernels or the file are at "
            "fault; leave the scheme out for this model",
            forbids=True,
        ),
    )


def constant_outputs(answers: Sequence[SampleAnswer]) -> tuple[Finding, ...]:
    """Find a model that gives the same bytes for every sample in every output.

    One output that never changes is not a finding: a detector may always fill all its places.
    """
    names = named_outputs(answers)
    if len(answers) < 2 or not names:
        return ()
    if any(len({output.digest for output in outputs_of(answers, name)}) > 1 for name in names):
        return ()
    return (
        Finding(
            "constant_outputs",
            f"all outputs are the same for each of {len(answers)} samples: the model does not look "
            "at its input",
            "see whether the inputs reach the model (type, scale, range), else whether the runtime "
            "supports the file's operators; the same file under another runtime tells them apart",
            forbids=True,
        ),
    )


def saturated(
    baseline: Sequence[SampleAnswer], treatment: Sequence[SampleAnswer]
) -> tuple[Finding, ...]:
    """Find the first output that is cut off (:func:`saturated_outputs`), of answers to the same
    samples in the same order. Of an output that was not told whole its highest values are."""
    if not baseline:
        return ()
    for names in matched_outputs(baseline[0], treatment[0]):
        sides = [
            outputs_of(answers, name)
            for answers, name in zip((baseline, treatment), names, strict=True)
        ]
        if all(each.values is not None for side in sides for each in side):
            found = saturated_outputs(*(_table([o.values for o in side]) for side in sides))
        elif min(len(each.top) for side in sides for each in side) == TOP:
            tops = (_table([[v for _, v in each.top] for each in side]) for side in sides)
            found = saturated_outputs(*tops, low_end=False)
        else:
            continue
        if found:
            return found
    return ()


def _table(rows: Sequence[Any]) -> _Doubles:
    return np.stack([np.asarray(row, dtype=np.float64).reshape(-1) for row in rows])


def saturated_outputs(
    baseline: _Doubles, treatment: _Doubles, *, low_end: bool = True
) -> tuple[Finding, ...]:
    """Find samples in which the treatment's output ends where its integers end, and the baseline's
    goes on.

    Both are [samples, values], multiplied out. The end is the highest or lowest value that the
    treatment ever gives, a step the least distance between two of its values; a value is cut off
    where it lies at an end and the baseline's lies over one step beyond. At least three must.
    Without ``low_end`` the highest alone is an end: where the values are each sample's highest.
    """
    if baseline.shape != treatment.shape or not treatment.size:
        raise ValueError(f"outputs of shapes {baseline.shape} and {treatment.shape} do not compare")
    usable = np.isfinite(baseline).all(axis=1) & np.isfinite(treatment).all(axis=1)
    one, other = baseline[usable].astype(float), treatment[usable].astype(float)
    levels = np.unique(other)
    if len(levels) < 2:
        return ()
    step = float(np.diff(levels).min())
    above = (other == levels[-1]) & (one > levels[-1] + step)
    below = low_end & (other == levels[0]) & (one < levels[0] - step)
    cut = int(np.count_nonzero((above | below).any(axis=1)))
    if cut < 3 or cut <= _SATURATED * len(other):
        return ()
    return (
        Finding(
            "saturated_outputs",
            f"in {cut} of {len(other)} samples the output is cut off at the end of its integers "
            f"({levels[0]:.4g} to {levels[-1]:.4g}), where the baseline's goes on to "
            f"{float(one.min()):.4g} and {float(one.max()):.4g}",
            "calibrate with data that has the range of the real inputs",
        ),
    )


# -- classification


def one_class(
    top1: Ints, labels: Ints | None = None, baseline_top1: Ints | None = None
) -> tuple[Finding, ...]:
    """Find a classifier that nearly always answers the same class, where labels or else the
    baseline's answers to the same samples say that it should not."""
    expected = labels if labels is not None else baseline_top1
    if expected is None or len(top1) < _ENOUGH:
        return ()
    commonest = answers_by_class(top1)[0]
    asked = float(np.mean(expected == commonest.answer))
    answered = commonest.share.count / len(top1)
    if answered < _NEARLY_ALL or asked > answered / 2:
        return ()
    called = "no class" if commonest.answer == NOTHING else f"class {commonest.answer}"
    return (
        Finding(
            "one_class",
            f"{called} is the answer to {commonest.share.count} of {len(top1)} samples, and would "
            f"be right for {100 * asked:.1f} %: the model does not tell its inputs apart",
            "look at its outputs beside the baseline's (agreement), and at the data that it was "
            "calibrated with",
            forbids=True,
        ),
    )


def baseline_at_chance(accuracy: Share, labels: Ints) -> tuple[Finding, ...]:
    """Find a baseline that is not certainly better than always giving the commonest label."""
    if not len(labels):
        return ()
    chance = _commonest(labels)
    if accuracy.low > chance:
        return ()
    return (
        Finding(
            "baseline_at_chance",
            f"the baseline has {accuracy.count} of {accuracy.n} samples right, and giving always "
            f"the commonest label has {100 * chance:.1f} %: nothing can be lost that is not there",
            "check weights, `labels:` and `preprocessing:`; with few samples, take more",
            forbids=True,
        ),
    )


def _commonest(labels: Ints) -> float:
    """The share of the commonest label: what always giving it would score."""
    return float(np.unique(labels, return_counts=True)[1].max()) / len(labels)


def labels_shifted(top: Ints, labels: Ints) -> tuple[Finding, ...]:
    """Find labels that are not in the model's order: off by one (1,001 classes beside 1,000), or
    in another order altogether.

    ``top`` is [n, k], best first, and best the baseline's. Another order is fitted on every second
    sample and judged on the others. Either has to do better than the commonest label would, so
    that a model that always gives one answer is not taken for one whose labels are wrong.
    """
    top1 = top[:, 0]
    answered = top1 != NOTHING
    if not len(top1):
        return ()
    right, chance = float(np.mean(top1 == labels)), _commonest(labels)
    for shift in (-1, 1):
        shifted = float(np.mean(answered & (top1 + shift == labels)))
        if leaps(right, shifted) and shifted > chance + 0.1:
            return (
                _shifted(
                    f"{100 * right:.1f} % of the answers are right as the labels stand, and "
                    f"{100 * shifted:.1f} % with each answer taken {shift:+d}"
                ),
            )
    fitted = _in_another_order(top1, labels)
    if fitted is None or not leaps(*fitted) or fitted[1] <= chance + 0.1:
        return ()
    return (
        _shifted(
            f"{100 * fitted[0]:.1f} % of the answers are right as the labels stand, and "
            f"{100 * fitted[1]:.1f} % with the classes in another order, which was found on other "
            "samples"
        ),
    )


def _shifted(seen: str) -> Finding:
    return Finding(
        "labels_shifted",
        f"{seen}: the labels are not the model's",
        "give the model's own list under `labels:`, one class a line in the order of its outputs; "
        "a model with one class more than the data has the background first",
        forbids=True,
    )


def _in_another_order(top1: Ints, labels: Ints) -> tuple[float, float] | None:
    """The share of right answers among every second sample, as they are and renamed as fits the
    other samples best; None where there are too few."""
    from scipy.optimize import linear_sum_assignment  # noqa: PLC0415 # a second to import

    fit, judged = slice(0, None, 2), slice(1, None, 2)
    classes = int(max(top1.max(), labels.max())) + 1
    if len(top1) < _ENOUGH or classes < 2:
        return None
    table = np.zeros((classes, classes))
    usable = top1[fit] != NOTHING
    np.add.at(table, (top1[fit][usable], labels[fit][usable]), 1)
    answers, meant = linear_sum_assignment(table, maximize=True)
    renamed = np.full(classes + 1, NOTHING)  # the last place is that of no answer
    renamed[answers] = meant
    before = np.mean(top1[judged] == labels[judged])
    return float(before), float(np.mean(renamed[top1[judged]] == labels[judged]))


# -- detection


def no_scores(detections: Sequence[Detections]) -> tuple[Finding, ...]:
    """Find a detector whose every score is 0, or that has no box in any image."""
    if not detections or any((each.scores > 0).any() for each in detections):
        return ()
    places = sum(len(each) for each in detections)
    return (
        Finding(
            "no_scores",
            f"not one of {places} boxes in {len(detections)} images has a score above 0: the "
            "detector finds nothing",
            "where boxes and scores are one tensor, one scale for both rounds every score to 0: "
            "leave the detector's head in floating point, or split the two before quantizing",
            forbids=True,
        ),
    )


def masks_left_out(baseline: int, treatment: int, images: int) -> tuple[Finding, ...]:
    """Find masks that a device did not send, of the lowest scores: so many of either side."""
    if not baseline and not treatment:
        return ()
    return (
        Finding(
            "masks_left_out",
            f"in {images} images the masks of {baseline} places of the baseline and of {treatment} "
            "of the scheme were not sent, those of the lowest scores: they count as not found",
            "let the model give at most 100 places an image, or only those above some score",
        ),
    )


def places_not_finite(detections: Sequence[Detections]) -> tuple[Finding, ...]:
    """Find images in which a place that counts holds a value that is not a number or infinite."""
    odd = sum(each.dropped > 0 for each in detections)
    if not odd:
        return ()
    places = sum(each.dropped for each in detections)
    return (
        Finding(
            "not_finite",
            f"in {odd} of {len(detections)} images {places} boxes hold values that are not a "
            "number or infinite",
            "the same file without the delegate tells whether its kernels or the file are at "
            "fault; leave the scheme out for this model",
            forbids=True,
        ),
    )


def detector_at_chance(figures: CocoFigures) -> tuple[Finding, ...]:
    """Find a baseline that finds next to nothing even at an IoU of 0.5."""
    if figures.ap50 is None or figures.ap50 >= _CHANCE_AP50:
        return ()
    return (
        Finding(
            "baseline_at_chance",
            f"the baseline's AP50 is {figures.ap50:.4f}: nothing can be lost that is not there",
            "check weights, `preprocessing:` and how `outputs:` describes the boxes",
            forbids=True,
        ),
    )


def lenient_threshold(iou: float, score: float, ap50: float) -> tuple[Finding, ...]:
    """Find a figure that counts a box as right at an IoU below 0.5.

    ``score`` is the figure asked for, at ``iou``, beside the same detections' AP50. Where it is
    far above that, the boxes that it counts do not lie where the objects are.
    """
    if iou >= _STRICT_IOU:
        return ()
    blind = leaps(ap50, score)
    return (
        Finding(
            "lenient_threshold",
            f"the figure asked for counts a box as right from an IoU of {iou:g} on, where it is "
            f"{score:.3f}; at 0.5 AP is {ap50:.3f}"
            + (": most of what it counts lies elsewhere than the objects" if blind else ""),
            "judge by COCO's AP@[.50:.95] or AP50: at a low one even swapped axes score",
            forbids=blind,
        ),
    )


# -- differences


def coarser_is_better(
    difference: PairedDifference | ApDifference, scheme: str
) -> tuple[Finding, ...]:
    """Find a quantized model that is certainly better than what it was made of."""
    if difference.verdict is not AccuracyVerdict.BETTER:
        return ()
    return (
        Finding(
            "coarser_is_better",
            f"{scheme} is better than its baseline by {100 * difference.difference:.2f} percentage "
            f"points [{100 * difference.low:.2f}, {100 * difference.high:.2f}] on {difference.n} "
            "samples, though it holds less",
            "see whether the baseline gets its inputs right (range, colours), whether samples were "
            "also calibrated or trained on, and whether the metric falls when a model gets worse",
        ),
    )


def too_few_samples(n: int, accuracy: float, margin_points: float) -> tuple[Finding, ...]:
    """Find a measurement that could not have shown ``no worse`` whatever the treatment did.

    ``accuracy`` is the baseline's, a share of 1.
    """
    needed = fewest_samples(accuracy, margin_points)
    if needed is None or n >= needed:
        return ()
    return (
        Finding(
            "too_few_samples",
            f"with {n} sample{'s' * (n != 1)} even a treatment that gives all the same answers "
            f"cannot be shown to lose less than {margin_points:g} percentage points: that takes "
            f"{needed}, and more where answers change",
            f"`samples: {needed}` or more, or a larger `margin:`",
        ),
    )


def too_few_images(difference: ApDifference) -> tuple[Finding, ...]:
    """Find a difference of detectors that rests on fewer images than can stand for others."""
    if difference.n >= _FEWEST_IMAGES:
        return ()
    return (
        Finding(
            "too_few_samples",
            f"{difference.n} images are too few to stand for others: the interval of the "
            "difference is narrower than it should be",
            f"`samples: {_FEWEST_IMAGES}` at least, some hundreds to see a small loss",
        ),
    )
