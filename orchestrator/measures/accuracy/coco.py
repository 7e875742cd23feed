"""COCO's average precision, by pycocotools. Nothing else here knows that library.

One evaluator, of the 2.0 series, because evaluators differ in corner cases. What it prints is
swallowed. A figure that it marks as absent with -1 is None here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from orchestrator.errors import UsageError
from orchestrator.measures.accuracy.answers import NOTHING, Bools, Ints
from orchestrator.measures.accuracy.detection import Detections
from orchestrator.measures.accuracy.masks import Lit

_Doubles: TypeAlias = "NDArray[np.float64]"

#: Boxes of one image and category that count, the highest scores first.
MOST_DETECTIONS = 100
#: The first IoU at which AP@[.50:.95] is taken, and of the two that have a name their places.
_AT_50, _AT_75 = 0, 5
_AREAS = ("all", "small", "medium", "large")


class _Silent:
    """A place to print to from which nothing comes back."""

    def write(self, text: str) -> int:
        return len(text)

    def flush(self) -> None:
        """Do nothing."""


@dataclass(frozen=True, slots=True, eq=False)
class GroundTruth:
    """Annotations of the images that are scored, ready for pycocotools.

    ``image_ids`` are in rising order, as pycocotools has them. ``objects`` counts the annotations
    of these images that a detector should find: no crowds.
    """

    api: Any
    image_ids: tuple[int, ...]
    category_ids: tuple[int, ...]
    objects: int


def ground_truth(
    annotations: Mapping[str, Any],
    image_ids: Sequence[int] | None = None,
    *,
    masks: bool = False,
) -> GroundTruth:
    """Prepare annotations in COCO's format, of the images of ``image_ids`` or of all.

    Annotations are numbered anew from 1: pycocotools takes a match with number 0 for none, and a
    number that occurs twice for two objects each time. A missing ``iscrowd`` is 0, a missing
    ``area`` the box's, or with ``masks`` the mask's. Raises UsageError without pycocotools, and
    ValueError that names the place where an entry is missing.
    """
    coco, _ = _library()
    for key in ("images", "annotations", "categories"):
        if not isinstance(annotations.get(key), list):
            raise ValueError(  # noqa: TRY004 # the file's content, not a caller's mistake
                f"the annotations have no list `{key}`: they are not in COCO's format"
            )
    known = {image["id"]: image for image in annotations["images"]}
    chosen = sorted(known) if image_ids is None else sorted(set(image_ids))
    unknown = [each for each in chosen if each not in known]
    if unknown:
        raise ValueError(f"the annotations do not know {len(unknown)} images, {unknown[0]} first")
    if not chosen:
        raise ValueError("the annotations have no images")
    wanted = set(chosen)
    kept: list[dict[str, Any]] = []
    needed = ("image_id", "category_id", "bbox", *(("segmentation",) if masks else ()))
    for place, annotation in enumerate(annotations["annotations"]):
        lacking = [key for key in needed if key not in annotation]
        if lacking or len(annotation["bbox"]) != 4:
            raise ValueError(f"annotation {place} has no {' and '.join(lacking) or 'box of four'}")
        if annotation["image_id"] in wanted:
            width, height = annotation["bbox"][2:]
            box_area = {} if masks else {"area": width * height}
            kept.append({"iscrowd": 0, **box_area, **annotation, "id": len(kept) + 1})
    api = coco()
    api.dataset = {
        "info": {},
        "images": [dict(known[each]) for each in chosen],
        "annotations": kept,
        "categories": [dict(each) for each in annotations["categories"]],
    }
    with redirect_stdout(_Silent()):
        api.createIndex()
    if masks:
        _outline(api, kept)
    categories = tuple(sorted(api.cats))
    objects = sum(not each["iscrowd"] and each["category_id"] in api.cats for each in kept)
    return GroundTruth(api, tuple(chosen), categories, objects)


def _outline(api: Any, annotations: Sequence[dict[str, Any]]) -> None:
    """Turn polygons into pixels, as an evaluation does first; ValueError for what is neither."""
    for annotation in annotations:
        try:
            annotation["segmentation"] = api.annToRLE(annotation)
        # its errors are of whatever kind a mistake in the file leads to
        except Exception as exc:
            raise ValueError(
                f"the segmentation of an annotation of image {annotation['image_id']} is neither "
                f"polygons nor run lengths ({exc})"
            ) from exc
        if "area" not in annotation:
            annotation["area"] = float(_masks_library().area(annotation["segmentation"]))


@dataclass(frozen=True, slots=True)
class CocoFigures:
    """COCO's summary, as shares of 1; None where there is no object that it could be of.

    ``ap`` is AP@[.50:.95]; small, medium and large are COCO's areas; ``ar100`` is the recall of up
    to 100 boxes an image and category.
    """

    ap: float | None
    ap50: float | None
    ap75: float | None
    ap_small: float | None
    ap_medium: float | None
    ap_large: float | None
    ar100: float | None


@dataclass(frozen=True, slots=True, eq=False)
class CategoryMatches:
    """How the boxes of one category fared, in all images: what a resampled AP is made of.

    Rows of ``hit`` and ``miss`` are IoU thresholds; columns, like ``scores`` and ``image``, are
    boxes in the order of pycocotools: falling scores, of equals the earlier image first. A box that
    is neither counts for nothing (it found a crowd). ``image`` is the place in the ground truth's
    ``image_ids``, and ``objects`` how many objects each image has.
    """

    category_id: int
    scores: _Doubles
    image: Ints
    hit: Bools
    miss: Bools
    objects: Ints


@dataclass(frozen=True, slots=True, eq=False)
class CategoryFigures:
    """How one category fared: AP@[.50:.95], and which of its objects were found at an IoU of 0.5,
    by whatever score, in an order that is the same for every detector."""

    category_id: int
    ap: float
    found: Bools


@dataclass(frozen=True, slots=True, eq=False)
class Evaluation:
    """A detector's figures on some images, and the matches that they come from.

    ``categories`` are those that have an object. ``objects_in`` and ``found_in`` count the objects
    of each image, in the order of ``image_ids``, and those of them that were found at an IoU of
    0.5.
    """

    figures: CocoFigures
    image_ids: tuple[int, ...]
    objects: int
    detections: int
    matches: tuple[CategoryMatches, ...]
    categories: tuple[CategoryFigures, ...]
    objects_in: Ints
    found_in: Ints


def evaluate(
    truth: GroundTruth,
    detections: Sequence[Detections],
    category_ids: Sequence[int],
    *,
    masks: bool = False,
) -> Evaluation:
    """Score what was found in the images of the ground truth.

    ``category_ids`` says which category each class is (``detection.compact_categories`` and its
    like); boxes of a class without one are left out, as are those of images that are not scored.
    An image without detections counts as one in which nothing was found. ``masks``: by their
    overlap, not that of the boxes; a detection without one is left out, and the ground truth must
    have been prepared for it.
    """
    run = _evaluated(truth, _results(truth, detections, category_ids, masks=masks), masks=masks)
    precision, recall = run.eval["precision"], run.eval["recall"]
    by_area = [precision[:, :, :, area, -1] for area in range(len(_AREAS))]
    figures = CocoFigures(
        ap=_mean(by_area[0]),
        ap50=_mean(by_area[0][_AT_50]),
        ap75=_mean(by_area[0][_AT_75]),
        ap_small=_mean(by_area[1]),
        ap_medium=_mean(by_area[2]),
        ap_large=_mean(by_area[3]),
        ar100=_mean(recall[:, :, 0, -1]),
    )
    objects_in, found_in = _counted(run, truth)
    return Evaluation(
        figures=figures,
        image_ids=truth.image_ids,
        objects=truth.objects,
        detections=sum(len(each) for each in detections),
        matches=_matches(run, truth),
        categories=tuple(_categories(run, truth)),
        objects_in=objects_in,
        found_in=found_in,
    )


def ap_at(
    truth: GroundTruth,
    detections: Sequence[Detections],
    category_ids: Sequence[int],
    *,
    iou: float = 0.5,
    agnostic: bool = False,
    masks: bool = False,
) -> float:
    """Return the average precision at one IoU threshold; 0 where there is nothing to find.

    ``agnostic``: the classes do not matter, so that only the boxes are judged, or the ``masks``.
    """
    # any category that exists: a class that has none must not hide its box
    results = _results(truth, detections, None if agnostic else category_ids, masks=masks)
    run = _evaluated(truth, results, iou=iou, agnostic=agnostic, masks=masks)
    return _mean(run.eval["precision"]) or 0.0


def _library() -> tuple[Any, Any]:
    try:
        from pycocotools.coco import COCO  # noqa: PLC0415 # an extra
        from pycocotools.cocoeval import COCOeval  # noqa: PLC0415
    except ImportError as exc:
        raise UsageError(
            "the accuracy of a detector is computed by pycocotools, which is not installed: "
            "`pip install 'orchestrate-quantized[detection]'`"
        ) from exc
    return COCO, COCOeval


def _masks_library() -> Any:
    _library()  # which says what to install
    from pycocotools import mask  # noqa: PLC0415 # an extra

    return mask


def encoded(mask: Lit) -> dict[str, Any]:
    """Return the pixels of an image, [height, width], as pycocotools keeps them."""
    found: dict[str, Any] = _masks_library().encode(np.asfortranarray(mask).view(np.uint8))
    return found


def _results(
    truth: GroundTruth,
    detections: Sequence[Detections],
    category_ids: Sequence[int] | None,
    *,
    masks: bool = False,
) -> Any:
    """Detections as pycocotools has them; all of the first category where there is no mapping."""
    coco, _ = _library()
    scored = set(truth.image_ids)
    found: list[dict[str, Any]] = []
    for each in detections:
        if each.image_id not in scored:
            continue
        shapes = [_of_mask(one) for one in each.segments] if masks else _of_boxes(each)
        for shape, score, number in zip(
            shapes, each.scores.tolist(), each.classes.tolist(), strict=True
        ):
            category = _category(number, truth, category_ids)
            if category == NOTHING or not shape:
                continue
            found.append(
                {
                    "id": len(found) + 1,
                    "image_id": each.image_id,
                    "category_id": category,
                    "iscrowd": 0,
                    "score": score,
                    **shape,
                }
            )
    api = coco()
    # not loadRes, which fails where nothing was found, and copies every image
    api.dataset = {**truth.api.dataset, "annotations": found}
    with redirect_stdout(_Silent()):
        api.createIndex()
    return api


def _of_boxes(found: Detections) -> list[dict[str, Any]]:
    return [
        {"bbox": [x1, y1, x2 - x1, y2 - y1], "area": (x2 - x1) * (y2 - y1)}
        for x1, y1, x2, y2 in found.boxes.tolist()
    ]


def _of_mask(segment: Any) -> dict[str, Any]:
    """A mask, whose own area decides whether it is small; nothing of a detection without one."""
    if segment is None:
        return {}
    library = _masks_library()
    # a copy: an evaluation writes into what it is given
    return {
        "segmentation": dict(segment),
        "area": library.area(segment),
        "bbox": library.toBbox(segment).tolist(),
    }


def _category(number: int, truth: GroundTruth, category_ids: Sequence[int] | None) -> int:
    if category_ids is None:
        return truth.category_ids[0] if truth.category_ids else NOTHING
    return category_ids[number] if 0 <= number < len(category_ids) else NOTHING


def _evaluated(
    truth: GroundTruth,
    results: Any,
    *,
    iou: float | None = None,
    agnostic: bool = False,
    masks: bool = False,
) -> Any:
    """A finished run of pycocotools: COCO's own settings, or one threshold over all areas."""
    _, evaluator = _library()
    run = evaluator(truth.api, results, "segm" if masks else "bbox")
    run.params.imgIds = list(truth.image_ids)
    run.params.useCats = 0 if agnostic else 1
    if iou is not None:
        run.params.iouThrs = np.array([iou])
        run.params.areaRng, run.params.areaRngLbl = run.params.areaRng[:1], list(_AREAS[:1])
        run.params.maxDets = [MOST_DETECTIONS]
    with redirect_stdout(_Silent()):
        run.evaluate()
        run.accumulate()
    return run


