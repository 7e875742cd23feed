"""What two sides have in common, without a label."""

from __future__ import annotations

import math

import numpy as np
import pytest

from orchestrator.measures.accuracy.agreement import agreement, cosine, snr_db
from tests.unit.measures.accuracy.made import answer, answers, output

RNG = np.random.default_rng(5)
BASE = RNG.normal(size=(40, 10)).astype(np.float32)


def test_the_same_answers_agree_in_everything() -> None:
    (found,) = agreement(answers(BASE), answers(BASE))
    assert found.n == found.same_bytes.count == 40
    assert found.same_top1 is not None and found.same_top1.count == 40
    assert found.cosine is not None and found.cosine.minimum == pytest.approx(1)
    assert found.snr_db is not None and found.snr_db.median == math.inf
    assert (found.largest_deviation, found.not_finite, found.estimated) == (0.0, 0, False)


def test_noise_is_told_in_decibels_as_cosine_and_as_the_largest_deviation() -> None:
    treated = BASE + RNG.normal(size=BASE.shape).astype(np.float32) * np.float32(0.1)
    (found,) = agreement(answers(BASE), answers(treated))
    signal, noise = (BASE.astype(float) ** 2).sum(1), ((BASE - treated).astype(float) ** 2).sum(1)
    ratios = 10 * np.log10(signal / noise)
    assert found.snr_db is not None and found.cosine is not None
    assert found.snr_db.median == pytest.approx(float(np.median(ratios)))
    assert found.snr_db.minimum == pytest.approx(float(ratios.min()))
    each = [cosine(*pair) for pair in zip(BASE.astype(float), treated.astype(float), strict=True)]
    assert found.cosine.median == pytest.approx(float(np.median(each)))
    assert found.cosine.minimum == min(each) > 0.95
    assert found.largest_deviation == pytest.approx(float(np.abs(BASE - treated).max()))
    assert found.same_top1 is not None
    same = int((BASE.argmax(1) == treated.argmax(1)).sum())
    assert found.same_top1.count == same < 40
    assert found.same_bytes.count == 0


def test_with_values_left_on_the_device_the_sketches_tell_nearly_the_same() -> None:
    treated = BASE + RNG.normal(size=BASE.shape).astype(np.float32) * np.float32(0.1)
    (kept,) = agreement(answers(BASE), answers(treated))
    (left,) = agreement(answers(BASE, keep=False), answers(treated, keep=False))
    assert left.estimated and left.largest_deviation is None
    assert left.snr_db is not None and kept.snr_db is not None
    assert left.snr_db.median == pytest.approx(kept.snr_db.median, abs=1.0)
    assert left.same_top1 == kept.same_top1


def test_what_is_not_finite_is_counted_disagrees_and_spoils_no_other_figure() -> None:
    treated = BASE.copy()
    treated[3, 2] = np.nan
    treated[4] = -np.inf
    (found,) = agreement(answers(BASE), answers(treated))
    assert found.not_finite == 2
    assert found.same_top1 is not None and found.same_top1.count == 38
    assert found.snr_db is not None and found.snr_db.minimum == math.inf
    assert found.largest_deviation == 0.0


def test_where_nothing_is_finite_there_are_no_figures() -> None:
    (found,) = agreement(answers(BASE), answers(np.full_like(BASE, np.nan)))
    assert found.not_finite == 40
    assert (found.cosine, found.snr_db, found.largest_deviation) == (None, None, None)


def test_an_output_without_classes_has_no_first_answer() -> None:
    boxes = [answer(n, output(RNG.normal(size=(5, 4)), name="boxes")) for n in range(3)]
    (found,) = agreement(boxes, boxes)
    assert found.same_top1 is None and found.same_bytes.count == 3


def test_only_samples_that_both_sides_answered_are_compared() -> None:
    (found,) = agreement(answers(BASE), answers(BASE[:25]))
    assert found.n == 25
    assert agreement([], answers(BASE)) == ()


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ([0, 0], [0, 0], (1.0, math.inf)),
        ([0, 0], [1, 0], (0.0, -math.inf)),
        ([1, 0], [0, 0], (0.0, 0.0)),
        ([1, 0], [0, 1], (0.0, 10 * math.log10(0.5))),
        ([1, 0], [-1, 0], (-1.0, 10 * math.log10(0.25))),
        # beyond what a square of a single-precision number can hold
        ([1e30, 0], [1e30, 0], (1.0, math.inf)),
    ],
)
def test_cosine_and_ratio_have_a_value_for_every_pair(
    one: list[float], other: list[float], expected: tuple[float, float]
) -> None:
    y, z = np.array(one, float), np.array(other, float)
    assert (cosine(y, z), snr_db(y, z)) == pytest.approx(expected)
