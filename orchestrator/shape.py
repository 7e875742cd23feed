"""The shape that JSON from outside must have before anything counts on it. Pure."""

from __future__ import annotations

import math
import re
import types
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from enum import Enum
from typing import Any, Union, get_args, get_origin, get_type_hints

#: Longest text, and largest number, that anybody tells us.
MAX_TEXT = 20_000
MAX_LONG_TEXT = 1_000_000
MAX_NUMBER = 1e18

TEXT, NUMBER, WHOLE, FLAG = "text", "a number", "a whole number", "true or false"
#: What went wrong may quote much of what a program printed.
LONG_TEXT = "text of at most a million characters"
SHA256 = "a SHA-256 in lower-case hexadecimal"
_SHA256 = re.compile(r"\A[0-9a-f]{64}\Z")


@dataclass(frozen=True)
class NotNull:
    """A shape in whose place null cannot stand."""

    shape: str | list[Any] | dict[str, Any]


#: A word is a kind of value; a list of one shape is a list of such; ``{"*": shape}`` is an object
#: all of whose values have the shape. Null may stand for everything that is not ``NotNull``, and a
#: key that is not listed for anything.
Shape = str | list[Any] | dict[str, Any] | NotNull


def problem(value: object, shape: Shape) -> tuple[str, str] | None:
    """Return the place and what belongs there, or None where all is well."""
    if value is None:
        return ("", _in_words(shape.shape)) if isinstance(shape, NotNull) else None
    if isinstance(shape, NotNull):
        return problem(value, shape.shape)
    if isinstance(shape, str):
        return None if _is(value, shape) else ("", shape)
    parts = _parts(value, shape)
    return ("", _in_words(shape)) if parts is None else _first(parts)


def _parts(
    value: object, shape: list[Any] | dict[str, Any]
) -> Iterator[tuple[str, object, Shape]] | None:
    """What is in a list or an object, each with its place and shape; None for another value."""
    if isinstance(shape, list):
        if not isinstance(value, list):
            return None
        return ((f"[{i}]", each, shape[0]) for i, each in enumerate(value))
    if not isinstance(value, Mapping):
        return None
    every = shape.get("*")
    return (
        (f".{name}", each, inner)
        for name, each in value.items()
        if (inner := every or shape.get(name)) is not None
    )


def shape_of(record: type[Any]) -> dict[str, Any]:
    """Return the shape of a dataclass's fields as JSON, so that no field is forgotten."""
    hints = get_type_hints(record)
    return {field.name: _of_type(hints[field.name]) for field in fields(record)}


def _of_type(kind: Any) -> Shape:
    if get_origin(kind) in (Union, types.UnionType):
        (known,) = (each for each in get_args(kind) if each is not types.NoneType)
        found = _of_type(known)
        return found.shape if isinstance(found, NotNull) else found
    if get_origin(kind) is tuple:
        return NotNull([_of_type(get_args(kind)[0])])
    if get_origin(kind) is Mapping:
        return {"*": _of_type(get_args(kind)[1])}
    if is_dataclass(kind):
        return NotNull(shape_of(kind))  # type: ignore[arg-type]  # it is a class
    if issubclass(kind, Enum):
        return NotNull(TEXT)
    return NotNull(_WORDS[kind])


_WORDS = {str: TEXT, float: NUMBER, int: WHOLE, bool: FLAG}


def _in_words(shape: str | list[Any] | dict[str, Any]) -> str:
    if isinstance(shape, str):
        return shape
    return "a list" if isinstance(shape, list) else "an object"


def _first(parts: Iterator[tuple[str, object, Shape]]) -> tuple[str, str] | None:
    for name, value, shape in parts:
        found = problem(value, shape)
        if found is not None:
            return f"{name}{found[0]}", found[1]
    return None


def _is(value: object, kind: str) -> bool:
    if kind in (TEXT, LONG_TEXT):
        most = MAX_TEXT if kind == TEXT else MAX_LONG_TEXT
        return isinstance(value, str) and len(value) <= most
    if kind == SHA256:
        return isinstance(value, str) and _SHA256.match(value) is not None
    if kind == FLAG:
        return isinstance(value, bool)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    # an integer can be too large for a float: compare it before asking whether it is finite
    if not -MAX_NUMBER <= value <= MAX_NUMBER or not math.isfinite(value):
        return False
    return kind == NUMBER or isinstance(value, int)
