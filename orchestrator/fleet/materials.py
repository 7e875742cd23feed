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
from orchestrator.measures.accuracy.samples import FeedRecord, SampleSet, ShardRecord
from orchestrator.plan import DevicePlan
from orchestrator.runs.records import ArtifactRecord
from orchestrator.trial import Trial, TrialKind, Variant


@dataclass(frozen=True)
class Materials:
    """The bytes that a run's devices share: every variant's file.

    ``cap`` is the object that caps the instruction set, where some device's plan asks for that.
    ``samples`` are what accuracy is measured on, with their files by hash in ``shards``.
    ``program`` is what the suite sends for its runner to run. Variants that differ by arguments
    have no blob.
    """

    artifacts: Mapping[Variant, ArtifactRecord]
    blobs: Mapping[Variant, Blob]
    cap: Blob | None = None
    samples: SampleSet | None = None
    shards: Mapping[str, Blob] = field(default_factory=dict)
    program: Blob | None = None

    def shard_of(self, trial: Trial) -> tuple[FeedRecord, ShardRecord] | None:
        """What a trial of accuracy is fed; None for any other trial."""
        if trial.kind is not TrialKind.ACCURACY or self.samples is None:
            return None
        variant = trial.variant
        feed = self.samples.feed(variant.model, variant.framework, trial.factors.input_size)
        return feed, feed.shards[trial.replicate]


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
    files = (t.variant for t in plan.trials if materials.artifacts[t.variant].size_bytes)
    blobs = [materials.blobs[variant] for variant in files]
    fed = filter(None, map(materials.shard_of, plan.trials))
    blobs += [materials.shards[shard.sha256] for _, shard in fed]
    if supply.binary is not None and plan.needs_binary:
        blobs.append(supply.binary)
    if materials.program is not None:
        blobs.append(materials.program)
    if materials.cap is not None and plan.capped_isas:
        blobs.append(materials.cap)
    return tuple({blob.sha256: blob for blob in (*blobs, *supply.sites.values())}.values())
