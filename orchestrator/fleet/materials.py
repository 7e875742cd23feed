"""What trials are made of: what all devices of a run share, and what each was given in addition.

Both are immutable. A device that is reached late gets a value of its own, which nobody else reads;
the threads of other devices go on with theirs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from orchestrator.artifacts.blob import Blob
from orchestrator.fleet.provision import ReachedDevice
from orchestrator.plan import DevicePlan
from orchestrator.runs.records import ArtifactRecord
from orchestrator.trial import Variant


@dataclass(frozen=True)
class Materials:
    """The bytes that a run's devices share: every variant's file.

    ``cap`` is the object that caps the instruction set, where some device's plan asks for that.
    """

    artifacts: Mapping[Variant, ArtifactRecord]
    blobs: Mapping[Variant, Blob]
    cap: Blob | None = None


@dataclass(frozen=True)
class DeviceSupply:
    """What one device was given in addition to the models.

    ``binary`` is its ``benchmark_model``, which is ``unpinned`` where no hash of it was known
    beforehand. ``sites`` holds its site bundles by the value of the factor ``runtime``; a runtime
    without one is the device's own.
    """

    binary: Blob | None = None
    unpinned: bool = False
    sites: Mapping[str, Blob] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "sites", MappingProxyType(dict(self.sites)))


@dataclass(frozen=True)
class SuppliedDevice:
    """A device that was reached, and what it was given."""

    node: ReachedDevice
    supply: DeviceSupply


def needed_by(plan: DevicePlan, materials: Materials, supply: DeviceSupply) -> tuple[Blob, ...]:
    """List what ``plan``'s device must hold, each blob once."""
    blobs = [materials.blobs[trial.variant] for trial in plan.trials]
    if supply.binary is not None and plan.needs_binary:
        blobs.append(supply.binary)
    if materials.cap is not None and plan.capped_isas:
        blobs.append(materials.cap)
    return tuple({blob.sha256: blob for blob in (*blobs, *supply.sites.values())}.values())
