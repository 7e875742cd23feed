"""Reads FlatBuffers by position, and trusts not one byte of them.

Only what a ``.tflite`` file needs. Every read is checked against the end of the file, and how much
may be read in all is bounded in proportion to the file's size, so that a file whose references run
in circles, or that refers to one long vector a thousand times, ends in an error as well. Format:
https://flatbuffers.dev/internals/
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any

from orchestrator.frameworks.files import Bytes

#: What the tables, vectors and names of a small file may cost in all. A million takes a second.
_LEAST_BUDGET = 1_000_000
#: A larger file may cost one for so many bytes of it. A real one has a table in 60 bytes at most,
#: and most of it is weights, which are not read.
_BYTES_PER_COST = 4
#: No file may cost more, however large: a million tensors, which take some seconds to read.
_MOST_BUDGET = 20_000_000
_TABLE_COST = 10
_CHARACTERS_AT_ONCE = 16


class MalformedError(Exception):
    """The bytes are not the FlatBuffer they claim to be."""


class Buffer:
    """The bytes of one file."""

    def __init__(self, data: Bytes) -> None:
        self.data = data
        # A file cannot hold more tables than bytes either; one that refers to the same tables over
        # and over can make a reader visit any number.
        self._left = min(
            _TABLE_COST * len(data),
            max(_LEAST_BUDGET, len(data) // _BYTES_PER_COST),
            _MOST_BUDGET,
        )

    def scalar(self, kind: str, position: int) -> int:
        """Return an integer at a position; ``kind`` is a struct format character."""
        try:
            value = struct.unpack_from("<" + kind, self.data, self._inside(position))[0]
        except struct.error as exc:
            raise MalformedError(f"byte {position} lies behind the end") from exc
        return int(value)

    def float32(self, position: int) -> float:
        """Return a 32-bit float at a position."""
        self.check_range(position, 4)
        return float(struct.unpack_from("<f", self.data, position)[0])

    def slice(self, position: int, length: int) -> bytes:
        """``length`` bytes from ``position`` on."""
        self.check_range(position, length)
        return self.data[position : position + length]

    def check_range(self, position: int, length: int) -> None:
        """Raise MalformedError unless these bytes are all in the file."""
        if position < 0 or length < 0 or position + length > len(self.data):
            raise MalformedError(
                f"{length} bytes from byte {position} on, of a file of {len(self.data)}"
            )

    def root(self) -> Table:
        """Return the table that everything hangs on."""
        return Table(self, self.scalar("I", 0))

    def visit(self, cost: int = _TABLE_COST) -> None:
        """Count one table, or so many values."""
        self._left -= cost
        if self._left < 0:
            raise MalformedError("its references run in circles, or it is larger than any model")

    @staticmethod
    def _inside(position: int) -> int:
        # struct would count a negative position from the end
        if position < 0:
            raise MalformedError("a reference points before the beginning")
        return position


class Table:
    """One table; fields are named by their number in the schema, from 0."""

    def __init__(self, buffer: Buffer, position: int) -> None:
        buffer.visit()
        self._buffer = buffer
        self._position = position
        self._vtable = position - buffer.scalar("i", position)
        self._vtable_bytes = buffer.scalar("H", self._vtable)

    def integer(self, field: int, kind: str, default: int = 0) -> int:
        """Return a scalar field; ``kind`` is a struct format character."""
        position = self._field(field)
        return default if position is None else self._buffer.scalar(kind, position)

    def integers(self, field: int, kind: str = "i") -> tuple[int, ...]:
        """Return a vector of integers, empty where it is absent."""
        return self._numbers(field, kind)

    def floats(self, field: int) -> tuple[int, float | None]:
        """Return how many 32-bit floats a vector has, and the first of them.

        The others are not read: a large layer has as many scales as channels.
        """
        start, count = self._vector(field, 4)
        return count, self._buffer.float32(start) if count else None

    def first(self, field: int, kind: str) -> int:
        """Return the first of a vector of integers, 0 where there is none."""
        start, count = self._vector(field, struct.calcsize("<" + kind))
        return self._buffer.scalar(kind, start) if count else 0

    def has(self, field: int) -> bool:
        """Whether the field is there, whatever it holds."""
        return self._field(field) is not None

    def text(self, field: int) -> str:
        """Return a string, empty where it is absent; bytes that are not UTF-8 are replaced."""
        start, length = self._vector(field, 1)
        self._buffer.visit(length // _CHARACTERS_AT_ONCE)
        return self._buffer.slice(start, length).decode("utf-8", "replace")

    def extent(self, field: int) -> tuple[int, int]:
        """Position and length of a vector of bytes; (0, 0) where it is absent."""
        return self._vector(field, 1)

    def tables(self, field: int) -> Iterator[Table]:
        """Yield the tables of a vector of tables."""
        start, count = self._vector(field, 4)
        for position in range(start, start + 4 * count, 4):
            yield Table(self._buffer, position + self._buffer.scalar("I", position))

    def table(self, field: int) -> Table | None:
        """Return a table that a field refers to."""
        position = self._field(field)
        if position is None:
            return None
        return Table(self._buffer, position + self._buffer.scalar("I", position))

    def _field(self, field: int) -> int | None:
        slot = 4 + 2 * field
        if slot + 2 > self._vtable_bytes:
            return None
        offset = self._buffer.scalar("H", self._vtable + slot)
        return self._position + offset if offset else None

    def _vector(self, field: int, item_bytes: int) -> tuple[int, int]:
        position = self._field(field)
        if position is None:
            return 0, 0
        start = position + self._buffer.scalar("I", position)
        count = self._buffer.scalar("I", start)
        self._buffer.check_range(start + 4, count * item_bytes)
        return start + 4, count

    def _numbers(self, field: int, kind: str) -> tuple[Any, ...]:
        start, count = self._vector(field, struct.calcsize("<" + kind))
        self._buffer.visit(count)
        return struct.unpack_from(f"<{count}{kind}", self._buffer.data, start)
