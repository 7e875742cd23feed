"""Samples in a ``.npz`` file: ``x`` has one a row, ``y`` the number of its class."""

from __future__ import annotations

import math
import shutil
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from orchestrator.config.accuracy import AGREEMENT, Accuracy
from orchestrator.config.text import listed, shown
from orchestrator.config.values import in_home
from orchestrator.datasets.dataset import Dataset, Item, digest_of
from orchestrator.datasets.labels import read_lines
from orchestrator.errors import UsageError

#: Kind and bytes of a value → what it is in a shard.
_WRITTEN = {
    "b1": "|u1",
    "u1": "|u1",
    "i1": "|i1",
    "i2": "<i2",
    "u2": "<i4",
    "i4": "<i4",
    "u4": "<i8",
    "i8": "<i8",
    "f2": "<f4",
    "f4": "<f4",
    "f8": "<f4",
}
_MOST_SAMPLES = 10_000_000
_MOST_DIMENSIONS = 8
_CHUNK_BYTES = 4 * 2**20


@dataclass(frozen=True)
class Header:
    """What stands before the values of an array."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    fortran: bool

    @property
    def size_bytes(self) -> int:
        """How many bytes the values have."""
        return math.prod(self.shape) * self.dtype.itemsize


def written_type(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """The type that values of this one have in a shard, which a device reads without NumPy."""
    return np.dtype(_WRITTEN[f"{dtype.kind}{dtype.itemsize}"])


def find_arrays(section: Accuracy, path: Path) -> Dataset:
    """Return the samples of a ``.npz`` file. Raises UsageError."""
    with _opened(path) as archive:
        header = header_of(archive, path, "x")
        rows = range(header.shape[0])
        if section.task == AGREEMENT:
            labels: list[int] | list[None] = [None] * len(rows)
        else:
            labels = _labels(archive, path, len(rows))
    classes: tuple[str, ...] = ()
    if section.labels is not None:
        classes = read_lines(section.labels)
        wrong = next((r for r in rows if (labels[r] or 0) >= len(classes)), None)
        if wrong is not None:
            raise UsageError(
                f"data set {path}: y is {labels[wrong]} in row {wrong}, and {section.labels} has "
                f"{len(classes)} classes, counted from 0; give it a class a line"
            )
        classes = ("",) * section.class_offset + classes
    items = tuple(
        Item(str(row), None if label is None else label + section.class_offset, row=row)
        for row, label in zip(rows, labels, strict=True)
    )
    described = f"{header.shape} {header.dtype.str} {path.stat().st_size}"
    digest = digest_of([described, *(f"{each.key} {each.label}" for each in items)])
    return Dataset(
        items,
        classes,
        digest,
        in_home(str(path)),
        arrays=path,
        row_type=header.dtype.name,
        row_shape=header.shape[1:],
    )


@contextmanager
def extracted(path: Path, folder: Path) -> Iterator[npt.NDArray[Any]]:
    """The array ``x`` of a file, mapped into memory: on disk it is unpacked, into ``folder``, for
    as long as it is used. Raises UsageError, and OSError where there is no room."""
    unpacked = folder / ".x.partial"
    try:
        with _opened(path) as archive:
            header = header_of(archive, path, "x")
            free = shutil.disk_usage(folder).free
            if header.size_bytes > free:
                raise UsageError(
                    f"data set {path}: x has {header.size_bytes / 1e9:.1f} GB unpacked, and "
                    f"{folder} has {free / 1e9:.1f} GB left; make room, or take fewer rows"
                )
            with archive.open("x.npy") as packed, unpacked.open("wb") as file:
                _header_in(packed)
                left = header.size_bytes
                while left and (chunk := packed.read(min(_CHUNK_BYTES, left))):
                    file.write(chunk)
                    left -= len(chunk)
        if left:
            raise UsageError(f"data set {path}: x ends {left} bytes before it is whole")
        order: Any = "F" if header.fortran else "C"
        mapped = np.memmap(unpacked, header.dtype, "r", shape=header.shape, order=order)
        yield mapped
        del mapped
    finally:
        unpacked.unlink(missing_ok=True)


@contextmanager
def _opened(path: Path) -> Iterator[zipfile.ZipFile]:
    try:
        if not path.is_file():
            raise UsageError(f"data set {path}: there is no such file; check `dataset`")
        with zipfile.ZipFile(path) as archive:
            yield archive
    # RuntimeError: it is encrypted; NotImplementedError: packed by a method that Python lacks
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, ValueError) as exc:
        raise UsageError(
            f"data set {path}: not a .npz file that can be read ({exc}); write it with "
            "`numpy.savez(FILE, x=SAMPLES, y=LABELS)`"
        ) from exc


def header_of(archive: zipfile.ZipFile, path: Path, name: str) -> Header:
    """The shape and type of an array of the archive. Raises UsageError for one that is not fed."""
    members = [each.removesuffix(".npy") for each in archive.namelist()]
    if members.count(name) != 1:
        raise UsageError(
            f"data set {path}: holds {listed(members) or 'nothing'}, and no {shown(name)} alone; "
            "write it with `numpy.savez(FILE, x=SAMPLES, y=LABELS)`"
        )
    with archive.open(f"{name}.npy") as file:
        header = _header_in(file)
        begins = file.tell()
    info = archive.getinfo(f"{name}.npy")
    kind = f"{header.dtype.kind}{header.dtype.itemsize}"
    if kind not in _WRITTEN:
        raise UsageError(
            f"data set {path}: {name} holds {shown(str(header.dtype))}, which no model is fed; "
            "write numbers"
        )
    if not 1 <= len(header.shape) <= _MOST_DIMENSIONS or min(header.shape) < 1:
        raise UsageError(f"data set {path}: {name} has the shape {header.shape}: no sample in it")
    if header.shape[0] > _MOST_SAMPLES:
        raise UsageError(f"data set {path}: has {header.shape[0]} samples; {_MOST_SAMPLES} at most")
    if begins + header.size_bytes != info.file_size:
        raise UsageError(
            f"data set {path}: {name} has not as many bytes as its shape {header.shape} says; "
            "write the file again"
        )
    return header


def _header_in(file: IO[bytes]) -> Header:
    version = np.lib.format.read_magic(file)
    if version == (1, 0):
        shape, fortran, dtype = np.lib.format.read_array_header_1_0(file)
    elif version == (2, 0):
        shape, fortran, dtype = np.lib.format.read_array_header_2_0(file)
    else:
        raise ValueError(f"version {version} of .npy")
    return Header(tuple(shape), dtype, fortran)


def _labels(archive: zipfile.ZipFile, path: Path, samples: int) -> list[int]:
    header = header_of(archive, path, "y")
    if header.shape not in ((samples,), (samples, 1)):
        wide = len(header.shape) == 2 and header.shape[0] == samples
        advice = "; of one-hot rows write `y.argmax(axis=1)`" if wide else ""
        raise UsageError(
            f"data set {path}: y has the shape {header.shape}, and x has {samples} samples; y is "
            f"one number for each{advice}"
        )
    if header.dtype.kind not in "iu":
        raise UsageError(
            f"data set {path}: y holds {shown(str(header.dtype))}; write whole numbers, the "
            "number of the output that is right"
        )
    with archive.open("y.npy") as file:
        values = np.lib.format.read_array(file, allow_pickle=False).reshape(-1)
    found: list[int] = values.tolist()
    wrong = next((row for row, value in enumerate(found) if not 0 <= value < _MOST_SAMPLES), None)
    if wrong is not None:
        raise UsageError(
            f"data set {path}: y is {found[wrong]} in row {wrong}; write the number of the output "
            "that is right, counted from 0"
        )
    return found
