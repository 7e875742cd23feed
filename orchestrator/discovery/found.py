"""What a source tells of machines, held against what an inventory may say. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator.config.text import shown
from orchestrator.config.values import (
    check_command,
    check_gateway,
    check_host,
    check_name,
    check_text,
    check_user,
)

_LONGEST_NAME = 63
#: What may stand under which key, and what no template language is left in.
_CHECKS: Mapping[str, Callable[[str], str]] = {
    "host": check_host,
    "user": check_user,
    "gateway": check_gateway,
    "python": check_command,
    "site": check_text,
    "key_file": check_text,
}


@dataclass(frozen=True)
class FoundDevice:
    """A device as the inventory will have it: its name and its ``keys``, in the order written."""

    name: str
    keys: Mapping[str, Any]


@dataclass(frozen=True)
class Discovery:
    """The devices found, and sentences on what was not taken over."""

    devices: tuple[FoundDevice, ...]
    notes: tuple[str, ...]


def device_name(told: str, taken: Collection[str]) -> str:
    """``told`` as a device may be called: it becomes part of file names. Not one of ``taken``."""
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", told).strip("-._")[: _LONGEST_NAME - 4] or "device"
    found, number = name, 2
    while found in taken:
        found, number = f"{name}-{number}", number + 1
    return check_name(found)


def acceptable(of: str, keys: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Return those of ``keys`` that an inventory may hold, and a sentence on each of the others."""
    kept, notes = {}, []
    for key, value in keys.items():
        if value is None or value == "":
            continue
        try:
            kept[key] = _checked(key, value)
        except ValueError as exc:
            notes.append(f"{of}: `{key}` was left out: {exc}")
    return kept, notes


def _checked(key: str, value: Any) -> Any:
    if isinstance(value, str) and ("{{" in value or "{%" in value):
        raise ValueError(f"{shown(value)} is a template, which is not evaluated here")
    if key == "port":
        port = int(value)
        if not 1 <= port <= 65535:
            raise ValueError(f"{port} is not a port")
        return port
    return _CHECKS[key](str(value)) if key in _CHECKS else value
