"""Outputs of a detector become boxes in the image by what they are said to be, by nothing else."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from orchestrator.measures.accuracy.detection import (
    FORMATS,
    Roles,
    compact_categories,
    named_categories,
    numbered_categories,
    postprocess_roles,
    read,
    read_sample,
    to_image,
)
from orchestrator.measures.accuracy.geometry import Geometry, Placement, placement_of
from tests.unit.measures.accuracy.made import answer, output
from tests.unit.measures.accuracy.scenes import (
    CATEGORIES,
    PLACES,
    as_answers,
    placements,
    scenes,
)

#: One box of 100 × 50 with its corner at (40, 60), written in every format.
WRITTEN = {
    "xyxy": [40, 60, 140, 110],
    "yxyx": [60, 40, 110, 140],
    "xywh": [40, 60, 100, 50],
    "yxhw": [60, 40, 50, 100],
    "cxcywh": [90, 85, 100, 50],
    "cycxhw": [85, 90, 50, 100],
}
BOX = [40.0, 60.0, 140.0, 110.0]
SAME = placement_of(200, 200, Geometry(200, 200, "stretch"))
ROLES = Roles("boxes", "scores", "classes", "count")


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_is_read_as_what_it_says(name: str) -> None:
    raw = np.array([WRITTEN[name]], float)
    assert to_image(raw, name, "pixels", SAME).tolist() == [BOX]


def test_stretched_and_letterboxed_images_are_undone() -> None:
    stretched = placement_of(640, 480, Geometry(320, 320, "stretch"))
    parts = np.array([[0.5, 0.25, 0.75, 0.5]])
    assert to_image(parts, "xyxy", "normalized", stretched).tolist() == [[320, 120, 480, 240]]
    assert to_image(parts * 320, "xyxy", "pixels", stretched).tolist() == [[320, 120, 480, 240]]
    # 640 × 480 at half its size, in the middle of 320 × 320
    letterbox = Placement(640, 480, 320, 320, 0.5, 0.5, top=40)
    assert to_image(parts * 320, "xyxy", "pixels", letterbox).tolist() == [[320, 80, 480, 240]]
    assert to_image(parts * 640, "xyxy", "image_pixels", letterbox).tolist() == [
        [320, 160, 480, 320]
    ]
    assert to_image(parts, "xyxy", "longer_side", letterbox).tolist() == [[320, 160, 480, 320]]


def test_only_as_many_places_count_as_the_model_says() -> None:
    made = scenes(12)
    found = read(as_answers(made), ROLES, made.image_ids, placements(made.image_ids))
    for each, image_id, (boxes, scores, classes) in zip(
        found, made.image_ids, made.found, strict=True
    ):
        assert each.image_id == image_id and len(each) == len(scores) < PLACES
        assert each.boxes == pytest.approx(boxes, abs=1e-3)
        assert each.scores == pytest.approx(scores)
        assert each.classes.tolist() == classes.tolist()


@pytest.mark.parametrize(("count", "places"), [(-1, 0), (0, 0), (2.0, 2), (99, 3), (np.nan, 0)])
def test_a_count_that_cannot_be_is_cut_to_the_places_there_are(count: float, places: int) -> None:
    sample = answer(
        0,
        output(np.zeros((3, 4)), name="boxes"),
        output(np.zeros(3), name="scores"),
        output(np.zeros(3), name="classes"),
        output([count], name="count"),
    )
    assert len(read_sample(sample, ROLES, 1, SAME)) == places


def test_classes_are_counted_from_the_first_class_of_objects() -> None:
    made = scenes(5)
    with_background = Roles("boxes", "scores", "classes", "count", class_base=1)
    found = read(
        as_answers(made, base=1), with_background, made.image_ids, placements(made.image_ids)
    )
    assert [d.classes.tolist() for d in found] == [c.tolist() for _, _, c in made.found]


def test_places_with_a_number_that_is_not_finite_are_left_out_and_counted() -> None:
    boxes = np.zeros((3, 4))
    boxes[0, 2] = np.nan
    sample = answer(
        0,
        output(boxes, name="boxes"),
        output([0.5, np.inf, 0.25], name="scores"),
        output([0, 1, 2], name="classes"),
    )
    found = read_sample(sample, Roles("boxes", "scores", "classes"), 1, SAME)
    assert (found.classes.tolist(), found.dropped) == ([2], 2)


def test_one_output_may_hold_boxes_scores_and_classes_in_its_columns() -> None:
    rows = np.array([[*BOX, 0.75, 3], [*BOX, 0.5, 1]])
    roles = Roles("detections", "detections", "detections", format="xyxy", units="pixels")
    found = read_sample(answer(0, output(rows, name="detections")), roles, 1, SAME)
    assert (found.boxes.tolist(), found.scores.tolist()) == ([BOX, BOX], [0.75, 0.5])
    assert found.classes.tolist() == [3, 1]
    with pytest.raises(ValueError, match=r"has the shape \(2, 5\): six columns are needed"):
        read_sample(answer(0, output(rows[:, :5], name="detections")), roles, 1, SAME)


def test_without_classes_a_box_is_of_its_best_column() -> None:
    table = np.array([[0.25, 0.5, 0.5], [np.nan, 0.125, 0.0]])
    sample = answer(0, output([BOX, BOX], name="boxes"), output(table, name="scores"))
    roles = Roles("boxes", "scores", None, format="xyxy", units="pixels")
    found = read_sample(sample, roles, 1, SAME)
    assert (found.classes.tolist(), found.scores.tolist()) == ([1, 1], [0.5, 0.125])


def test_an_output_that_does_not_fit_its_role_is_named() -> None:
    boxes = output([BOX], name="boxes")
    sample = answer(0, boxes, output([0.5, 0.5], name="scores"), output([0.0], name="classes"))
    fitting = answer(0, boxes, output([0.5], name="scores"), output([0.0], name="classes"))
    with pytest.raises(ValueError, match=r"no output 'count' \(it has: boxes \(1, 4\), scores"):
        read_sample(fitting, ROLES, 1, SAME)
    with pytest.raises(ValueError, match=r"'scores' of shape \(2,\) does not belong to 1 boxes"):
        read_sample(sample, Roles("boxes", "scores", "classes"), 1, SAME)
    with pytest.raises(ValueError, match="'scores' cannot hold boxes"):
        read_sample(sample, Roles("scores", "boxes", "classes"), 1, SAME)
    large = answer(0, output([BOX], name="boxes", keep=False))
    with pytest.raises(ValueError, match="too large to be kept whole"):
        read_sample(large, Roles("boxes", "scores", "classes"), 1, SAME)


@pytest.mark.parametrize(
    "wrong", [{"format": "wxyz"}, {"units": "metres"}, {"masks_cover": "half"}]
)
def test_a_format_and_a_unit_that_nobody_knows_are_refused(wrong: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(wrong))} .* is not one of"):
        Roles("boxes", "scores", "classes", **wrong)  # type: ignore[arg-type] # one of the texts


# -- post-processing: told apart by what they hold


@pytest.mark.parametrize(
    "order", list(itertools.permutations(("boxes", "classes", "scores", "count")))
)
def test_outputs_of_post_processing_are_told_apart_in_any_order(order: tuple[str, ...]) -> None:
    assert postprocess_roles(as_answers(scenes(12), order)) == ROLES


def test_classes_that_are_all_the_first_one_are_not_taken_for_scores() -> None:
    made = scenes(6)
    only_first = tuple((b, s, c * 0) for b, s, c in made.found)
    changed = type(made)(made.annotations, made.image_ids, only_first)
    assert postprocess_roles(as_answers(changed)) == ROLES


def test_outputs_that_could_be_either_are_not_guessed() -> None:
    made = scenes(6)
    dead = tuple((b, s * 0, c * 0) for b, s, c in made.found)
    changed = type(made)(made.annotations, made.image_ids, dead)
    with pytest.raises(ValueError, match=r"cannot be told from what they hold .* name them under"):
        postprocess_roles(as_answers(changed))
    with pytest.raises(ValueError, match="the model has 1 outputs"):
        postprocess_roles([answer(0, output([BOX], name="boxes"))])


# -- categories


ANNOTATIONS = {"categories": [{"id": n, "name": f"Thing {n}"} for n in (5, 1, 2)]}


def test_classes_are_categories_without_gaps_by_number_or_by_name() -> None:
    assert compact_categories(ANNOTATIONS) == (1, 2, 5)
    assert numbered_categories(ANNOTATIONS) == (1, 2, -1, -1, 5)
    labels = ["background", "thing 5", " THING 1"]
    assert named_categories(ANNOTATIONS, labels) == (-1, 5, 1)
    assert len(compact_categories(scenes(1).annotations)) == len(CATEGORIES)


def test_labels_that_name_no_category_or_two_are_refused() -> None:
    with pytest.raises(ValueError, match="not one of the labels"):
        named_categories(ANNOTATIONS, ["cat", "dog"])
    twice = {"categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "Cat"}]}
    with pytest.raises(ValueError, match=r"two categories .* 'cat'"):
        named_categories(twice, ["cat"])
