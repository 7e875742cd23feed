"""Names given twice, and gateways that lead nowhere. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from orchestrator.config.text import hint, shown
from orchestrator.config.values import is_jump


class Route(NamedTuple):
    """The part of a device that the way there depends on; a field is None where it could not be
    read."""

    name: str | None
    transport: str | None
    gateway: str | None


def repeated_names(routes: Sequence[Route]) -> Iterator[tuple[int, int]]:
    """List (index, index of the first device of that name) for each name that was taken already."""
    first: dict[str, int] = {}
    for index, route in enumerate(routes):
        if route.name is not None and first.setdefault(route.name, index) != index:
            yield index, first[route.name]


def misrouted(routes: Sequence[Route]) -> Iterator[tuple[int, str]]:
    """List (index, what is wrong) for each gateway that leads nowhere, and for each loop of
    gateways."""
    index_of: dict[str, int] = {}
    for index, route in enumerate(routes):
        if route.name is not None:
            index_of.setdefault(route.name, index)
    by_name = {name: routes[index] for name, index in index_of.items()}
    all_named = all(route.name is not None for route in routes)
    for index, route in enumerate(routes):
        if route.gateway is None or is_jump(route.gateway):
            continue
        # while a device's name cannot be read, it may be the one that is meant
        if route.gateway in by_name or all_named:
            message = _problem(route.gateway, by_name, route.name)
            if message is not None:
                yield index, message
    for loop in _loops(by_name):
        way = " → ".join([*loop, loop[0]])
        yield index_of[loop[0]], f"the gateways go round in a loop: {way}"


def _problem(gateway: str, by_name: Mapping[str, Route], of: str | None) -> str | None:
    target = by_name.get(gateway)
    if target is None:
        others = [name for name in by_name if name != of]
        advice = f"; {hint(gateway, others, 'the devices are')}" if others else ""
        return (
            f"{shown(gateway)} is not a device of this file{advice}"
            " (a jump host that is not to be measured is written user@host)"
        )
    if target.transport not in ("ssh", None):
        return (
            f"{shown(gateway)} has `transport: {target.transport}` and leads nowhere;"
            " name a device with `transport: ssh`, or write user@host"
        )
    return None


def _loops(by_name: Mapping[str, Route]) -> Iterator[list[str]]:
    """The names of each loop, in the order of the way; every device is passed once."""
    passed: set[str] = set()
    for start in by_name:
        way: dict[str, None] = {}
        name: str | None = start
        while name is not None and name in by_name and name not in passed:
            passed.add(name)
            way[name] = None
            name = by_name[name].gateway
        if name in way:
            names = list(way)
            yield names[names.index(name) :]