def _mean(figures: _Doubles) -> float | None:
    present = figures[figures > -1]
    return float(np.mean(present)) if present.size else None


def _categories(run: Any, truth: GroundTruth) -> Iterator[CategoryFigures]:
    """Figures of each category over all areas."""
    images, areas = len(truth.image_ids), len(_AREAS)
    for place, category in enumerate(run.params.catIds):
        first = place * areas * images
        seen = [one for one in run.evalImgs[first : first + images] if one is not None]
        found = [_found(one) for one in seen]
        ap = _mean(run.eval["precision"][:, :, place, 0, -1])
        if ap is not None:
            yield CategoryFigures(int(category), ap, np.concatenate(found))


def _found(one: Mapping[str, Any]) -> Bools:
    """Which objects of an image and category were found at an IoU of 0.5; crowds are none."""
    found: Bools = one["gtMatches"][_AT_50][np.asarray(one["gtIgnore"]) == 0] != 0
    return found


def _counted(run: Any, truth: GroundTruth) -> tuple[Ints, Ints]:
    """How many objects each image has, and how many of them were found, over all areas."""
    images, areas = len(truth.image_ids), len(_AREAS)
    counts = np.zeros((2, images), dtype=np.int64)
    for category in range(len(run.params.catIds)):
        first = category * areas * images
        for place, one in enumerate(run.evalImgs[first : first + images]):
            if one is not None:
                found = _found(one)
                counts[0, place] += len(found)
                counts[1, place] += np.count_nonzero(found)
    return counts[0], counts[1]


