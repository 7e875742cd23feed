"""Samples → files that a device is given: one shard a trial, made once, found again by hash."""

from __future__ import annotations

import hashlib
import io
import json
import math
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from orchestrator.artifacts.files import (
    has_sha256,
    locked,
    make_folder,
    partial_name,
    put_in_place,
    remove_partials,
    translated,
    write_atomically,
)
from orchestrator.datasets.arrays import extracted, written_type
from orchestrator.datasets.dataset import Dataset, Item
from orchestrator.datasets.images import check_pillow, pillow_version, pixels_of
from orchestrator.errors import UsageError
from orchestrator.frameworks.images import random_images
from orchestrator.measures.accuracy.geometry import Geometry
from orchestrator.plain_files import created

#: Raised when the same recipe gives other bytes.
_FORMAT = 1
_INDEX = "shards.json"
_LOCK = ".lock"
_CHANNELS = 3
#: Images that are decoded at the same time; each takes the memory of one.
_WORKERS = 4
#: Samples that are in memory at the same time.
_AT_ONCE = 32
#: Samples that are looked at for what values they have.
_LOOKED_AT = 32


@dataclass(frozen=True)
class Shard:
    """A ``.npy`` file with one sample a row, in the order of the draw, from sample ``first`` on.

    Images are uint8, (count, height, width, 3); other samples have a type that a device reads.
    """

    path: Path
    sha256: str
    size_bytes: int
    first: int
    count: int


def prepare_shards(
    dataset: Dataset,
    geometry: Geometry | None,
    shard: int,
    cache: Path,
    *,
    on_progress: Callable[[int, int], None] | None = None,
) -> tuple[Shard, ...]:
    """Return the shards of a drawn data set, ``shard`` samples each, from ``cache`` or made anew.

    ``geometry`` is for images, and None for arrays, which are fed as they are. No more than a few
    samples are in memory. ``on_progress`` is told how many samples are done, and of how many.
    Raises UsageError naming a sample that cannot be read, ArtifactError where the cache cannot be
    written.
    """
    images = dataset.arrays is None
    if images is (geometry is None):
        raise ValueError("images have a geometry, and arrays have none")
    if any(each.path is not None and each.sha256 is None for each in dataset.items):
        raise ValueError("the samples were not drawn")
    if images and dataset.generated is None:
        check_pillow()
    recipe = _recipe(dataset, geometry, shard)
    text = json.dumps(recipe, sort_keys=True)
    folder = cache / hashlib.sha256(text.encode()).hexdigest()[:32]
    make_folder(folder)
    with locked(folder / _LOCK), translated(folder):
        found = _kept(folder, recipe)
        if found is None:
            remove_partials(folder)
            found = _made(dataset, geometry, shard, folder, on_progress)
            index = {"recipe": recipe, "shards": [_entry(each) for each in found]}
            write_atomically(folder / _INDEX, (json.dumps(index, indent=1) + "\n").encode())
    return found


@dataclass(frozen=True)
class Values:
    """The least and the largest value of some samples, and the share of the commonest one."""

    low: float
    high: float
    commonest: float


def values_of(shards: Sequence[Shard]) -> Values:
    """Look at the values of the first samples, as they lie in their file."""
    first = np.load(shards[0].path, mmap_mode="r")[:_LOOKED_AT]
    found, counts = np.unique(first, return_counts=True)
    return Values(float(found[0]), float(found[-1]), float(counts.max()) / first.size)


def sample_bytes(dataset: Dataset, geometry: Geometry | None) -> int:
    """Return how many bytes a sample has in a shard, before any is made."""
    if geometry is not None:
        return geometry.height * geometry.width * _CHANNELS
    return math.prod(dataset.row_shape) * written_type(np.dtype(dataset.row_type)).itemsize


def find_shard(cache: Path, sha256: str) -> Path | None:
    """Return the file of a shard that was made once, by whatever recipe; None where it is gone or
    damaged."""
    paths = cache.glob(f"*/{sha256}.npy") if sha256.isalnum() else ()
    return next((path for path in paths if has_sha256(path, sha256)), None)


def _recipe(dataset: Dataset, geometry: Geometry | None, shard: int) -> dict[str, Any]:
    """All that determines the bytes; the digest is of the drawn samples in their order."""
    from_files = geometry is not None and dataset.generated is None
    return {
        "format": _FORMAT,
        "dataset": dataset.digest,
        "geometry": None if geometry is None else asdict(geometry),
        "shard": shard,
        "pillow": pillow_version() if from_files else None,
    }


