"""The shape that JSON from outside must have before anything counts on it. Pure."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

#: Longest text, and largest number, that anybody tells us.
MAX_TEXT = 20_000
MAX_NUMBER = 1e18

TEXT, NUMBER, WHOLE, FLAG = "text", "a number", "a whole number", "true or false"
SHA256 = "a SHA-256 in lower-case hexadecimal"
_SHA256 = re.compile(r"\A[0-9a-f]{64}\Z")

#: A word is a kind of value; a list of one shape is a list of such; ``{"*": shape}`` is an object
#: all of whose values have the shape. Null may stand for everything, and a key that is not listed
#: for anything.
Shape = str | list[Any] | dict[str, Any]


def problem(value: object, shape: Shape) -> tuple[str, str] | None:
    """(the place, what belongs there), or None where all is well."""
    if value is None:
        return None
    if isinstance(shape, str):
        return None if _is(value, shape) else ("", shape)
    if isinstance(shape, list):
        if not isinstance(value, list):
            return "", "a list"
        return _first((f"[{i}]", each, shape[0]) for i, each in enumerate(value))
    if not isinstance(value, Mapping):
        return "", "an object"
    every = shape.get("*")
    return _first(
        (f".{name}", each, inner)
        for name, each in value.items()
        if (inner := every or shape.get(name)) is not None
    )


def _first(parts: Any) -> tuple[str, str] | None:
    for name, value, shape in parts:
        found = problem(value, shape)
        if found is not None:
            return f"{name}{found[0]}", found[1]
    return None


def _is(value: object, kind: str) -> bool:
    if kind == TEXT:
        return isinstance(value, str) and len(value) <= MAX_TEXT
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
