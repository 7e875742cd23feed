"""Whether a node is the one that the inventory means, by what it reports. Pure."""

from __future__ import annotations

from typing import Any, List, Mapping, Optional, Tuple


def fact(facts: Mapping[str, Any], name: str) -> object:
    """A fact by its name, wherever in the facts it stands; None where the node cannot tell it."""
    if name in facts:
        return facts[name]
    for section in facts.values():
        if isinstance(section, dict) and name in section:
            return section[name]
    return None


def compare(
    facts: Mapping[str, Any], expect: Mapping[str, Any]
) -> Tuple[Tuple[str, ...], Optional[str]]:
    """Return the names that the node cannot tell, and in words what is not as expected, or None.

    ``python`` stands for the version of the node's Python, which may be expected in part: 3.12 is
    any 3.12.x.
    """
    unverified: List[str] = []
    for name, wanted in expect.items():
        actual = fact(facts, name)
        if name == "python" and isinstance(actual, dict):
            actual = actual.get("version")
        if actual is None:
            unverified.append(name)
        elif not _is(name, str(actual).lower(), str(wanted).lower()):
            problem = f"the inventory expects {name} {wanted}, the device reports {actual!s:.200}"
            return tuple(unverified), problem
    return tuple(unverified), None


def _is(name: str, actual: str, wanted: str) -> bool:
    return actual == wanted or (name == "python" and actual.startswith(wanted + "."))
