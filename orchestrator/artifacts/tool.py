"""A binary that a device is given to measure with: what it is called, and who publishes it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Tool:
    """A binary by the key that the inventory has for it.

    ``official`` is the address of the published one, with ``{platform}`` in it; ``platforms`` maps
    what ``uname -m`` prints to the platform's name there, ``android`` the same for Android's own
    names of its instruction sets. ``unpublished`` are platforms that a file of the user's may be
    for, and that nobody publishes one for. ``instead`` is the runner that needs no binary.
    """

    name: str
    official: str
    platforms: Mapping[str, str]
    android: Mapping[str, str]
    unpublished: frozenset[str]
    instead: str
