"""One side of a comparison: everything that was measured under one scheme."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from orchestrator.analysis.sides import control
from orchestrator.analysis.sides.conditions import SideConditions, conditions
from orchestrator.analysis.sides.pairing import (
    Centres,
    Statistic,
    all_times,
    compared_replicate,
    pair,
    partners,
)
from orchestrator.analysis.statistics import floor_of
from orchestrator.measurement import Memory, Outcome
from orchestrator.runs.records import ArtifactRecord, TrialRecord
from orchestrator.trial import TrialKind


@dataclass(frozen=True)
class Side:
    """One scheme of a group: all its trials, both replicates and memory trials included."""

    scheme: str
    records: tuple[TrialRecord, ...]
    artifact: ArtifactRecord | None

    @cached_property
    def failures(self) -> Counter[str]:
        """How many trials did not end ok, by outcome."""
        return Counter(r.outcome.value for r in self.records if r.outcome is not Outcome.OK)

    @cached_property
    def timed(self) -> tuple[TrialRecord, ...]:
        """The ok timing trials."""
        return tuple(
            r for r in self.records if r.outcome is Outcome.OK and r.trial.kind is TrialKind.TIMING
        )

    @cached_property
    def conditions(self) -> SideConditions:
        """What those ran under."""
        return conditions(self.timed, self.artifact)

    @cached_property
    def versions(self) -> frozenset[str]:
        """The runtimes of those, by name and version."""
        ran = (r.measurement for r in self.timed if r.measurement is not None)
        names = {(m.runtime_name, m.runtime_version) for m in ran}
        return frozenset(" ".join(filter(None, name)) for name in names)

    @cached_property
    def delegations(self) -> frozenset[tuple[int, int]]:
        """Nodes that a delegate took in those, and nodes in all, where the runtime tells."""
        told = {d for r in self.timed if (m := r.measurement) and (d := m.delegation)}
        return frozenset(
            (d.delegated_nodes, d.total_nodes)
            for d in told
            if d.delegated_nodes is not None and d.total_nodes is not None
        )

    @cached_property
    def memory(self) -> tuple[Memory, ...]:
        """What the memory trials that ended ok found."""
        of_memory = (r.measurement for r in self.records if r.trial.kind is TrialKind.MEMORY)
        return tuple(m.memory for m in of_memory if m is not None and m.memory is not None)

    @cached_property
    def states(self) -> Counter[control.State]:
        """What held while those ran, with how many trials each."""
        return control.states(self.timed)

    @cached_property
    def times(self) -> Mapping[tuple[Statistic, int], Centres]:
        """The usable times of each statistic and replicate."""
        return all_times(self.timed)

    @cached_property
    def partners(self) -> frozenset[str]:
        """The ids of the partners of its own trials, in duets."""
        return partners(self.timed)

    def times_for(self, treatment: Side, statistic: Statistic) -> Centres:
        """Return the times of this side, a baseline, that ``treatment``'s are compared with."""
        replicate = compared_replicate(treatment.partners, self.records)
        return self.times.get((statistic, replicate), {})

    @cached_property
    def floors(self) -> Mapping[Statistic, float | None]:
        """The noise floor of each statistic, where this side is the baseline."""
        return {s: floor_of(pair(self.times[s, 0], self.times[s, 1]).logs) for s in Statistic}

    @cached_property
    def contents(self) -> frozenset[str]:
        """The SHA-256 of every file that ran, or would have run, under this scheme's name."""
        ran = {r.artifact_sha256 for r in self.records if r.artifact_sha256}
        return frozenset(ran | ({self.artifact.sha256} if self.artifact else set()))
