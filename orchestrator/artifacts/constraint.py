"""What the wheels of a library need and do not say of themselves."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Constraint:
    """A requirement that holds for versions below ``below``; None: for all of them."""

    requirement: str
    below: str | None = None
