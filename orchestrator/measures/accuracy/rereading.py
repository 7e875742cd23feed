"""Whether a detector's boxes are read in the wrong way: they are read in the known others. Pure.

x and y swapped, corners taken for sizes, parts for pixels, classes counted from another number:
each of these turns a good detector into one that finds nothing, and its figure does not tell that
it is the reading. The baseline is read in each way, and where another scores over
twice as much and over 0.1 more (AP50) the suite's description is wrong, not the model.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from orchestrator.measurement import Finding
from orchestrator.measures.accuracy.answers import SampleAnswer
from orchestrator.measures.accuracy.audit import leaps
from orchestrator.measures.accuracy.coco import GroundTruth, ap_at, encoded, ground_truth
from orchestrator.measures.accuracy.detection import (
    FORMATS,
    UNITS,
    Detections,
    Roles,
    compact_categories,
    numbered_categories,
    read,
    segments,
)
from orchestrator.measures.accuracy.geometry import Placement
from orchestrator.measures.accuracy.masks import COVERS

#: Images that are read again and again; sixty are enough to tell the readings apart. Masks take
#: longer.
MOST_IMAGES, MOST_MASKED_IMAGES = 200, 60

_UNITS_TOLD = {
    "normalized": "parts of the model's input",
    "pixels": "pixels of the model's input",
    "image_pixels": "pixels of the original image",
    "longer_side": "parts of the original image's longer side",
}


@dataclass(frozen=True, slots=True)
class _Samples:
    """The samples that are read again, and what is in them."""

    answers: Sequence[SampleAnswer]
    image_ids: Sequence[int]
    placements: Sequence[Placement]
    truth: GroundTruth

    def ap50(self, roles: Roles, categories: Sequence[int], *, agnostic: bool = False) -> float:
        found = read(self.answers, roles, self.image_ids, self.placements)
        return ap_at(self.truth, found, categories, agnostic=agnostic)


def misread(
    answers: Sequence[SampleAnswer],
    roles: Roles,
    image_ids: Sequence[int],
    placements: Sequence[Placement],
    *,
    annotations: Mapping[str, Any],
    category_ids: Sequence[int],
) -> tuple[Finding, ...]:
    """Find the way of reading under which the baseline's score leaps, boxes first, then classes.

    Arguments are those of ``detection.read`` and ``coco.evaluate``. Boxes are judged without their
    classes, so that one mistake does not hide another. Only the first ``MOST_IMAGES`` samples are
    looked at. No finding where the stated reading is the best, or no reading finds anything.
    """
    some = _Samples(
        answers[:MOST_IMAGES],
        image_ids[:MOST_IMAGES],
        placements[:MOST_IMAGES],
        ground_truth(annotations, image_ids[:MOST_IMAGES]),
    )
    better, of_boxes = _boxes(some, roles, category_ids)
    return (*of_boxes, *_classes(some, better, annotations, category_ids))


def misplaced(
    answers: Sequence[SampleAnswer],
    roles: Roles,
    image_ids: Sequence[int],
    placements: Sequence[Placement],
    *,
    truth: GroundTruth,
    stated: Sequence[Detections],
) -> tuple[Finding, ...]:
    """Find the way of laying masks on the image under which the baseline's score leaps, where they
    score far less than their boxes do: with height and width swapped, or over another part of the
    image. ``stated`` is what is found as the roles say. Classes do not matter. Only the first
    ``MOST_MASKED_IMAGES`` samples are looked at.
    """
    some = slice(MOST_MASKED_IMAGES)
    boxes = stated[some]
    part = ground_truth(truth.api.dataset, image_ids[some], masks=True)

    def ap50(found: Sequence[Detections], *, masks: bool = True) -> float:
        return ap_at(part, found, part.category_ids, agnostic=True, masks=masks)

    def laid(cover: str, *, swapped: bool) -> list[Detections]:
        other = replace(roles, masks_cover=cover)
        return [
            replace(
                each, segments=segments(answer, other, each, placement, encoded, swapped=swapped)
            )
            for each, answer, placement in zip(boxes, answers[some], placements[some], strict=True)
        ]

    score_of_masks = ap50(boxes)
    if not leaps(score_of_masks, ap50(boxes, masks=False)):
        return ()
    readings = [
        (ap50(laid(cover, swapped=swapped)), cover, swapped)
        for cover in sorted(COVERS, key=lambda each: each != roles.masks_cover)
        for swapped in (False, True)
    ]
    score, cover, swapped = max(readings, key=lambda each: each[0])
    if not leaps(score_of_masks, score):
        return ()
    seen = f"masks score AP50 {score_of_masks:.3f} as they are described, and {score:.3f}"
    found = []
    if swapped:
        found.append(
            Finding(
                "axes_swapped",
                f"{seen} with height and width of each mask swapped",
                "give the model's masks as N × height × width: transpose them in its last layer",
                forbids=True,
            )
        )
    if cover != roles.masks_cover:
        found.append(
            Finding(
                "masks_misplaced",
                f"{seen} where each is laid over all of its {cover}, not of its "
                f"{roles.masks_cover}",
                f"`masks_cover: {cover}` under `outputs:`",
                forbids=True,
            )
        )
    return tuple(found)


def _boxes(
    some: _Samples, roles: Roles, category_ids: Sequence[int]
) -> tuple[Roles, tuple[Finding, ...]]:
    """The best reading of the boxes, and what the stated one gets wrong."""
    stated = some.ap50(roles, category_ids, agnostic=True)
    # of equals, the reading that changes least
    best, score = roles, stated
    for other in _other_boxes(roles):
        found = some.ap50(other, category_ids, agnostic=True)
        if found > score:
            best, score = other, found
    if not leaps(stated, score):
        return roles, ()
    seen = f"whatever their class, boxes score AP50 {stated:.3f} as they are described"
    return best, tuple(_wrong_boxes(roles, best, f"{seen}, and {score:.3f}"))


def _other_boxes(roles: Roles) -> Iterator[Roles]:
    others = [
        replace(roles, format=each, units=units)
        for each in FORMATS
        for units in UNITS
        if (each, units) != (roles.format, roles.units)
    ]
    return iter(sorted(others, key=lambda r: (r.format != roles.format) + (r.units != roles.units)))


def _wrong_boxes(stated: Roles, best: Roles, seen: str) -> Iterator[Finding]:
    one, other = FORMATS[stated.format], FORMATS[best.format]
    if one[0] != other[0]:
        yield Finding(
            "axes_swapped",
            f"{seen} with x and y swapped ({best.format} for {stated.format})",
            f"`format: {best.format}` under `outputs:`",
            forbids=True,
        )
    if one[1] != other[1]:
        yield Finding(
            "box_format",
            f"{seen} read as {best.format} instead of {stated.format}",
            f"`format: {best.format}` under `outputs:`",
            forbids=True,
        )
    if stated.units != best.units:
        yield Finding(
            "not_scaled",
            f"{seen} where the numbers are {_UNITS_TOLD[best.units]}, not "
            f"{_UNITS_TOLD[stated.units]}",
            f"`units: {best.units}` under `outputs:`; see whether the boxes are scaled twice, or "
            "never",
            forbids=True,
        )


def _classes(
    some: _Samples, roles: Roles, annotations: Mapping[str, Any], category_ids: Sequence[int]
) -> tuple[Finding, ...]:
    """What is wrong with the numbers of the classes, under the best reading of the boxes."""
    stated = some.ap50(roles, category_ids)
    best, score = (roles.class_base, tuple(category_ids)), stated
    mappings = [tuple(category_ids), compact_categories(annotations)]
    mappings.append(numbered_categories(annotations))
    for mapping in dict.fromkeys(mappings):
        for base in (roles.class_base, roles.class_base - 1, roles.class_base + 1):
            found = some.ap50(replace(roles, class_base=base), mapping)
            if found > score:
                best, score = (base, mapping), found
    if not leaps(stated, score):
        return ()
    base, mapping = best
    ways = []
    if base != roles.class_base:
        ways.append(f"the first class is number {base}, not {roles.class_base}")
    if mapping != tuple(category_ids):
        gaps = mapping == numbered_categories(annotations)
        ways.append(
            f"classes count the annotations' ids {'with' if gaps else 'without'} their gaps"
        )
    return (
        Finding(
            "labels_shifted",
            f"AP50 is {stated:.3f} as classes are described, and {score:.3f} where "
            f"{' and '.join(ways)}",
            f"`class_base: {base}` under `outputs:`, and `labels:` with the model's own classes in "
            "the order of their numbers",
            forbids=True,
        ),
    )
