"""Annotated images without pixels, and what a fair detector would find in them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from orchestrate_agent.children.masks import masks_of
from orchestrator.measures.accuracy.answers import OutputAnswer, SampleAnswer
from orchestrator.measures.accuracy.geometry import Geometry, Placement, placement_of
from tests.unit.measures.accuracy.made import answer, as_masks, child_output, output

#: Ids with gaps, as COCO's have; the fourth never occurs.
CATEGORIES = (1, 2, 5, 13)
WIDTH, HEIGHT, INPUT = 640, 480, 320
PLACES = 12


@dataclass(frozen=True)
class Scenes:
    """Annotations, and in each image boxes [m, 4] (x1 y1 x2 y2), scores and classes as found."""

    annotations: dict[str, Any]
    image_ids: tuple[int, ...]
    found: tuple[tuple[NDArray[Any], NDArray[Any], NDArray[Any]], ...]


def scenes(images: int = 60, seed: int = 0, *, noise: float = 4.0, ties: bool = True) -> Scenes:
    """Up to four objects an image, none in every tenth; some are crowds. The detector misses some,
    sees some that are not there, is off by some pixels, and its scores are coarse."""
    rng = np.random.default_rng(seed)
    ids = tuple(int(each) for each in rng.permutation(np.arange(100, 100 + images)))
    annotations: list[dict[str, Any]] = []
    found = []
    for place, image_id in enumerate(ids):
        boxes, scores, classes = [], [], []
        for _ in range(0 if place % 10 == 9 else int(rng.integers(1, 5))):
            number = int(rng.integers(0, 3))
            size = rng.uniform(12, 220, 2)
            corner = rng.uniform(0, 1, 2) * (np.array([WIDTH, HEIGHT]) - size)
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image_id,
                    "category_id": CATEGORIES[number],
                    "bbox": [*corner.tolist(), *size.tolist()],
                    "area": float(size.prod()) * 0.8,
                    "iscrowd": int(rng.random() < 0.08),
                }
            )
            if rng.random() < 0.85:
                box = np.concatenate([corner, corner + size])
                boxes.append(box + rng.normal(0, noise, 4))
                scores.append(rng.uniform(0.4, 1))
                classes.append(number)
        for _ in range(int(rng.integers(0, 4))):
            corner = rng.uniform(0, 300, 2)
            boxes.append(np.concatenate([corner, corner + rng.uniform(20, 150, 2)]))
            scores.append(rng.uniform(0, 0.7))
            classes.append(int(rng.integers(0, 4)))
        order = np.argsort(scores)[::-1]
        coarse = np.round(np.array(scores)[order], 1 if ties else 9)
        found.append((np.array(boxes).reshape(-1, 4)[order], coarse, np.array(classes)[order]))
    return Scenes(
        {
            "images": [{"id": each, "width": WIDTH, "height": HEIGHT} for each in sorted(ids)],
            "annotations": annotations,
            "categories": [{"id": each, "name": f"thing {each}"} for each in CATEGORIES],
        },
        ids,
        tuple(found),
    )


def placements(images: Sequence[int]) -> list[Placement]:
    return [placement_of(WIDTH, HEIGHT, Geometry(INPUT, INPUT, "stretch")) for _ in images]


#: Pixels of a mask of a box, on either side: not square, so that a mistaken axis shows.
CROP = (24, 32)
#: The outline of every object, as parts of its box.
Corners: TypeAlias = "tuple[tuple[float, float], ...]"
CORNERS: Corners = ((0.0, 0.2), (0.7, 0.0), (1.0, 0.5), (0.4, 1.0), (0.1, 0.9))


def outlined(made: Scenes, corners: Corners = CORNERS) -> dict[str, Any]:
    """The same annotations with the outlines of objects: slanted ones of five corners, one in two
    parts here and there; crowds by the lengths of their runs, as COCO has them."""
    annotations = []
    for number, each in enumerate(made.annotations["annotations"]):
        x, y, width, height = each["bbox"]
        polygon = [at for u, v in corners for at in (x + u * width, y + v * height)]
        own: Any = [polygon]
        if each["iscrowd"]:
            lit = np.zeros((HEIGHT, WIDTH), bool)
            lit[int(y) : int(y + height), int(x) : int(x + width)] = True
            own = {"size": [HEIGHT, WIDTH], "counts": _runs(lit)}
        elif number % 5 == 0:
            own = [polygon, [x, y, x + 5, y, x, y + 5]]
        annotations.append({**each, "segmentation": own})
    return {**made.annotations, "annotations": annotations}


def _runs(lit: NDArray[Any]) -> list[int]:
    """Lengths of dark and lit runs in turn, column by column, as COCO's crowds have them."""
    column = np.concatenate([[0], lit.T.reshape(-1).astype(np.int8), [0]])
    edges = np.flatnonzero(np.diff(column))
    runs = np.diff(np.concatenate([[0], edges, [lit.size]]))
    return [int(run) for run in runs]


def crops(made: Scenes, seed: int = 0, corners: Corners = CORNERS) -> list[NDArray[np.float32]]:
    """A mask for each box, [m, 24, 32], of levels out of 255: that slanted outline, soft at its
    edge, a little noisy."""
    rng = np.random.default_rng(seed)
    v, u = (np.mgrid[0 : CROP[0], 0 : CROP[1]] + 0.5) / np.array(CROP)[:, None, None]
    edges = zip(corners, (*corners[1:], corners[0]), strict=True)
    inside = [
        ((qx - px) * (v - py) - (qy - py) * (u - px)) / np.hypot(qx - px, qy - py)
        for (px, py), (qx, qy) in edges
    ]
    soft = np.clip(0.5 + 12 * np.min(inside, axis=0), 0, 1)
    found = []
    for boxes, _, _ in made.found:
        noisy = soft + rng.normal(0, 0.05, (len(boxes), *CROP))
        found.append((np.rint(np.clip(noisy, 0, 1) * 255) / 255).astype(np.float32))
    return found


def with_masks(
    answers: Sequence[SampleAnswer], masks: Sequence[NDArray[Any]]
) -> list[SampleAnswer]:
    """The same answers with an output of masks, as a device tells it."""
    return [
        answer(
            each.key_index,
            *each.outputs,
            as_masks(masks_of(child_output("masks", own), None), (len(own), 1, *own.shape[1:])),
        )
        for each, own in zip(answers, masks, strict=True)
    ]


def as_answers(
    made: Scenes, order: Sequence[str] = ("boxes", "classes", "scores", "count"), base: int = 0
) -> list[SampleAnswer]:
    """The outputs of detection's post-processing: places beyond the count hold what an earlier
    image left there."""
    stale = (np.full((PLACES, 4), 0.5), np.full(PLACES, 0.99), np.zeros(PLACES))
    answers = []
    for place, (boxes, scores, classes) in enumerate(made.found):
        relative = boxes[:, [1, 0, 3, 2]] / np.array([HEIGHT, WIDTH, HEIGHT, WIDTH])
        count = len(scores)
        rows = [each.copy() for each in stale]
        for row, new in zip(rows, (relative, scores, classes + base), strict=True):
            row[:count] = new
        stale = (rows[0], rows[1], rows[2])
        named: dict[str, OutputAnswer] = {
            "boxes": output(rows[0], name="boxes", top=()),
            "scores": output(rows[1], name="scores", top=()),
            "classes": output(rows[2], name="classes", top=()),
            "count": output([float(count)], name="count", top=()),
        }
        answers.append(answer(place, *(named[name] for name in order)))
    return answers
