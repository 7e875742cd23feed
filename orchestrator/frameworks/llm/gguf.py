"""What a GGUF file holds, from its bytes: nothing is loaded, and nothing in it is believed.

The format is little-endian: a magic, a version, the counts of tensors and of metadata; the metadata
(a name, a type, a value each); a description of every tensor; and, aligned, their values. Whatever
a count or a size promises is held against what is left of the file before it is followed.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

from orchestrator.frameworks.files import Bytes
from orchestrator.frameworks.llm.types import TYPES, TensorType

MAGIC = b"GGUF"
#: Version 1 had shorter counts, and was written for a few weeks in 2023.
_FIRST, _LATEST = 2, 3
#: Far beyond any model, and few enough to be read within a second in all.
_MOST_TENSORS, _MOST_KEYS, _MOST_STRINGS = 100_000, 20_000, 1_500_000
_LONGEST_NAME, _LONGEST_TEXT = 1024, 200_000
_MOST_DIMENSIONS, _MOST_NESTED = 4, 2
_MOST_ALIGNMENT = 1 << 20
#: Elements of a list that are kept: of any longer one its length is.
_MOST_KEPT = 16

_SCALARS: Mapping[int, struct.Struct] = {
    number: struct.Struct("<" + letter)
    for number, letter in ((0, "B"), (1, "b"), (2, "H"), (3, "h"), (4, "I"), (5, "i"), (6, "f"),
                           (7, "?"), (10, "Q"), (11, "q"), (12, "d"))
}  # fmt: skip
_TEXT, _LIST = 8, 9
_U32, _U64 = struct.Struct("<I"), struct.Struct("<Q")


class GgufError(ValueError):
    """Why a file is not read. The message follows the file's name."""


@dataclass(frozen=True)
class Listed:
    """A list of the metadata: how long it is, and its elements where they are few."""

    length: int
    kept: tuple[object, ...] = ()


Value: TypeAlias = "int | float | bool | str | Listed"


@dataclass(frozen=True)
class Tensor:
    """A tensor: ``shape`` as in the file, the length of a row first."""

    name: str
    shape: tuple[int, ...]
    type: TensorType
    size_bytes: int

    @property
    def elements(self) -> int:
        count = 1
        for size in self.shape:
            count *= size
        return count


@dataclass(frozen=True)
class Gguf:
    """A file: its version, its metadata by name, its tensors."""

    version: int
    metadata: Mapping[str, Value]
    tensors: tuple[Tensor, ...]

    def text(self, name: str) -> str | None:
        """Return a text of the metadata; None where there is none of this name."""
        value = self.metadata.get(name)
        return value if isinstance(value, str) else None

    def integer(self, name: str) -> int | None:
        """Return a whole number of the metadata; None where there is none of this name."""
        value = self.metadata.get(name)
        return value if isinstance(value, int) and not isinstance(value, bool) else None


