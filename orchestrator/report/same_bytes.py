"""Which places give the same bytes for the same file, in words."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

from orchestrator.analysis.table import Place, SameBytes
from orchestrator.factors import FACTORS
from orchestrator.frameworks.settings import level_of
from orchestrator.report.clean import clean
from orchestrator.report.figures import counted

METHOD = (
    "Same bytes: every process answers the same inputs once, and accuracy's trials their samples; "
    "places agree where the digests of all that both answered are equal. A place is a device "
    "under one setting of all factors. Of a place that does not agree with itself, nothing can be "
    "said of others."
)

HEADER = ("Model", "Scheme", "Same bytes", "Where")

#: Places that are named where they cannot be told by their levels; speedup.json has all of them.
_MOST_NAMED = 6


def cells(found: Sequence[SameBytes]) -> Iterator[tuple[str, ...]]:
    """A line for each group of places of each file."""
    named = _varied([place for each in found for place in _places(each)])
    for each in found:
        places = _places(each)
        whole = len(places)
        file = clean(each.model), clean(_file(each, found, named))
        for group in each.groups:
            if len(group) == whole:
                yield *file, f"in all {whole}", "wherever it ran"
                continue
            many = "only here" if len(group) == 1 else f"in {len(group)} of {whole}"
            for where in _where(group, places, named):
                yield *file, many, clean(where)
        for where in _where(each.varying, places, named) if each.varying else ():
            yield *file, "varies in itself", clean(where)


def _places(each: SameBytes) -> tuple[Place, ...]:
    return (*itertools.chain.from_iterable(each.groups), *each.varying)


def _file(each: SameBytes, found: Sequence[SameBytes], named: Sequence[str]) -> str:
    """The scheme, and what tells this file from the scheme's others: its export, its batch."""
    variant = each.model, each.scheme
    others = [o for o in found if o is not each and (o.model, o.scheme) == variant]
    levels = {name: {_level(place, name) for place in _places(each)} for name in named}
    telling = [
        name
        for name, of_file in levels.items()
        if any(of_file.isdisjoint(_level(place, name) for place in _places(o)) for o in others)
    ]
    return ", ".join([each.scheme, *(_said(name, sorted(levels[name])) for name in telling)])


def _varied(places: Sequence[Place]) -> tuple[str, ...]:
    """What tells one place from another."""
    names = ("device", *(each.name for each in FACTORS))
    return tuple(name for name in names if len({_level(p, name) for p in places}) > 1)


def _level(place: Place, name: str) -> str:
    return place.device if name == "device" else str(level_of(place.factors, name))


def _where(group: Sequence[Place], places: Sequence[Place], named: Sequence[str]) -> Iterator[str]:
    """The levels that the group's places share where those tell it from all others; else the
    places themselves."""
    levels = {name: list(dict.fromkeys(_level(place, name) for place in group)) for name in named}
    within = [p for p in places if all(_level(p, name) in levels[name] for name in named)]
    if len(within) == len(group):
        every = {name: {_level(place, name) for place in places} for name in named}
        telling = [name for name in named if set(levels[name]) != every[name]]
        yield ", ".join(_said(name, levels[name]) for name in telling) or "wherever it ran"
        return
    for place in group[:_MOST_NAMED]:
        yield ", ".join(_said(name, [_level(place, name)]) for name in named)
    if len(group) > _MOST_NAMED:
        yield f"and {counted(len(group) - _MOST_NAMED, 'more place')}"


def _said(name: str, levels: Sequence[str]) -> str:
    if name == "device":
        return " and ".join(levels)
    return f"{name}={' or '.join(levels)}"
