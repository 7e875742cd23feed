"""JSON objects in little room: 100,000 trials have 200,000 snapshots of their machine's health."""

from __future__ import annotations

import marshal
from collections.abc import Iterator, Mapping
from typing import Any


class Packed(Mapping[str, Any]):
    """A read-only JSON object kept as bytes, some four times smaller; unpacked at every access.

    Who needs several of its values takes ``dict(snapshot)`` first.
    """

    __slots__ = ("_bytes",)

    def __init__(self, values: dict[str, Any]) -> None:
        # marshal is of this very interpreter, and its bytes never leave the process; version 2
        # does without looking for values that are one object, which takes longest
        self._bytes = marshal.dumps(values, 2)

    def __getitem__(self, key: str) -> Any:
        return self._unpacked()[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._unpacked())

    def __len__(self) -> int:
        return len(self._unpacked())

    def keys(self) -> Any:
        return self._unpacked().keys()

    def items(self) -> Any:
        return self._unpacked().items()

    def __repr__(self) -> str:
        return f"Packed({self._unpacked()!r})"

    def _unpacked(self) -> dict[str, Any]:
        values: dict[str, Any] = marshal.loads(self._bytes)  # noqa: S302 (our own bytes, see above)
        return values


def packed(values: Any) -> Mapping[str, Any] | None:
    """``values`` in little room where it is an object, else None: nothing was told."""
    return Packed(values) if isinstance(values, dict) else None
