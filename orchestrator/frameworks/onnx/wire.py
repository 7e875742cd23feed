"""Reads protocol buffers field by field, and trusts not one byte of them.

Only what an ``.onnx`` file needs: varints, fixed-width numbers and length-delimited fields, of
which those that nobody asks for are stepped over, however large. Every length is checked against
the end of the message that it stands in, and how many fields may be read in all is bounded in
proportion to the file's size. Format: https://protobuf.dev/programming-guides/encoding/
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

from orchestrator.frameworks.files import Bytes

#: Fields that a file may have, those within fields that are read among them. They take some
#: seconds; an operator has about fifteen, and a network of real size some hundreds of operators.
_MOST_FIELDS = 1_000_000
#: A small file may have as many as this, whatever its size.
_LEAST_FIELDS = 10_000
_MOST_BYTES_OF_A_VARINT = 10
_LONGEST_NAME = 4096

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


class MalformedError(Exception):
    """The bytes are not the message they claim to be."""


@dataclass(frozen=True, slots=True)
class Span:
    """Where a length-delimited field lies in the file."""

    start: int
    end: int

    @property
    def size(self) -> int:
        """How many bytes it has."""
        return self.end - self.start


#: A field's value: a number (of a fixed-width one its bits), or where its bytes lie.
Value: TypeAlias = "int | Span"


class Wire:
    """The bytes of one file."""

    def __init__(self, data: Bytes) -> None:
        self.data = data
        self._left = min(_MOST_FIELDS, max(_LEAST_FIELDS, len(data)))

    def whole(self) -> Span:
        """Return all of the file."""
        return Span(0, len(self.data))

    def fields(self, span: Span) -> Iterator[tuple[int, Value]]:
        """Yield number and value of each field of a message, in the order of the file."""
        position, data = span.start, self.data
        while position < span.end:
            self.visit()
            key, position = self._varint(position, span.end)
            number, kind = key >> 3, key & 7
            if number == 0:
                raise MalformedError(f"a field before byte {position} has the number 0")
            if kind == _VARINT:
                value, position = self._varint(position, span.end)
                yield number, value
            elif kind == _BYTES:
                length, position = self._varint(position, span.end)
                end = position + length
                if end > span.end:
                    raise MalformedError(
                        f"{length} bytes from byte {position} on, and {span.end - position} are "
                        f"left"
                    )
                yield number, Span(position, end)
                position = end
            elif kind in (_FIXED32, _FIXED64):
                width = 4 if kind == _FIXED32 else 8
                if position + width > span.end:
                    raise MalformedError(f"a number at byte {position} lies behind the end")
                bits = int.from_bytes(data[position : position + width], "little")
                yield number, bits
                position += width
            else:
                raise MalformedError(f"a field before byte {position} is of the kind {kind}")

    def visit(self, cost: int = 1) -> None:
        """Count so many fields or values as read."""
        self._left -= cost
        if self._left < 0:
            raise MalformedError("it has more parts than any model")

    def text(self, value: Value) -> str:
        """Return a name; bytes that are not UTF-8 are replaced, and a long one ends early."""
        if not isinstance(value, Span):
            raise MalformedError("a number stands where a name belongs")
        return self.data[value.start : min(value.end, value.start + _LONGEST_NAME)].decode(
            "utf-8", "replace"
        )

    def integers(self, value: Value) -> list[int]:
        """Return whole numbers with a sign: one, or a packed list of them."""
        if not isinstance(value, Span):
            return [signed(value)]
        found, position = [], value.start
        while position < value.end:
            self.visit()
            number, position = self._varint(position, value.end)
            found.append(signed(number))
        return found

    def _varint(self, position: int, end: int) -> tuple[int, int]:
        """Return a number and where the next byte is."""
        value = shift = 0
        for place in range(position, min(end, position + _MOST_BYTES_OF_A_VARINT)):
            byte = self.data[place]
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value & 0xFFFF_FFFF_FFFF_FFFF, place + 1
            shift += 7
        raise MalformedError(f"a number at byte {position} does not end")


def span_of(value: Value) -> Span:
    """Return where a message lies. Raises MalformedError for a number."""
    if not isinstance(value, Span):
        raise MalformedError("a number stands where a message belongs")
    return value


def number_of(value: Value) -> int:
    """Return a whole number with its sign. Raises MalformedError for a message."""
    if isinstance(value, Span):
        raise MalformedError("a message stands where a number belongs")
    return signed(value)


def signed(value: int) -> int:
    """Return a varint as the number with a sign that it stands for."""
    return value - (1 << 64) if value >= 1 << 63 else value
