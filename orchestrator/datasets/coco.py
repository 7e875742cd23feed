"""Images with boxes and masks, annotated as COCO's are."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from orchestrator.config.accuracy import SEGMENTATION, Accuracy
from orchestrator.config.text import listed, shown
from orchestrator.config.values import in_home
from orchestrator.datasets.dataset import Dataset, Item, digest_of
from orchestrator.datasets.labels import read_lines
from orchestrator.errors import UsageError
from orchestrator.measures.accuracy.detection import (
    compact_categories,
    named_categories,
    numbered_categories,
)
from orchestrator.plain_files import read_named

_MOST_BYTES = 2**30
_LARGEST_SIDE = 1_000_000
#: What of an entry is kept. Masks are most of the file, so they are only where they are scored.
_OF_IMAGES = ("id", "file_name", "width", "height")
_OF_ANNOTATIONS = ("image_id", "category_id", "bbox", "area", "iscrowd")
_MASK = "segmentation"
_OF_CATEGORIES = ("id", "name", "supercategory")


def find_coco(section: Accuracy) -> Dataset:
    """Return the images that an annotations file lists, those without an object included.

    Raises UsageError naming what is wrong in the file, or an image that is not there.
    """
    place = section.dataset
    if place is None or place.images is None or place.annotations is None:
        raise ValueError("the section names no annotations")
    truth = _Truth(place.annotations, masks=section.task == SEGMENTATION)
    items = tuple(truth.item(each, place.images) for each in truth.images)
    categories, classes = _categories(section, truth)
    return Dataset(
        items=items,
        classes=classes,
        digest=digest_of([json.dumps([truth.kept, categories], sort_keys=True)]),
        source=in_home(str(place.images)),
        truth=truth.kept,
        category_ids=categories,
    )


class _Truth:
    """An annotations file, checked: every id is known, every box has a size, and with ``masks``
    every object has one."""

    def __init__(self, path: Path, *, masks: bool) -> None:
        self.path = path
        self._masks = masks
        data = _read(path)
        self.images = self._entries(data, "images")
        self.categories = sorted(self._entries(data, "categories"), key=lambda each: each["id"])
        self._check_images()
        known = (
            {each["id"]: (each["height"], each["width"]) for each in self.images},
            {each["id"] for each in self.categories},
        )
        annotations = data.get("annotations")
        if not isinstance(annotations, list):
            raise self._wrong("`annotations` is not a list", "use a file of instances")
        boxes = [self._annotation(n, each, *known) for n, each in enumerate(annotations)]
        self.kept: Mapping[str, Any] = {
            "images": [_only(each, _OF_IMAGES) for each in self.images],
            "annotations": boxes,
            "categories": [_only(each, _OF_CATEGORIES) for each in self.categories],
        }

    def item(self, image: Mapping[str, Any], folder: Path) -> Item:
        """The sample that an entry of the images means."""
        name = image["file_name"]
        inside = PurePosixPath(name)
        if inside.is_absolute() or ".." in inside.parts:
            raise self._wrong(f"the image {shown(name)} does not lie in its folder", "correct it")
        path = folder / inside
        if not path.is_file():
            raise UsageError(
                f"data set {folder}: there is no image {shown(name)}, which {self.path} lists; "
                "check `images`, or use the annotations of these images"
            )
        size = (image["width"], image["height"])
        return Item(inside.as_posix(), path=path, image_id=image["id"], size=size)

    def _entries(self, data: Mapping[str, Any], key: str) -> list[Mapping[str, Any]]:
        entries = data.get(key)
        if not isinstance(entries, list) or not entries:
            raise self._wrong(f"holds no `{key}`", "use a file of instances, as COCO has them")
        seen: set[int] = set()
        for number, each in enumerate(entries):
            if not isinstance(each, dict) or type(each.get("id")) is not int:
                raise self._wrong(f"{key}[{number}] has no `id`", "give it a whole number")
            if each["id"] in seen:
                raise self._wrong(f"the id {each['id']} is twice in `{key}`", "make it unique")
            seen.add(each["id"])
            name = "file_name" if key == "images" else "name"
            if not isinstance(each.get(name), str) or not each[name].strip():
                raise self._wrong(f"{key}[{number}] has no `{name}`", "write it")
        return entries

    def _check_images(self) -> None:
        names: set[str] = set()
        for number, each in enumerate(self.images):
            if each["file_name"] in names:
                name = shown(each["file_name"])
                raise self._wrong(f"the image {name} is listed twice", "take one of them out")
            names.add(each["file_name"])
            for side in ("width", "height"):
                if type(each.get(side)) is not int or not 1 <= each[side] <= _LARGEST_SIDE:
                    raise self._wrong(f"images[{number}] has no `{side}`", "write it in pixels")

    def _annotation(
        self,
        number: int,
        entry: Any,
        images: Mapping[int, tuple[int, int]],
        categories: set[int],
    ) -> dict[str, Any]:
        where = f"annotations[{number}]"
        if not isinstance(entry, dict):
            raise self._wrong(f"{where} is not keys and values", "use a file of instances")
        for key, known in (("image_id", images), ("category_id", categories)):
            if type(entry.get(key)) is not int or entry[key] not in known:
                raise self._wrong(
                    f"{where}: `{key}` is {shown(str(entry.get(key)))}, which nothing listed has",
                    "correct it, or take the annotation out",
                )
        box = entry.get("bbox")
        if not isinstance(box, list) or len(box) != 4 or not all(map(_is_number, box)):
            raise self._wrong(f"{where}: `bbox` is not four numbers", "write [x, y, width, height]")
        if box[2] < 0 or box[3] < 0:
            raise self._wrong(
                f"{where}: `bbox` {box} has a negative size", "write [x, y, width, height]"
            )
        if not _is_number(entry.get("area", 0)) or entry.get("iscrowd", 0) not in (0, 1):
            raise self._wrong(f"{where}: `area` or `iscrowd` is not a number", "correct it")
        if not self._masks:
            return _only(entry, _OF_ANNOTATIONS)
        if not _is_mask(entry.get(_MASK), images[entry["image_id"]]):
            raise self._wrong(
                f"{where}: `{_MASK}` is neither polygons nor run lengths of the image's size",
                "use a file of instances, or `task: detection`, which needs boxes alone",
            )
        return _only(entry, (*_OF_ANNOTATIONS, _MASK))

    def _wrong(self, what: str, step: str) -> UsageError:
        return UsageError(f"annotations {self.path}: {what}; {step}")


def _read(path: Path) -> Mapping[str, Any]:
    try:
        data = json.loads(read_named(path, most_bytes=_MOST_BYTES))
    except OSError as exc:
        raise UsageError(f"annotations {path}: {exc.strerror or exc}; check the path") from exc
    except (ValueError, RecursionError) as exc:
        raise UsageError(f"annotations {path}: not JSON ({exc}); fetch the file again") from exc
    if not isinstance(data, dict):
        raise UsageError(f"annotations {path}: not annotations as COCO's; use a file of instances")
    return data


def _only(entry: Mapping[str, Any], keys: Sequence[str]) -> dict[str, Any]:
    return {key: entry[key] for key in keys if key in entry}


def _is_number(value: object) -> bool:
    real = isinstance(value, int | float) and not isinstance(value, bool)
    return real and math.isfinite(float(value))  # type: ignore[arg-type]


def _is_mask(value: object, size: tuple[int, int]) -> bool:
    """Whether it is what COCO has for the pixels of an object: polygons of three corners at least,
    or the lengths of runs, plain or packed, of an image of this height and width."""
    if isinstance(value, dict):
        counts = value.get("counts")
        if value.get("size") != list(size):
            return False
        if isinstance(counts, str):
            return bool(counts)
        whole = isinstance(counts, list) and all(type(n) is int and n >= 0 for n in counts)
        return whole and sum(counts) == size[0] * size[1]  # type: ignore[arg-type] # a list
    return (
        isinstance(value, list)
        and bool(value)
        and all(
            isinstance(polygon, list)
            and len(polygon) >= 6
            and len(polygon) % 2 == 0
            and all(map(_is_number, polygon))
            for polygon in value
        )
    )


def _categories(section: Accuracy, truth: _Truth) -> tuple[tuple[int, ...], tuple[str, ...]]:
    """The category that each class of the detector means, and what the classes are called."""
    names = {each["id"]: str(each["name"]) for each in truth.categories}
    if section.labels is not None:
        lines = read_lines(section.labels)
        try:
            found = named_categories(truth.kept, lines)
        except ValueError as exc:
            raise UsageError(f"labels {section.labels} with {truth.path}: {exc}") from exc
        missing = sorted(name for number, name in names.items() if number not in found)
        if missing:
            raise UsageError(
                f"labels {section.labels}: has no line for {listed(missing)}, which {truth.path} "
                "annotates; write one class a line, called as the categories are"
            )
        return found, lines
    first, last = min(names), max(names)
    if section.categories == "ids" and first < 1:
        raise UsageError(
            f"annotations {truth.path}: ids of categories begin at {first}, and `categories: ids` "
            "counts from 1 as COCO does; write `categories: order`"
        )
    counted = first in (0, 1) and last - first + 1 == len(names)
    if section.categories is None and not counted:
        raise UsageError(
            f"annotations {truth.path}: {len(names)} categories have ids from {first} to {last}; "
            f"say how the model numbers its classes: `categories: ids` ({last} of them, some "
            f"unused), `categories: order` ({len(names)} of them), or give `labels`"
        )
    by_id = section.categories == "ids"
    ids = numbered_categories(truth.kept) if by_id else compact_categories(truth.kept)
    return ids, tuple(names.get(each, "") for each in ids)