def _entry(shard: Shard) -> dict[str, Any]:
    return {
        "sha256": shard.sha256,
        "size_bytes": shard.size_bytes,
        "first": shard.first,
        "count": shard.count,
    }


def _kept(folder: Path, recipe: dict[str, Any]) -> tuple[Shard, ...] | None:
    """The shards that were made before; None where one is missing or is not what it was."""
    try:
        index = json.loads((folder / _INDEX).read_bytes())
        if index["recipe"] != recipe:
            return None
        entries = [Shard(folder / f"{each['sha256']}.npy", **each) for each in index["shards"]]
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None
    whole = all(has_sha256(each.path, each.sha256) for each in entries)
    return tuple(entries) if whole else None


def _made(
    dataset: Dataset,
    geometry: Geometry | None,
    shard: int,
    folder: Path,
    on_progress: Callable[[int, int], None] | None,
) -> tuple[Shard, ...]:
    found = []
    total = len(dataset.items)
    with _rows_of(dataset, geometry, folder) as rows:
        for first in range(0, total, shard):
            items = dataset.items[first : first + shard]
            found.append(_written(items, rows, folder, first))
            if on_progress is not None:
                on_progress(first + len(items), total)
    return tuple(found)


def _written(
    items: Sequence[Item],
    rows: Callable[[Sequence[Item]], npt.NDArray[Any]],
    folder: Path,
    first: int,
) -> Shard:
    """A shard of these samples, a few of them in memory at a time."""
    digest = hashlib.sha256()
    partial = partial_name(folder / f"from-{first}")
    with created(partial) as file:
        for begin in range(0, len(items), _AT_ONCE):
            some = rows(items[begin : begin + _AT_ONCE])
            parts = [some.tobytes()] if begin else [_header(some, len(items)), some.tobytes()]
            for part in parts:
                digest.update(part)
                file.write(part)
        file.flush()
        os.fsync(file.fileno())
        size_bytes = file.tell()
    sha256 = digest.hexdigest()
    path = folder / f"{sha256}.npy"
    put_in_place(partial, path)
    return Shard(path, sha256, size_bytes, first, len(items))


def _header(some: npt.NDArray[Any], count: int) -> bytes:
    """What stands before ``count`` rows like these, in NumPy's format of 2.3.0 and before alike."""
    header = io.BytesIO()
    described = np.lib.format.header_data_from_array_1_0(some)
    np.lib.format.write_array_header_1_0(header, described | {"shape": (count, *some.shape[1:])})
    return header.getvalue()


@contextmanager
def _rows_of(
    dataset: Dataset, geometry: Geometry | None, folder: Path
) -> Iterator[Callable[[Sequence[Item]], npt.NDArray[Any]]]:
    """What makes an array of some samples."""
    if geometry is None:
        if dataset.arrays is None:
            raise ValueError("images have a geometry")
        with extracted(dataset.arrays, folder) as source:
            yield lambda items: _of_array(dataset.arrays, source, items)
    elif dataset.generated is not None:
        seed = dataset.generated
        yield lambda items: np.stack([_generated(each, seed, geometry) for each in items])
    else:
        workers = min(_WORKERS, os.cpu_count() or 1)
        with ThreadPoolExecutor(workers) as pool:
            yield lambda items: np.stack(
                list(pool.map(lambda each: pixels_of(each, geometry), items))
            )


def _of_array(
    path: Path | None, source: npt.NDArray[Any], items: Sequence[Item]
) -> npt.NDArray[Any]:
    """The rows of these samples, as a device reads them."""
    rows = np.ascontiguousarray(source[np.array([each.row for each in items])])
    if rows.dtype.kind == "f" and not np.isfinite(rows).all():
        wrong = next(each for each in items if not np.isfinite(source[each.row]).all())
        raise UsageError(
            f"data set {path}: x is not finite in row {wrong.key}; take the row out of the file"
        )
    return rows.astype(written_type(rows.dtype))


def _generated(item: Item, seed: int, geometry: Geometry) -> npt.NDArray[np.uint8]:
    side = max(geometry.height, geometry.width)
    image = next(random_images(1, side, seed * 1_000_003 + (item.row or 0)))[0]
    pixels: npt.NDArray[np.uint8] = np.rint(image[: geometry.height, : geometry.width]).astype("u1")
    return pixels
