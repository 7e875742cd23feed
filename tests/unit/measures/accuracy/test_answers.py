"""What was answered first, and which outputs of two files are the same one."""

from __future__ import annotations

import numpy as np
import pytest

from orchestrator.measures.accuracy.answers import (
    in_common,
    matched_outputs,
    top_indices,
    top_of,
    tops,
)
from tests.unit.measures.accuracy.made import answer, output

NAN, INF = float("nan"), float("inf")


def test_of_equal_scores_the_lowest_index_is_first() -> None:
    scores = np.array([[0.1, 0.7, 0.7, 0.2], [0.5, 0.5, 0.5, 0.5]], np.float32)
    assert top_indices(scores, 3).tolist() == [[1, 2, 3], [0, 1, 2]]
    assert (top_indices(scores, 1)[:, 0] == scores.argmax(axis=1)).all()


def test_what_is_not_a_number_never_ranks_and_places_that_do_not_exist_are_empty() -> None:
    scores = np.array([[NAN, 2.0, NAN], [NAN, NAN, NAN], [-INF, -INF, -INF]])
    assert top_indices(scores).tolist() == [
        [1, -1, -1, -1, -1],
        [-1, -1, -1, -1, -1],
        [0, 1, 2, -1, -1],
    ]


def test_a_top_list_has_the_values_beside_the_indices() -> None:
    assert top_of(np.array([[0.0, 3.0, 1.0]], np.float32), 2) == ((1, 3.0), (2, 1.0))


def test_classes_come_from_the_top_lists_or_where_these_are_short_from_the_values() -> None:
    sent_whole = output([1.0, 9.0, 5.0], top=())
    sent_as_top = output(None, top=((4, 2.5), (0, 2.0)), shape=(1000,))
    assert tops([answer(0, sent_whole), answer(1, sent_as_top)], count=2).tolist() == [
        [1, 2],
        [4, 0],
    ]


def test_of_several_outputs_the_one_with_the_classes_has_to_be_named() -> None:
    two = answer(0, output([1.0, 2.0], name="logits"), output([0.5], name="embedding"))
    assert tops([two], "logits", 1).tolist() == [[1]]
    with pytest.raises(ValueError, match="2 outputs \\(logits, embedding\\): say which"):
        tops([two])
    with pytest.raises(ValueError, match="sample 0 has no output 'scores' \\(it has: logits, emb"):
        tops([two], "scores")


def test_two_sides_are_held_against_each_other_sample_by_sample() -> None:
    one = [answer(n, output([float(n)])) for n in (3, 1, 2)]
    other = [answer(n, output([float(n)])) for n in (1, 3, 5)]
    ours, theirs = in_common(one, other)
    assert [a.key_index for a in ours] == [a.key_index for a in theirs] == [1, 3]
    with pytest.raises(ValueError, match="answered twice"):
        in_common([*one, one[0]], other)


def test_outputs_are_matched_by_name_else_by_shape_and_never_by_position() -> None:
    boxes, scores = output(np.zeros((4, 4)), name="boxes"), output(np.zeros(4), name="scores")
    other = answer(0, output(np.zeros(4), name="b"), output(np.zeros((4, 4)), name="boxes"))
    assert matched_outputs(answer(0, boxes, scores), other) == (("boxes", "boxes"), ("scores", "b"))
    # a name that stands for another thing is not a name
    swapped = answer(0, output(np.zeros(4), name="boxes"), output(np.zeros((4, 4)), name="scores"))
    assert matched_outputs(answer(0, boxes, scores), swapped) == (
        ("boxes", "scores"),
        ("scores", "boxes"),
    )


def test_outputs_that_cannot_be_told_apart_are_left_out() -> None:
    one = answer(0, output([1.0], name="a"), output([2.0], name="b"))
    other = answer(0, output([1.0], name="c"), output([2.0], name="d"))
    assert matched_outputs(one, other) == ()


def test_dimensions_of_1_are_no_other_shape_and_a_name_that_occurs_twice_is_none() -> None:
    one = answer(0, output(np.zeros((1, 4)), name="a"), output([1.0, 2.0], name="b"))
    other = answer(0, output([1.0, 2.0], name="d"), output(np.zeros(4), name="c"))
    assert matched_outputs(one, other) == (("a", "c"), ("b", "d"))
    twice = answer(0, output([1.0], name="a"), output([2.0, 3.0], name="a"))
    assert matched_outputs(twice, twice) == (("a", "a"), ("a", "a"))
