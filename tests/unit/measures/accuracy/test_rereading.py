"""Each known way to misread a detector's boxes is planted, and named; a right reading is let be."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from orchestrator.measurement import Finding
from orchestrator.measures.accuracy.coco import ap_at, encoded, ground_truth
from orchestrator.measures.accuracy.detection import (
    Roles,
    compact_categories,
    numbered_categories,
    read,
    segments,
)
from orchestrator.measures.accuracy.rereading import misplaced, misread
from tests.unit.measures.accuracy.scenes import (
    CATEGORIES,
    as_answers,
    crops,
    outlined,
    placements,
    scenes,
    with_masks,
)

pytest.importorskip("pycocotools")

RIGHT = Roles("boxes", "scores", "classes", "count", "yxyx", "normalized", 0)
MADE = scenes(60, noise=8.0)
ANSWERS = as_answers(MADE)
PLACED = placements(MADE.image_ids)


def found(roles: Roles, categories: tuple[int, ...] = CATEGORIES) -> dict[str, Finding]:
    findings = misread(
        ANSWERS,
        roles,
        MADE.image_ids,
        PLACED,
        annotations=MADE.annotations,
        category_ids=categories,
    )
    assert all(each.forbids for each in findings)
    return {each.code: each for each in findings}


def ap50(roles: Roles, categories: tuple[int, ...] = CATEGORIES) -> float:
    truth = ground_truth(MADE.annotations)
    return ap_at(truth, read(ANSWERS, roles, MADE.image_ids, PLACED), categories)


def test_the_right_reading_is_let_be() -> None:
    assert ap50(RIGHT) > 0.5
    assert found(RIGHT) == {}


@pytest.mark.parametrize(
    ("planted", "codes"),
    [
        ({"format": "xyxy"}, ["axes_swapped"]),
        ({"format": "yxhw"}, ["box_format"]),
        ({"format": "cycxhw"}, ["box_format"]),
        ({"format": "xywh"}, ["axes_swapped", "box_format"]),
        ({"units": "pixels"}, ["not_scaled"]),
        ({"units": "image_pixels"}, ["not_scaled"]),
        ({"units": "longer_side"}, ["not_scaled"]),
        ({"class_base": 1}, ["labels_shifted"]),
        ({"class_base": -1}, ["labels_shifted"]),
        ({"format": "xyxy", "class_base": 1}, ["axes_swapped", "labels_shifted"]),
        ({"format": "xyxy", "units": "pixels"}, ["axes_swapped", "not_scaled"]),
    ],
    ids=str,
)
def test_a_planted_mistake_is_named_with_what_to_write(
    planted: dict[str, Any], codes: list[str]
) -> None:
    wrong = replace(RIGHT, **planted)
    assert ap50(wrong) < 0.5 * ap50(RIGHT)
    findings = found(wrong)
    assert sorted(findings) == codes
    for finding in findings.values():
        wanted = {"labels_shifted": "`class_base: 0`", "not_scaled": "`units: normalized`"}
        assert wanted.get(finding.code, "`format: yxyx`") in finding.remedy
    told = f"{ap50(replace(wrong, format='yxyx', units='normalized')):.3f}"
    assert "labels_shifted" not in findings or told in findings["labels_shifted"].message


def test_categories_with_their_gaps_taken_for_those_without_are_named() -> None:
    """The 90 numbers of COCO and its 80 classes: some classes still fit, so it is a small leap."""
    with_gaps = numbered_categories(MADE.annotations)
    assert with_gaps != compact_categories(MADE.annotations)
    later = tuple(0 if each == 1 else each for each in with_gaps)  # the commonest does not fit
    findings = found(RIGHT, later)
    assert findings.keys() == {"labels_shifted"}
    assert (
        "classes count the annotations' ids without their gaps"
        in findings["labels_shifted"].message
    )


def test_a_detector_that_finds_nothing_in_any_reading_is_not_called_misread() -> None:
    dead = [
        replace(a, outputs=tuple(o for o in a.outputs if o.name != "count"))
        for a in as_answers(scenes(60, seed=9))
    ]
    findings = misread(
        dead,
        replace(RIGHT, count=None),
        MADE.image_ids,
        PLACED,
        annotations=MADE.annotations,
        category_ids=CATEGORIES,
    )
    assert findings == ()


# -- masks

SOME = scenes(20, noise=4.0)
CROPS = crops(SOME)


def found_of_masks(roles: Roles, told: Any = CROPS, truth: Any = None) -> dict[str, Finding]:
    answers, placed = with_masks(as_answers(SOME), told), placements(SOME.image_ids)
    boxes = read(answers, roles, SOME.image_ids, placed)
    stated = [
        replace(each, segments=segments(answer, roles, each, placement, encoded))
        for each, answer, placement in zip(boxes, answers, placed, strict=True)
    ]
    annotated = ground_truth(truth or outlined(SOME), masks=True)
    findings = misplaced(answers, roles, SOME.image_ids, placed, truth=annotated, stated=stated)
    assert all(each.forbids for each in findings)
    return {each.code: each for each in findings}


def test_masks_that_lie_right_are_let_be() -> None:
    assert found_of_masks(replace(RIGHT, masks="masks")) == {}


@pytest.mark.parametrize("cover", ["input", "image"])
def test_masks_of_boxes_that_are_laid_over_more_are_named(cover: str) -> None:
    findings = found_of_masks(replace(RIGHT, masks="masks", masks_cover=cover))
    assert findings.keys() == {"masks_misplaced"}
    assert findings["masks_misplaced"].remedy == "`masks_cover: box` under `outputs:`"


def test_masks_whose_height_is_their_width_are_named() -> None:
    slender = ((0.0, 0.0), (1.0, 0.0), (1.0, 0.5))
    right = crops(SOME, corners=slender)
    turned = [each.transpose(0, 2, 1) for each in right]
    truth = outlined(SOME, slender)
    assert found_of_masks(replace(RIGHT, masks="masks"), right, truth) == {}
    findings = found_of_masks(replace(RIGHT, masks="masks"), turned, truth)
    assert findings.keys() == {"axes_swapped"}
    assert "height and width of each mask swapped" in findings["axes_swapped"].message