def read_gguf(data: Bytes) -> Gguf:
    """Read a file's head. Raises GgufError, within a second, for whatever is not one."""
    cursor = _Cursor(data)
    if cursor.take(4, "its magic") != MAGIC:
        raise GgufError("is not a GGUF file, which begins with the letters GGUF")
    version = cursor.u32("its version")
    _check_version(version)
    tensors, keys = cursor.u64("the count of tensors"), cursor.u64("the count of its metadata")
    # the least that each takes: an empty name, its type and a byte; a name, a size and an offset
    cursor.check_count(keys, _MOST_KEYS, 13, "values of metadata")
    cursor.check_count(tensors, _MOST_TENSORS, 24, "tensors")
    metadata: dict[str, Value] = {}
    for _ in range(keys):
        name = cursor.text(_LONGEST_NAME, "the name of a value")
        if name in metadata:
            raise GgufError(f"names {_shown(name)} twice in its metadata")
        metadata[name] = cursor.value(cursor.u32(f"the type of {_shown(name)}"), name)
    described = [_Described.read(cursor) for _ in range(tensors)]
    alignment = metadata.get("general.alignment", 32)
    if not isinstance(alignment, int) or not 1 <= alignment <= _MOST_ALIGNMENT:
        raise GgufError("has an alignment that no file has; make or copy it again")
    begin = -(-cursor.place // alignment) * alignment
    return Gguf(version, metadata, tuple(_placed(each, len(data) - begin) for each in described))


def _check_version(version: int) -> None:
    if _FIRST <= version <= _LATEST:
        return
    if version & 0xFFFF == 0 and version:
        raise GgufError("is a GGUF file for big-endian machines; convert it for this one's")
    if version < _FIRST:
        raise GgufError(
            f"is GGUF of version {version}, which llama.cpp no longer reads; convert the model anew"
        )
    raise GgufError(
        f"is GGUF of version {version}, and versions up to {_LATEST} are known here; upgrade "
        f"orchestrate, or convert it for an earlier one"
    )


class _Cursor:
    """Where reading has come to; every step is held against what is left."""

    def __init__(self, data: Bytes) -> None:
        self.place = 0
        self._data = data
        self._strings = 0

    @property
    def left(self) -> int:
        return len(self._data) - self.place

    def take(self, count: int, what: str) -> bytes:
        if count > self.left:
            raise GgufError(
                f"is a GGUF file that ends within {what}: it is cut off, or damaged; copy it again"
            )
        taken = self._data[self.place : self.place + count]
        self.place += count
        return bytes(taken)

    def u32(self, what: str) -> int:
        return int(_U32.unpack(self.take(4, what))[0])

    def u64(self, what: str) -> int:
        return int(_U64.unpack(self.take(8, what))[0])

    def check_count(self, count: int, most: int, least_bytes: int, what: str) -> None:
        if count > most:
            raise GgufError(f"promises {count:,} {what}, more than any model has; it is damaged")
        if count * least_bytes > self.left:
            raise GgufError(
                f"promises {count:,} {what} and is too short for them: it is cut off, or damaged; "
                f"copy it again"
            )

    def text(self, longest: int, what: str) -> str:
        length = self.u64(what)
        if length > longest:
            raise GgufError(f"has {length:,} bytes for {what}, where {longest:,} are plenty")
        return self.take(length, what).decode("utf-8", "replace")

    def value(self, kind: int, name: str, depth: int = 0) -> Value:
        what = _shown(name)
        if kind in _SCALARS:
            scalar = _SCALARS[kind]
            found: int | float | bool = scalar.unpack(self.take(scalar.size, what))[0]
            return found
        if kind == _TEXT:
            return self.text(_LONGEST_TEXT, what)
        if kind != _LIST:
            raise GgufError(f"has a value of type {kind} ({what}), which GGUF does not have")
        if depth >= _MOST_NESTED:
            raise GgufError(f"has lists within lists within lists ({what}); no model has")
        return self._list(self.u32(what), self.u64(what), name, depth)

    def _list(self, kind: int, length: int, name: str, depth: int) -> Listed:
        what = _shown(name)
        if kind in _SCALARS:
            scalar = _SCALARS[kind]
            self.check_count(length, 1 << 40, scalar.size, f"elements of {what}")
            kept: tuple[object, ...] = ()
            if length <= _MOST_KEPT:
                kept = tuple(self.value(kind, name) for _ in range(length))
            else:
                self.place += length * scalar.size
            return Listed(length, kept)
        self.check_count(length, _MOST_STRINGS, 8, f"elements of {what}")
        self._strings += length
        if self._strings > _MOST_STRINGS:
            raise GgufError("has more texts in its metadata than any model has; it is damaged")
        if kind == _TEXT:
            self._skip_texts(length, what)
            return Listed(length)
        return Listed(length, tuple(self.value(kind, name, depth + 1) for _ in range(length)))

    def _skip_texts(self, count: int, what: str) -> None:
        data, place, end, size_at = self._data, self.place, len(self._data), _U64.unpack_from
        for _ in range(count):
            if place + 8 > end:
                break
            place += 8 + size_at(data, place)[0]
            if place > end:
                break
        else:
            self.place = place
            return
        raise GgufError(
            f"is a GGUF file that ends within {what}: it is cut off, or damaged; copy it again"
        )


@dataclass(frozen=True)
class _Described:
    """A tensor as the head describes it: ``offset`` counts from where the values begin."""

    tensor: Tensor
    offset: int

    @classmethod
    def read(cls, cursor: _Cursor) -> _Described:
        name = cursor.text(_LONGEST_NAME, "the name of a tensor")
        what = f"the description of {_shown(name)}"
        dimensions = cursor.u32(what)
        if dimensions > _MOST_DIMENSIONS:
            raise GgufError(f"has a tensor of {dimensions} dimensions ({_shown(name)})")
        shape = tuple(cursor.u64(what) for _ in range(dimensions))
        number, offset = cursor.u32(what), cursor.u64(what)
        kind = TYPES.get(number)
        if kind is None:
            raise GgufError(
                f"holds {_shown(name)} in type {number}, which is not known here; upgrade "
                f"orchestrate, or quantize the model otherwise"
            )
        elements = 1
        for size in shape:
            elements *= size
        if not all(shape) or elements >= 1 << 62:
            raise GgufError(f"has a tensor of impossible size ({_shown(name)}); it is damaged")
        if shape and shape[0] % kind.values:
            raise GgufError(
                f"holds {_shown(name)} in {kind.name}, whose blocks of {kind.values} do not divide "
                f"its rows of {shape[0]}; it is damaged"
            )
        size_bytes = elements // kind.values * kind.size_bytes
        return cls(Tensor(name, shape, kind, size_bytes), offset)


def _placed(described: _Described, there: int) -> Tensor:
    """The tensor, if the file has room for it: ``there`` bytes of values."""
    tensor = described.tensor
    if described.offset + tensor.size_bytes > there:
        raise GgufError(
            f"ends before the values of {_shown(tensor.name)}: it is cut off, or damaged; copy it "
            f"again"
        )
    return tensor


def _shown(name: str) -> str:
    return repr(name[:60])
