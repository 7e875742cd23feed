"""A chart as it is described: what both sides of the drawing process know of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Drawing:
    """One chart. ``kind`` says what it shows, ``label`` whose figures they are; ``name`` is a file
    name, unique in a report; ``specification`` a Vega-Lite document with its figures in it."""

    name: str
    kind: str
    label: str
    specification: Mapping[str, Any]