def _matches(run: Any, truth: GroundTruth) -> tuple[CategoryMatches, ...]:
    """The matches over all areas, category by category; those without any object are left out."""
    images, areas = len(truth.image_ids), len(_AREAS)
    found = []
    for place, category in enumerate(run.params.catIds):
        first = place * areas * images
        each = [(n, run.evalImgs[first + n]) for n in range(images)]
        seen = [(n, one) for n, one in each if one is not None]
        objects = np.zeros(images, dtype=np.int64)
        for n, one in seen:
            objects[n] = np.count_nonzero(np.asarray(one["gtIgnore"]) == 0)
        if not objects.any():
            continue
        scores = np.concatenate([np.asarray(one["dtScores"], float) for _, one in seen])
        image = np.concatenate([np.full(len(one["dtScores"]), n) for n, one in seen])
        matched = np.concatenate([one["dtMatches"] for _, one in seen], axis=1) != 0
        ignored = np.concatenate([one["dtIgnore"] for _, one in seen], axis=1).astype(bool)
        order = np.argsort(-scores, kind="stable")
        matched, counts = matched[:, order], ~ignored[:, order]
        found.append(
            CategoryMatches(
                category_id=int(category),
                scores=scores[order],
                image=image[order].astype(np.int64),
                hit=matched & counts,
                miss=~matched & counts,
                objects=objects,
            )
        )
    return tuple(found)
