"""Each known way to misread a detector's boxes is planted, and named; a right reading is let be."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from orchestrator.measurement import Finding
from orchestrator.measures.accuracy.coco import ap_at, ground_truth
from orchestrator.measures.accuracy.detection import (
    Roles,
    compact_categories,
    numbered_categories,
    read,
)
from orchestrator.measures.accuracy.rereading import misread
from tests.unit.measures.accuracy.scenes import CATEGORIES, as_answers, placements, scenes

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
        ({"class_base": 1}, ["class_offset"]),
        ({"class_base": -1}, ["class_offset"]),
        ({"format": "xyxy", "class_base": 1}, ["axes_swapped", "class_offset"]),
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
        wanted = {"class_offset": "`class_base: 0`", "not_scaled": "`units: normalized`"}
        assert wanted.get(finding.code, "`format: yxyx`") in finding.remedy
    told = f"{ap50(replace(wrong, format='yxyx', units='normalized')):.3f}"
    assert "class_offset" not in findings or told in findings["class_offset"].message


def test_categories_with_their_gaps_taken_for_those_without_are_named() -> None:
    """The 90 numbers of COCO and its 80 classes: some classes still fit, so it is a small leap."""
    with_gaps = numbered_categories(MADE.annotations)
    assert with_gaps != compact_categories(MADE.annotations)
    later = tuple(0 if each == 1 else each for each in with_gaps)  # the commonest does not fit
    findings = found(RIGHT, later)
    assert findings.keys() == {"class_offset"}
    assert (
        "classes count the annotations' ids without their gaps" in findings["class_offset"].message
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
