"""Every way in which a figure of accuracy was seen to mislead is provoked, and named."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from orchestrator.measurement import Finding
from orchestrator.measures.accuracy import audit
from orchestrator.measures.accuracy.answers import Bools, Ints, top_indices, tops
from orchestrator.measures.accuracy.classification import paired, score, share_of
from orchestrator.measures.accuracy.coco import CocoFigures
from orchestrator.measures.accuracy.detection import Detections
from orchestrator.measures.accuracy.resampling import ApDifference
from orchestrator.measures.accuracy.shares import share
from orchestrator.measures.accuracy.verdicts import AccuracyVerdict
from tests.unit.measures.accuracy.made import answer, answers, output

RNG = np.random.default_rng(8)
LABELS = RNG.integers(0, 10, 719)
#: A good classifier of ten classes.
LOGITS = (RNG.random((719, 10)) + 2.0 * (np.arange(10) == LABELS[:, None])).astype(np.float32)


def the(findings: Sequence[Finding]) -> Finding:
    (found,) = findings
    assert found.message[0] != found.message[0].upper() or not found.message[0].isalpha()
    assert found.remedy
    return found


def sides(n: int, right: int, lost: int, gained: int) -> tuple[Bools, Bools]:
    baseline = np.arange(n) < right
    treatment = baseline.copy()
    treatment[:lost] = False
    treatment[right : right + gained] = True
    return baseline, treatment


def figures(ap50: float | None) -> CocoFigures:
    return CocoFigures(ap50, ap50, ap50, None, None, None, None)


# -- outputs


def test_minus_infinity_in_every_output_is_not_an_answer() -> None:
    """A 2-bit recipe under a delegate: 98 % became 9.87 %, the share of the first class."""
    dead = answers(np.full_like(LOGITS, -np.inf))
    found = the(audit.not_finite(dead))
    assert found.code == "not_finite" and found.forbids
    assert "for 719 of 719 samples the outputs (scores)" in found.message
    assert (tops(dead)[:, 0] == 0).all()  # ranked all the same, so that it can be counted
    assert not audit.not_finite(answers(LOGITS))


def test_a_network_whose_outputs_are_all_zero_is_constant() -> None:
    found = the(audit.constant_outputs(answers(np.zeros_like(LOGITS))))
    assert found.code == "constant_outputs" and found.forbids and "719 samples" in found.message
    assert not audit.constant_outputs(answers(LOGITS))
    assert not audit.constant_outputs(answers(LOGITS[:1]))
    assert not audit.constant_outputs([])


def test_an_output_that_never_changes_beside_one_that_does_is_not_a_finding() -> None:
    full = [answer(n, output([100.0], name="count"), output([n, 1.0])) for n in range(5)]
    assert not audit.constant_outputs(full)


def test_integers_that_end_below_the_baseline_s_values_are_saturated() -> None:
    step = 1 / 128
    fitting = np.round(LOGITS / step) * step
    assert not audit.saturated_outputs(LOGITS, fitting)
    cut_off = np.clip(fitting, 0.0, 2.5)
    found = the(audit.saturated_outputs(LOGITS, cut_off))
    assert found.code == "saturated_outputs" and not found.forbids
    beyond = int(((LOGITS - step > 2.5) & (cut_off == cut_off.max())).any(axis=1).sum())
    assert f"in {beyond} of 719 samples" in found.message and "(0 to 2.5)" in found.message


def test_probabilities_that_both_end_at_one_are_not_saturated() -> None:
    certain = (np.arange(10) == LABELS[:, None]).astype(np.float32)
    assert not audit.saturated_outputs(certain, certain * np.float32(255 / 256))
    assert not audit.saturated_outputs(certain, np.zeros_like(certain))
    with pytest.raises(ValueError, match="do not compare"):
        audit.saturated_outputs(certain, certain[:3])


# -- classification


def test_nearly_all_answers_of_one_class_are_a_finding() -> None:
    always_0 = np.zeros(719, np.int64)
    always_0[:20] = 4
    found = the(audit.one_class(always_0, LABELS))
    share_of_0 = 100 * float(np.mean(LABELS == 0))
    assert found.code == "one_class" and found.forbids
    assert (
        f"class 0 is the answer to 699 of 719 samples, and would be right for {share_of_0:.1f} %"
        in (found.message)
    )
    without_labels = the(audit.one_class(always_0, baseline_top1=LOGITS.argmax(axis=1)))
    assert without_labels.code == "one_class"


def test_one_class_is_right_where_the_samples_are_of_one_class() -> None:
    right = np.zeros(100, np.int64)
    assert not audit.one_class(right, right)
    assert not audit.one_class(LOGITS.argmax(axis=1), LABELS)
    assert not audit.one_class(right[:5], np.arange(5))  # too few to say
    assert not audit.one_class(right)


def test_a_baseline_that_knows_nothing_is_at_chance() -> None:
    guesses = RNG.integers(0, 10, 719)
    found = the(audit.baseline_at_chance(share_of(guesses == LABELS), LABELS))
    assert found.code == "baseline_at_chance" and found.forbids
    good = share_of(LOGITS.argmax(axis=1) == LABELS)
    assert not audit.baseline_at_chance(good, LABELS)
    # nine of ten samples are of one class: 0.9 is what always saying so would have
    mostly = np.array([0] * 90 + [1] * 10)
    assert audit.baseline_at_chance(share(90, 100), mostly)
    assert not audit.baseline_at_chance(share(0, 0), np.zeros(0, np.int64))


@pytest.mark.parametrize(("shift", "told"), [(1, "taken -1"), (-1, "taken +1")])
def test_labels_beside_a_model_with_a_background_are_shifted(shift: int, told: str) -> None:
    labels = RNG.integers(1, 1000, 719)
    top = np.where(RNG.random(719) < 0.75, labels, RNG.integers(0, 1000, 719))[:, None] + shift
    found = the(audit.labels_shifted(top, labels))
    assert found.code == "labels_shifted" and found.forbids and told in found.message


def test_labels_in_another_order_are_found_on_other_samples() -> None:
    order = np.array([3, 9, 0, 6, 1, 8, 2, 5, 7, 4])
    found = the(audit.labels_shifted(order[LOGITS.argmax(axis=1)][:, None], LABELS))
    assert found.code == "labels_shifted" and "in another order" in found.message


@pytest.mark.parametrize(
    "top1",
    [
        LOGITS.argmax(axis=1),
        RNG.integers(0, 10, 719),
        np.full(719, 7),
        np.full(719, -1),
    ],
    ids=["right", "random", "one class", "no answer"],
)
def test_a_model_that_is_merely_bad_has_no_shifted_labels(top1: Ints) -> None:
    assert not audit.labels_shifted(top1[:, None], LABELS)
    assert not audit.labels_shifted(top1[:0, None], LABELS[:0])


def test_one_answer_throughout_is_not_a_shift_where_the_next_label_is_common() -> None:
    mostly_8 = np.where(RNG.random(719) < 0.4, 8, LABELS)
    assert not audit.labels_shifted(np.full((719, 1), 7), mostly_8)


# -- detection


def test_scores_that_are_all_zero_are_named() -> None:
    """A detector whose boxes and scores share one tensor, of a scale above 2: AP 0.599 became 0."""
    dead = [Detections(n, np.zeros((5, 4)), np.zeros(5), np.zeros(5, np.int64)) for n in range(60)]
    found = the(audit.no_scores(dead))
    assert found.code == "no_scores" and found.forbids
    assert "not one of 300 boxes in 60 images" in found.message
    alive = Detections(99, np.zeros((1, 4)), np.array([0.1]), np.zeros(1, np.int64))
    assert not audit.no_scores([*dead, alive])
    empty = Detections(1, np.zeros((0, 4)), np.zeros(0), np.zeros(0, np.int64))
    assert audit.no_scores([empty]) and not audit.no_scores([])


def test_a_detector_that_finds_next_to_nothing_is_at_chance() -> None:
    found = the(audit.detector_at_chance(figures(0.009)))
    assert found.code == "baseline_at_chance" and found.forbids
    assert not audit.detector_at_chance(figures(0.4))
    assert not audit.detector_at_chance(figures(None))


@pytest.mark.parametrize(
    ("iou", "figure", "ap50", "forbids"),
    [
        (0.01, 0.701, 0.682, False),  # the right boxes
        (0.01, 0.414, 0.085, True),  # x and y swapped
        (0.3, 0.75, 0.70, False),
    ],
)
def test_a_lenient_threshold_is_told_and_forbids_where_it_hides_something(
    iou: float, figure: float, ap50: float, forbids: bool
) -> None:
    found = the(audit.lenient_threshold(iou, figure, ap50))
    assert (found.code, found.forbids) == ("lenient_threshold", forbids)
    assert f"{figure:.3f}" in found.message and f"{ap50:.3f}" in found.message


def test_half_overlap_is_not_lenient() -> None:
    assert not audit.lenient_threshold(0.5, 0.7, 0.7)


# -- differences


def test_a_coarser_scheme_that_is_certainly_better_is_remarked_on() -> None:
    certain = paired(*sides(1000, 700, 5, 60), margin_points=1.0)
    found = the(audit.coarser_is_better(certain, "eight bits"))
    assert found.code == "coarser_is_better" and not found.forbids
    assert "eight bits is better than its baseline by 5.50 percentage points" in found.message


def test_a_gain_that_is_nothing_is_not_remarked_on() -> None:
    """EfficientNet-Lite0's weights in 8 bits: 0.757 became 0.800, with p 0.23."""
    assert not audit.coarser_is_better(paired(*sides(115, 87, 3, 8), margin_points=1.0), "weights")


