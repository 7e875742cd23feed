"""Pure: (inventory, suite, seed) → every trial of a run, in order. Touches no device, no file."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import Enum
from typing import Any


class TrialKind(str, Enum):
    """Watching memory disturbs timing, so memory is measured in trials of its own."""

    TIMING = "timing"
    MEMORY = "memory"


@dataclass(frozen=True, order=True)
class Variant:
    """Model × scheme: what an artifact is built from."""

    model: str
    scheme: str

    def __str__(self) -> str:
        return f"{self.model} {self.scheme}"


@dataclass(frozen=True, order=True)
class Factors:
    """What else may vary between trials. A comparison holds all of these equal.

    ``runner`` is resolved (never ``auto``); ``runtime`` is what the suite asks of the device's
    Python (``any`` or a distribution's name) and empty for the official binary.
    """

    runner: str
    runtime: str
    delegate: str
    threads: int
    batch: int
    isa: str


@dataclass(frozen=True)
class Trial:
    """One process of one runner on one variant: the unit of evidence.

    ``block`` counts from 0 within a comparison group; memory trials have block -1. ``replicate``
    is 0, or 1 for the second baseline of a block (the A/A partner). ``trial_id`` is a file name,
    the same each time the plan is made from the same seed.
    """

    trial_id: str
    device: str
    kind: TrialKind
    variant: Variant
    factors: Factors
    block: int
    replicate: int = 0

    def to_json(self) -> dict[str, Any]:
        """The trial's fields as a journal line carries them: flat, factors included."""
        return {
            "trial_id": self.trial_id,
            "device": self.device,
            "kind": self.kind.value,
            "model": self.variant.model,
            "scheme": self.variant.scheme,
            "block": self.block,
            "replicate": self.replicate,
            **asdict(self.factors),
        }
