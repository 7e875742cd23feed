"""Which output of one file is which of another: converters change their names and order. Pure.

Nothing here knows values, so that what is matched by it can be dead on one side.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Protocol, TypeVar


class Described(Protocol):
    """An output's name and shape."""

    @property
    def name(self) -> str: ...

    @property
    def shape(self) -> tuple[int, ...]: ...


D = TypeVar("D", bound=Described)


def matched(one: Sequence[D], other: Sequence[D]) -> tuple[tuple[D, D], ...]:
    """Return the outputs that are the same one, in the order of ``one``.

    By name, where the shapes agree too (dimensions of 1 do not count, of which converters add and
    drop some); of the rest, those are matched whose shape no other output on either side has. The
    order of outputs says nothing. What cannot be told apart is left out.
    """
    named = {each.name: each for each in other if _once(each, other)}
    found: list[tuple[D, D]] = []
    for each in one:
        candidate = named.get(each.name)
        if candidate is not None and _once(each, one) and _plain(candidate) == _plain(each):
            found.append((each, candidate))
    ours = [each for each in one if not any(each is mine for mine, _ in found)]
    theirs = [each for each in other if not any(each is own for _, own in found)]
    shapes = [Counter(map(_plain, side)) for side in (ours, theirs)]
    for each in ours:
        shape = _plain(each)
        if shapes[0][shape] == shapes[1][shape] == 1:
            found.append((each, next(own for own in theirs if _plain(own) == shape)))
    places = {id(each): place for place, each in enumerate(one)}
    return tuple(sorted(found, key=lambda pair: places[id(pair[0])]))


def _once(output: Described, side: Sequence[Described]) -> bool:
    return sum(each.name == output.name for each in side) == 1


def _plain(output: Described) -> tuple[int, ...]:
    return tuple(side for side in output.shape if side != 1)