def test_samples_that_could_not_have_told_are_too_few() -> None:
    found = the(audit.too_few_samples(115, 0.757, 1.0))
    assert found.code == "too_few_samples" and not found.forbids
    assert found.remedy.startswith("`samples: 276` or more")
    assert not audit.too_few_samples(276, 0.757, 1.0)
    assert not audit.too_few_samples(115, 0.757, 5.0)
    # with no margin no number is enough, and the finding would only repeat that
    assert not audit.too_few_samples(115, 0.757, 0.0)


def test_a_handful_of_images_is_too_few_for_a_bootstrap() -> None:
    def over(n: int) -> ApDifference:
        verdict = AccuracyVerdict.CANNOT_TELL
        return ApDifference(n, 0.5, 0.5, 0.0, -0.1, 0.1, 1.0, 1.0, 1.0, verdict, None, 100)

    assert the(audit.too_few_images(over(30))).code == "too_few_samples"
    assert not audit.too_few_images(over(60))


def test_a_good_classifier_has_no_findings() -> None:
    """What is audited of one side, of one that is as it should be."""
    sent = answers(LOGITS)
    top = tops(sent)
    assert (top == top_indices(LOGITS)).all()
    correct = score(top, LABELS)
    assert not (
        *audit.not_finite(sent),
        *audit.constant_outputs(sent),
        *audit.one_class(top[:, 0], LABELS),
        *audit.baseline_at_chance(correct.top1_share, LABELS),
        *audit.labels_shifted(top, LABELS),
    )
