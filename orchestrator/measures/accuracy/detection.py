"""A detector's raw outputs as boxes in the image, read as the suite describes them. Pure.

Nothing is guessed from an output's position: a role names its output, and formats, units and the
first class are stated. ``coco`` scores what is read here, ``rereading`` tries the known mistakes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from orchestrator.measures.accuracy.answers import NOTHING, Ints, SampleAnswer, named_outputs
from orchestrator.measures.accuracy.geometry import Placement
from orchestrator.measures.accuracy.masks import COVERS, Lit, Masks, of_image

_Doubles: TypeAlias = "NDArray[np.float64]"

#: What four numbers of a box can mean: which columns hold x and y of both points, and whether these
#: are two corners, a corner and a size, or a centre and a size.
FORMATS: dict[str, tuple[tuple[int, int, int, int], str]] = {
    "xyxy": ((0, 1, 2, 3), "corners"),
    "yxyx": ((1, 0, 3, 2), "corners"),
    "xywh": ((0, 1, 2, 3), "size"),
    "yxhw": ((1, 0, 3, 2), "size"),
    "cxcywh": ((0, 1, 2, 3), "centre"),
    "cycxhw": ((1, 0, 3, 2), "centre"),
}
#: What the numbers count: parts of the model's input, its pixels, pixels of the original image,
#: or parts of the original image's longer side on both axes.
UNITS = ("normalized", "pixels", "image_pixels", "longer_side")


@dataclass(frozen=True, slots=True)
class Roles:
    """Which output holds what, and how it is to be read.

    ``boxes``, ``scores``, ``classes`` and ``count`` are names of outputs. Where the first three are
    one name, the output's columns are four of the box, the score, the class. Without ``classes``
    the scores have a column a class, and a box is of its best one (of equals, the lowest). Without
    ``count`` every place counts. ``class_base`` is the number that the model gives the first class
    of objects: 1 where 0 is the background. ``masks`` holds one for each place, which is of what
    ``masks_cover`` says.
    """

    boxes: str
    scores: str
    classes: str | None
    count: str | None = None
    format: str = "yxyx"
    units: str = "normalized"
    class_base: int = 0
    masks: str | None = None
    masks_cover: str = "box"

    def __post_init__(self) -> None:
        if self.masks_cover not in COVERS:
            raise ValueError(f"masks_cover {self.masks_cover!r} is not one of {', '.join(COVERS)}")
        if self.format not in FORMATS:
            raise ValueError(f"format {self.format!r} is not one of {', '.join(FORMATS)}")
        if self.units not in UNITS:
            raise ValueError(f"units {self.units!r} is not one of {', '.join(UNITS)}")


@dataclass(frozen=True, slots=True, eq=False)
class Detections:
    """What was found in one image.

    ``boxes`` are [m, 4]: left, top, right, bottom in pixels of the original image, not clipped to
    it. ``scores`` are [m]. ``classes`` are [m], 0 for the first class of objects. ``dropped``
    counts places that are left out because a number of theirs is not finite. ``places`` are where
    the others stood among the model's outputs, and ``segments`` their masks as the scorer has them,
    None where there is none; empty where masks were not asked for.
    """

    image_id: int
    boxes: _Doubles
    scores: _Doubles
    classes: Ints
    dropped: int = 0
    places: tuple[int, ...] = ()
    segments: tuple[Any, ...] = field(default=(), repr=False)

    def __len__(self) -> int:
        return len(self.scores)


def read(
    answers: Sequence[SampleAnswer],
    roles: Roles,
    image_ids: Sequence[int],
    placements: Sequence[Placement],
) -> tuple[Detections, ...]:
    """Read every sample's outputs; ids and placements are the samples', in the same order.

    Raises ValueError that names the output where it is missing, was not sent whole, or has a shape
    that its role cannot have.
    """
    return tuple(
        read_sample(answer, roles, image_id, placement)
        for answer, image_id, placement in zip(answers, image_ids, placements, strict=True)
    )


def read_sample(
    answer: SampleAnswer, roles: Roles, image_id: int, placement: Placement
) -> Detections:
    """Read the outputs of one sample. Raises ValueError as :func:`read` does."""
    raw, scores, classes = _columns(answer, roles)
    places = len(scores)
    if roles.count is not None:
        # what stands behind the count is of earlier images, in the fast form of the operator
        counted = _values(answer, roles.count).reshape(-1)
        places = int(np.clip(np.nan_to_num(np.rint(counted[0])), 0, places)) if counted.size else 0
    raw, scores, classes = raw[:places], scores[:places], classes[:places]
    finite = np.isfinite(raw).all(axis=1) & np.isfinite(scores) & np.isfinite(classes)
    boxes = to_image(raw[finite], roles.format, roles.units, placement)
    return Detections(
        image_id=image_id,
        boxes=boxes,
        scores=scores[finite],
        classes=np.rint(classes[finite]).astype(np.int64) - roles.class_base,
        dropped=int(np.count_nonzero(~finite)),
        places=tuple(np.flatnonzero(finite).tolist()),
    )


def segments(
    answer: SampleAnswer,
    roles: Roles,
    found: Detections,
    placement: Placement,
    encode: Callable[[Lit], Any],
    *,
    swapped: bool = False,
) -> tuple[Any, ...]:
    """Return the mask of each detection as ``encode`` makes it of the pixels of the original image,
    [height, width]; None where the device told none. ``swapped``: read as if the model gave width
    before height. Raises ValueError as :func:`read` does."""
    number_of = {place: number for number, place in enumerate(found.places)}
    made: list[Any] = [None] * len(found)
    # one at a time: a hundred masks of a large image would fill the memory
    for place, levels in masks_of(answer).decoded():
        number = number_of.get(place)
        if number is not None:
            box = found.boxes[number].tolist()
            upright = levels.T if swapped else levels
            made[number] = encode(of_image(upright, roles.masks_cover, box, placement))
    return tuple(made)


def masks_of(answer: SampleAnswer) -> Masks:
    """Return the masks of a sample; the device tells those of one output. Raises ValueError where
    there are none, or other values than shares."""
    name, masks = next(
        ((each.name, each.masks) for each in answer.outputs if each.masks is not None), ("", None)
    )
    if masks is None:
        raise ValueError("the device told no masks: its agent is older than this, or was not asked")
    if masks.places and masks.low is None:
        raise ValueError(f"output {name!r} holds masks of which some values are not finite")
    if not masks.are_shares:
        raise ValueError(
            f"output {name!r} holds values from {masks.low} to {masks.high}, and masks are shares "
            "from 0 to 1; end the network in a sigmoid"
        )
    return masks


def _columns(answer: SampleAnswer, roles: Roles) -> tuple[_Doubles, _Doubles, _Doubles]:
    """Boxes [n, 4], scores [n] and classes [n] as the model gave them."""
    boxes = _values(answer, roles.boxes)
    if roles.boxes == roles.scores == roles.classes:
        if boxes.shape[-1:] != (6,):
            raise ValueError(
                f"output {roles.boxes!r} is said to hold boxes, scores and classes, and has the "
                f"shape {boxes.shape}: six columns are needed"
            )
        rows = boxes.reshape(-1, 6)
        return rows[:, :4], rows[:, 4], rows[:, 5]
    # of a single place the dimension of places was taken for that of the batch
    if boxes.shape[-1:] != (4,):
        raise ValueError(
            f"output {roles.boxes!r} cannot hold boxes: its shape is {boxes.shape}, and the last "
            "dimension of boxes is 4"
        )
    rows = boxes.reshape(-1, 4)
    scores = _values(answer, roles.scores)
    if roles.classes is None:
        if scores.size % max(1, len(rows)) or scores.size < len(rows):
            raise _unlike(roles.scores, scores.shape, len(rows))
        table = scores.reshape(len(rows), -1)
        best = np.where(np.isnan(table), -np.inf, table).argmax(axis=1) if len(rows) else []
        best = np.asarray(best, dtype=np.int64)
        # the columns begin with whatever the model counts first, the background included
        return rows, table[np.arange(len(rows)), best], best.astype(np.float64)
    classes = _values(answer, roles.classes)
    for name, found in ((roles.scores, scores), (roles.classes, classes)):
        if found.size != len(rows):
            raise _unlike(name, found.shape, len(rows))
    return rows, scores.reshape(-1), classes.reshape(-1)


def _unlike(name: str, shape: tuple[int, ...], boxes: int) -> ValueError:
    return ValueError(f"output {name!r} of shape {shape} does not belong to {boxes} boxes")


def _values(answer: SampleAnswer, name: str) -> _Doubles:
    output = next((each for each in answer.outputs if each.name == name), None)
    if output is None:
        has = ", ".join(f"{each.name} {each.shape}" for each in answer.outputs) or "none"
        raise ValueError(f"the model has no output {name!r} (it has: {has})")
    if output.values is None:
        raise ValueError(f"output {name!r} of shape {output.shape} was too large to be kept whole")
    return np.asarray(output.values, dtype=np.float64).reshape(output.shape)


def to_image(raw: _Doubles, box_format: str, units: str, placement: Placement) -> _Doubles:
    """Return boxes as left, top, right, bottom in pixels of the original image."""
    columns, kind = FORMATS[box_format]
    x, y, third, fourth = (raw[:, column] for column in columns)
    if kind == "corners":
        boxes = np.stack([x, y, third, fourth], axis=1)
    elif kind == "size":
        boxes = np.stack([x, y, x + third, y + fourth], axis=1)
    else:
        halves = third / 2, fourth / 2
        boxes = np.stack([x - halves[0], y - halves[1], x + halves[0], y + halves[1]], axis=1)
    if units == "image_pixels":
        return boxes
    if units == "longer_side":
        return boxes * max(placement.width, placement.height)
    if units == "normalized":
        boxes = boxes * np.tile([placement.input_width, placement.input_height], 2)
    offsets = np.tile([placement.left, placement.top], 2)
    return np.asarray((boxes - offsets) / np.tile([placement.scale_x, placement.scale_y], 2))


# -- the outputs of a post-processing operator, told apart by what they are


def postprocess_roles(answers: Sequence[SampleAnswer]) -> Roles:
    """Return the roles of an operator with four outputs: boxes, classes, scores and their count.

    Exporters differ in the outputs' order and names, so they are told apart by what they hold over
    all samples: boxes have four columns, the count is a single number, classes are whole numbers,
    and scores lie between 0 and 1 and fall from place to place. Boxes are top, left, bottom,
    right in parts of the input, and classes count without the background. Raises ValueError where
    two outputs could be the same thing.
    """
    names = named_outputs(answers)
    if len(names) != 4:
        raise ValueError(
            f"the model has {len(names)} outputs ({', '.join(names) or 'none'}), and detection's "
            "post-processing has four: describe them under `outputs:`"
        )
    held = {name: [_values(answer, name) for answer in answers] for name in names}
    found = _told_apart(held)
    if found is None:
        told = ", ".join(f"{name} {held[name][0].shape}" for name in names)
        raise ValueError(
            f"which of the outputs are boxes, classes, scores and count cannot be told from what "
            f"they hold ({told}): name them under `outputs:`"
        )
    return found


def _told_apart(held: Mapping[str, Sequence[_Doubles]]) -> Roles | None:
    """The roles of four outputs, each with its values of every sample; None where two could be
    one."""
    # fewest values, and of a single place fewest dimensions: the count; most of both: the boxes
    ordered = sorted(held, key=lambda name: (held[name][0].size, held[name][0].ndim))
    count, *rows, boxes = ordered
    sizes = {name: {values.size for values in held[name]} for name in ordered}
    shapes = [(held[name][0].size, held[name][0].ndim) for name in ordered]
    if sizes[count] != {1} or shapes[0] == shapes[1] or held[boxes][0].shape[-1:] != (4,):
        return None
    if any(sizes[row] != {size // 4 for size in sizes[boxes]} for row in rows):
        return None
    counted = [int(np.nan_to_num(values.reshape(-1)[0])) for values in held[count]]
    shown = {
        row: [v.reshape(-1)[: max(0, c)] for v, c in zip(held[row], counted, strict=True)]
        for row in rows
    }
    scores = [row for row in rows if all(_like_scores(each) for each in shown[row])]
    classes = [row for row in rows if all(_like_classes(each) for each in shown[row])]
    # classes that never rise from 0 look like scores too; real scores are hardly ever whole
    if len(scores) == 2 and len(classes) == 1:
        scores.remove(classes[0])
    if len(classes) == 2 and len(scores) == 1:
        classes.remove(scores[0])
    if len(scores) != 1 or len(classes) != 1 or scores == classes:
        return None
    return Roles(boxes, scores[0], classes[0], count)


def _like_scores(row: _Doubles) -> bool:
    return bool(((row >= 0) & (row <= 1)).all() and (np.diff(row) <= 0).all())


def _like_classes(row: _Doubles) -> bool:
    return bool(((row >= 0) & (row == np.rint(row))).all())


# -- which category of the annotations a class is


def compact_categories(annotations: Mapping[str, Any]) -> tuple[int, ...]:
    """Return the categories' ids in rising order: COCO's 80 classes without gaps."""
    return tuple(sorted(int(category["id"]) for category in annotations["categories"]))


def numbered_categories(annotations: Mapping[str, Any]) -> tuple[int, ...]:
    """Return the category whose id is the class plus one, ``NOTHING`` where there is none: COCO's
    90 numbers with their gaps, the first being 1."""
    ids = set(compact_categories(annotations))
    return tuple(each if each in ids else NOTHING for each in range(1, max(ids, default=0) + 1))


def named_categories(annotations: Mapping[str, Any], labels: Sequence[str]) -> tuple[int, ...]:
    """Return the category that has each label's name, ``NOTHING`` where none has (a background, a
    gap). Raises ValueError where not one name is a category's, or two categories share a name."""
    by_name: dict[str, int] = {}
    for category in annotations["categories"]:
        name = str(category["name"]).strip().casefold()
        if name in by_name:
            raise ValueError(f"two categories of the annotations are called {name!r}")
        by_name[name] = int(category["id"])
    found = tuple(by_name.get(label.strip().casefold(), NOTHING) for label in labels)
    if all(each == NOTHING for each in found):
        raise ValueError("not one of the labels is the name of a category of the annotations")
    return found
