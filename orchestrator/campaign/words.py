"""What a run's rooms tell each other: its places, who answered, what is prepared, how it ended."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from orchestrator.campaign.samples import DrawnSamples
from orchestrator.config import Suite
from orchestrator.errors import (
    DeviceError,
)
from orchestrator.fleet.materials import SuppliedDevice
from orchestrator.fleet.provision import ReachedDevice
from orchestrator.plan import Plan
from orchestrator.runs.directory import RunDirectory
from orchestrator.trial import Variant
from orchestrator.zoo import (
    DEFAULT_OPTIONS,
    BuildOptions,
    ModelArtifact,
    OwnFiles,
)

Answer = TypeVar("Answer", ReachedDevice, SuppliedDevice)


@dataclass(frozen=True)
class Places:
    """The folders a run reads and writes, and how models that are missing are to be built."""

    results: Path
    models: Path
    building: BuildOptions = DEFAULT_OPTIONS


@dataclass(frozen=True)
class Conclusion:
    """How a run ended: where it is, and whether everything in it went well.

    ``complete`` means that nothing is left that ``--resume`` could do.
    """

    directory: RunDirectory
    complete: bool
    failed_trials: int
    lost_devices: tuple[str, ...]
    interrupted: bool


@dataclass(frozen=True)
class Contacts(Generic[Answer]):
    """Says who answered, and why the others did not."""

    nodes: Mapping[str, Answer]
    errors: tuple[DeviceError, ...]


@dataclass(frozen=True)
class Preparation:
    """A plan, and what of its variants is there: the user's own files, and what the zoo has built.

    ``suite`` is the suite with the schemes of the user's own models in it; ``bundle_sizes`` the
    bytes of pinned runtimes that were provided before, for whatever node; ``samples`` what accuracy
    is measured on, None where it is not.
    """

    suite: Suite
    plan: Plan
    own: OwnFiles
    built: Mapping[Variant, ModelArtifact]
    options: BuildOptions
    bundle_sizes: Mapping[str, int]
    samples: DrawnSamples | None = None

    @property
    def zoo_variants(self) -> tuple[Variant, ...]:
        return tuple(v for v in self.plan.variants if v not in self.own.artifacts)
