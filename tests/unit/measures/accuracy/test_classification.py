"""Accuracy and its differences equal those of the field's libraries, and say what they can."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from orchestrator.measures.accuracy.answers import top_indices
from orchestrator.measures.accuracy.classification import (
    answers_by_class,
    fewest_samples,
    losses_by_class,
    paired,
    score,
    share_of,
)
from orchestrator.measures.accuracy.shares import mcnemar_p, newcombe, share
from orchestrator.measures.accuracy.verdicts import AccuracyVerdict, verdict_of

BETTER, NO_WORSE = AccuracyVerdict.BETTER, AccuracyVerdict.NO_WORSE
WORSE, CANNOT_TELL = AccuracyVerdict.WORSE, AccuracyVerdict.CANNOT_TELL

RNG = np.random.default_rng(11)
LABELS = RNG.integers(0, 12, 500)
#: Scores that favour the label, with many ties.
SCORES = np.round(RNG.random((500, 12)) + (np.arange(12) == LABELS[:, None]) * 0.5, 1)


def sides(
    n: int, right: int, lost: int, gained: int
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """A baseline with so many right answers, and a treatment that lost and gained so many."""
    baseline = np.arange(n) < right
    treatment = baseline.copy()
    treatment[:lost] = False
    treatment[right : right + gained] = True
    return baseline, treatment


# -- the libraries of the field


def test_top1_and_top5_equal_scikit_learn_s() -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    correct = score(top_indices(SCORES), LABELS)
    assert correct.top1_share.value == metrics.accuracy_score(LABELS, SCORES.argmax(axis=1))
    untied = SCORES + RNG.random(SCORES.shape) * 1e-6  # scikit-learn breaks ties the other way
    found = score(top_indices(untied), LABELS).top5_share.value
    assert found == metrics.top_k_accuracy_score(LABELS, untied, k=5, labels=np.arange(12))


def test_classes_equal_scikit_learn_s() -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    top1 = top_indices(SCORES)[:, 0]
    recall = metrics.recall_score(LABELS, top1, labels=range(12), average=None)
    right = top1 == LABELS
    for loss in losses_by_class(right, right, LABELS):
        assert loss.baseline.value == recall[loss.label]


@pytest.mark.parametrize(("count", "n"), [(0, 1), (1, 1), (0, 50), (50, 50), (87, 115), (3, 10**6)])
def test_a_share_s_interval_equals_statsmodels(count: int, n: int) -> None:
    proportion = pytest.importorskip("statsmodels.stats.proportion")
    found = share(count, n)
    expected = proportion.proportion_confint(count, n, method="wilson")
    assert (found.low, found.high) == pytest.approx(expected, abs=1e-14)
    assert 0 <= found.low <= count / n <= found.high <= 1


@pytest.mark.parametrize(
    ("lost", "gained"),
    [(0, 0), (1, 0), (3, 8), (15, 15), (23, 7), (56, 3), (570, 442), (40_000, 41_000)],
)
def test_mcnemar_s_p_equals_statsmodels_to_the_last_digit(lost: int, gained: int) -> None:
    tables = pytest.importorskip("statsmodels.stats.contingency_tables")
    assert mcnemar_p(lost, gained) == tables.mcnemar([[100, lost], [gained, 9]], exact=True).pvalue


def test_the_paired_interval_is_the_published_one() -> None:
    """Bentur et al. (2009), 1 and 12 pairs alike, 1 and 7 changed, as in Fagerland, Lydersen and
    Laake, *Recommended tests and confidence intervals for paired binomial proportions* (2014)."""
    counts = [np.asarray(each, float) for each in (1, 7, 1, 12)]
    found = [round(float(each), 3) for each in newcombe(*counts)]
    assert found == [-0.286, -0.507, -0.026]


@pytest.mark.parametrize(
    ("n", "right", "lost", "gained", "expected"),
    [
        # EfficientNet-Lite0 on 115 photographs, and a small network on Fashion-MNIST
        (115, 87, 3, 8, (0.043, -0.016, 0.105, 0.23)),
        (115, 87, 15, 15, (0.000, -0.095, 0.095, 1.0)),
        (115, 87, 23, 7, (-0.139, -0.228, -0.047, 0.005)),
        (115, 87, 27, 9, (-0.157, -0.253, -0.056, 0.004)),
        (10_000, 7240, 570, 442, (-0.0128, -0.0190, -0.0066, 6.4e-5)),
    ],
)
def test_real_differences(
    n: int, right: int, lost: int, gained: int, expected: tuple[float, float, float, float]
) -> None:
    found = paired(*sides(n, right, lost, gained), margin_points=1.0)
    assert (found.lost, found.gained, found.n) == (lost, gained, n)
    assert (found.difference, found.low, found.high) == pytest.approx(expected[:3], abs=6e-4)
    assert found.p == pytest.approx(expected[3], rel=0.1)


# -- what may be said


@pytest.mark.parametrize(
    ("low", "high", "p", "expected"),
    [
        (0.002, 0.03, 0.01, BETTER),
        (0.002, 0.03, 0.06, NO_WORSE),  # after Holm's correction: a gain is not claimed
        (-0.009, 0.03, 0.5, NO_WORSE),
        (-0.009, -0.001, 0.01, NO_WORSE),  # a loss, and one that counts as none
        (-0.03, -0.001, 0.01, WORSE),
        (-0.03, -0.02, 1e-9, WORSE),
        (-0.03, -0.001, 0.06, CANNOT_TELL),
        (-0.010, 0.03, 0.5, CANNOT_TELL),  # the bound itself is not ruled out
    ],
)
def test_a_verdict_rests_on_the_interval_the_margin_and_the_p_value(
    low: float, high: float, p: float, expected: AccuracyVerdict
) -> None:
    assert verdict_of(low, high, 0.01, p) is expected


def test_a_changed_prediction_shows_where_the_accuracy_does_not_change() -> None:
    found = paired(*sides(115, 87, 15, 15), margin_points=1.0)
    assert found.difference == 0 and (found.lost, found.gained) == (15, 15)
    assert found.verdict is CANNOT_TELL


def test_what_cannot_be_told_says_how_many_samples_would_tell() -> None:
    found = paired(*sides(115, 87, 15, 15), margin_points=1.0)
    n = found.samples_that_would_tell
    assert n is not None and 9_000 < n < 11_000
    scale = n / 115
    more = paired(*sides(n, round(87 * scale), round(15 * scale), round(15 * scale)), 1.0)
    assert more.verdict is NO_WORSE


def test_a_loss_that_holm_s_correction_takes_away_needs_more_samples() -> None:
    found = paired(*sides(115, 87, 23, 7), margin_points=1.0)
    assert found.verdict is WORSE and found.samples_that_would_tell is None
    in_a_table = found.adjusted(0.05223)
    assert in_a_table.verdict is CANNOT_TELL and in_a_table.p == found.p
    assert in_a_table.samples_that_would_tell is not None
    assert 115 < in_a_table.samples_that_would_tell < 160


def test_without_a_margin_no_number_of_samples_shows_that_nothing_was_lost() -> None:
    found = paired(*sides(1000, 800, 5, 5), margin_points=0.0)
    assert found.verdict is CANNOT_TELL and found.samples_that_would_tell is None
    assert fewest_samples(0.8, 0.0) is None


@pytest.mark.parametrize("accuracy", [0.5, 0.757, 0.98, 1.0])
def test_with_too_few_samples_even_the_same_answers_throughout_prove_nothing(
    accuracy: float,
) -> None:
    n = fewest_samples(accuracy, 1.0)
    assert n is not None and 150 < n < 450
    enough, fewer = n + 20, n // 2
    assert paired(*sides(enough, round(accuracy * enough), 0, 0), 1.0).verdict is NO_WORSE
    assert paired(*sides(fewer, round(accuracy * fewer), 0, 0), 1.0).verdict is CANNOT_TELL


@pytest.mark.parametrize("margin", [-1.0, 100.5, float("nan")])
def test_a_margin_is_in_percentage_points(margin: float) -> None:
    with pytest.raises(ValueError, match="between 0 and 100 percentage points"):
        paired(*sides(10, 5, 0, 0), margin)


def test_sides_of_unlike_samples_and_of_none_are_refused() -> None:
    none = np.zeros(0, bool)
    with pytest.raises(ValueError, match="same samples on both sides, at least one"):
        paired(none, none, 1.0)
    with pytest.raises(ValueError, match="same samples"):
        paired(np.ones(3, bool), np.ones(4, bool), 1.0)


# -- answers and labels


def test_a_sample_without_an_answer_is_wrong_and_one_without_a_label_is_refused() -> None:
    top = np.array([[-1, -1], [1, 0]])
    correct = score(top, np.array([0, 1]))
    assert correct.top1.tolist() == [False, True]
    with pytest.raises(ValueError, match="label is negative"):
        score(top, np.array([-1, 1]))
    with pytest.raises(ValueError, match="do not match"):
        score(top, np.array([1]))


def test_a_share_of_nothing_has_no_value_and_says_nothing() -> None:
    found = share_of(np.zeros(0, bool))
    assert found.value is None and (found.low, found.high) == (0.0, 1.0)
    with pytest.raises(ValueError, match="5 of 4 is not a share"):
        share(5, 4)


def test_the_classes_that_lost_most_come_first() -> None:
    labels = np.array([7] * 10 + [2] * 4 + [5] * 3 + [9] * 10)
    baseline = np.ones(27, bool)
    baseline[14] = False
    treatment = baseline.copy()
    treatment[[0, 1]] = False  # two of ten
    treatment[[10, 11]] = False  # two of four
    treatment[14] = True  # one gained
    found = losses_by_class(baseline, treatment, labels)
    assert [(c.label, c.n, c.lost, c.gained, c.net_lost) for c in found] == [
        (2, 4, 2, 0, 2),
        (7, 10, 2, 0, 2),
        (9, 10, 0, 0, 0),
        (5, 3, 0, 1, -1),
    ]
    assert (found[0].baseline.count, found[0].treatment.count) == (4, 2)


def test_answers_are_counted_by_class_the_commonest_first() -> None:
    found = answers_by_class(np.array([3, 0, 0, -1, 3, 8]))
    assert [(c.answer, c.share.count) for c in found] == [(0, 2), (3, 2), (-1, 1), (8, 1)]
