"""The samples that accuracy is measured on, and the draw of some of them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from orchestrator.artifacts.files import sha256_of
from orchestrator.errors import UsageError


@dataclass(frozen=True)
class Item:
    """One sample: ``label`` is the number of the output that is right, None where there is none.

    ``key`` names it in its data set: an image's path in there, or the row of an array (``row``).
    ``image_id`` is that of COCO's annotations, and ``size`` the (width, height) that they are for.
    ``sha256`` is that of the image's file, known once it was drawn.
    """

    key: str
    label: int | None = None
    path: Path | None = None
    row: int | None = None
    image_id: int | None = None
    size: tuple[int, int] | None = None
    sha256: str | None = None


@dataclass(frozen=True)
class Dataset:
    """Samples in an order, and what they are called.

    ``classes`` are names by the number of the output, empty where nobody says the name. ``digest``
    says which samples these are: of all that were found their names, labels and sizes, of those
    that were drawn the bytes. ``source`` says where they come from, without a person's home folder.

    ``arrays`` is the file whose rows they are, of a type and a shape; ``generated`` the seed of
    images that nobody has on disk. Of detection, ``truth`` is COCO's annotations of these images,
    and ``category_ids`` the category that each of the detector's classes means, ``NOTHING`` where
    it means none of them.
    """

    items: tuple[Item, ...]
    classes: tuple[str, ...]
    digest: str
    source: str
    arrays: Path | None = None
    row_type: str = ""
    row_shape: tuple[int, ...] = ()
    generated: int | None = None
    truth: Mapping[str, Any] | None = None
    category_ids: tuple[int, ...] = ()


def ranked(dataset: Dataset, samples: int | None, seed: int) -> Dataset:
    """Return so many samples of the data set, or all there are, in the order of the draw, no file
    of which is opened: the digest is not that of their bytes.

    The draw depends on the seed and the samples' names alone: not on the machine, the version of a
    library, or what else was drawn.
    """
    order = sorted(dataset.items, key=lambda each: (_rank(seed, each.key), each.key))
    return replace(dataset, items=tuple(order[:samples]))


def draw(dataset: Dataset, samples: int | None, seed: int) -> Dataset:
    """Return so many samples of the data set, or all there are, as :func:`ranked` draws them.

    The files are read, so that the digest is that of their bytes. Raises UsageError naming a file
    that cannot be read.
    """
    items = tuple(_hashed(each) for each in ranked(dataset, samples, seed).items)
    images = {each.image_id for each in items}
    truth = None if dataset.truth is None else _of_images(dataset.truth, images)
    lines = [*map(drawn_line, items)]
    if dataset.arrays is not None:
        lines.append(_hash_of(dataset.arrays))
    if dataset.generated is not None:
        lines.append(f"generated {dataset.generated}")
    if truth is not None:
        lines.append(json.dumps([truth, dataset.category_ids], sort_keys=True))
    return replace(dataset, items=items, truth=truth, digest=digest_of(lines))


def drawn_line(item: Item) -> str:
    """What the digest of drawn samples is made of: a line a sample, with the hash of its bytes."""
    return f"{item.key} {item.label} {item.sha256}"


def digest_of(lines: Iterable[str]) -> str:
    """SHA-256 of lines of text, in hex."""
    digest = hashlib.sha256()
    for line in lines:
        digest.update(line.encode("utf-8", "surrogateescape") + b"\n")
    return digest.hexdigest()


def _rank(seed: int, key: str) -> bytes:
    return hashlib.sha256(f"{seed} {key}".encode("utf-8", "surrogateescape")).digest()


def _hashed(item: Item) -> Item:
    return item if item.path is None else replace(item, sha256=_hash_of(item.path))


def _hash_of(path: Path) -> str:
    try:
        return sha256_of(path)
    except OSError as exc:
        raise UsageError(
            f"{path}: cannot be read ({exc.strerror or exc}); restore it, or take it out of the "
            "data set"
        ) from exc


def _of_images(truth: Mapping[str, Any], images: set[int | None]) -> Mapping[str, Any]:
    return {
        **truth,
        "images": [each for each in truth["images"] if each["id"] in images],
        "annotations": [each for each in truth["annotations"] if each["image_id"] in images],
    }
