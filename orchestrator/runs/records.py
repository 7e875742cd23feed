"""A finished trial as the journal tells it: the only input of the analysis."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from orchestrator.measurement import Energy, Finding, Measurement, Outcome, Outputs
from orchestrator.measures.accuracy.samples import SampleSet
from orchestrator.runs.integrity import Flaw
from orchestrator.trial import Factors, InputSpec, Trial, TrialKind, Variant

if TYPE_CHECKING:
    # it imports numpy, which most reports do without
    from orchestrator.measures.accuracy.answers import SampleAnswer


@dataclass(frozen=True, slots=True)
class TrialRecord:
    """One ``finished`` line. ``measurement`` is present exactly when ``outcome`` is ``ok``.

    ``artifact_sha256`` names the bytes that ran; ``binary_sha256`` the benchmark_model binary,
    where one ran. ``wall_s`` is how long the whole process took, in seconds. ``conditions`` is what
    the agent says of pinning, clocks and the gate (see ``orchestrate_agent.protocol``). ``isa_way``
    is how its CPUID was made to trap (see ``isa.proof``), empty where it was not. ``blameless``: it
    could not be started, for no reason of its own. ``ran_on`` is how long each CPU was at work
    while it ran, in seconds by the CPU's number: empty where that is not told, or was not mostly
    its own work.
    """

    trial: Trial
    outcome: Outcome
    measurement: Measurement | None
    reason: str | None = None
    findings: tuple[Finding, ...] = ()
    artifact_sha256: str | None = None
    binary_sha256: str | None = None
    health_before: Mapping[str, Any] | None = None
    health_after: Mapping[str, Any] | None = None
    wall_s: float | None = None
    conditions: Mapping[str, Any] | None = None
    energy: Energy | None = None
    isa_way: str = ""
    blameless: bool = False
    ran_on: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class CalibrationRecord:
    """What the ranges of a file's activations were found on: ``count`` images of ``kind``
    ``folder``, or generated ones, ``random``. ``sampled`` of the run's samples are among them."""

    kind: str
    count: int
    sampled: int = 0


@dataclass(frozen=True)
class ArtifactRecord:
    """What the manifest knows of a variant's file. ``weights`` is ``imagenet`` or
    ``random(seed=N)``; ``no_op`` says why the scheme changed nothing, None where it did.
    ``inputs`` are what it is fed, empty where nobody knows; ``signature`` is how it is called where
    that was chosen, and ``default_signature`` what a runtime takes by itself where it was not and
    there are several: empty where that graph has no name. ``exported`` is how a file of the user's
    holds its batch, ``open`` or ``fixed``; None where nothing says it. ``check_range`` are the real
    values between which every process is fed the same once, so that what it computes can be seen:
    those that all files of the model can hold. ``remarks`` are those of the file's reader.
    ``calibration`` is None where nothing was calibrated, or nobody knows on what.
    ``published_top1`` is the share of ImageNet's validation set that is published for the weights
    as they were trained; None of others. ``trained_on_samples`` is how many of the run's samples
    its weights were trained on further."""

    variant: Variant
    sha256: str
    size_bytes: int
    weights: str
    no_op: str | None = None
    inputs: tuple[InputSpec, ...] = ()
    signature: str | None = None
    default_signature: str | None = None
    exported: str | None = None
    check_range: tuple[float, float] | None = None
    remarks: tuple[Finding, ...] = ()
    calibration: CalibrationRecord | None = None
    published_top1: float | None = None
    trained_on_samples: int = 0


@dataclass(frozen=True)
class SplitDevice:
    """What a column of a device is that was several machines in one run.

    ``device`` is its name in the inventory; ``unlike`` says how the machines differ.
    """

    device: str
    unlike: tuple[str, ...]


def no_answers(record: TrialRecord) -> tuple[SampleAnswer, ...]:
    """What a trial answered in a run that has no logs: nothing."""
    return ()


def no_times(record: TrialRecord) -> tuple[float, ...]:
    """The single times of a run that has no logs: none."""
    return ()


@dataclass(frozen=True)
class RunRecord:
    """A run as read from disk: what the analysis works on.

    ``facts`` maps a device's name to what its agent reported (see
    ``orchestrate_agent.machine.facts``); a device that was never reached has no entry, and ``lost``
    maps it to the reason. ``stopped`` maps a group's key (see ``trial.Group.key``) to the
    reason why it got no more blocks, ``paused`` to why it has to wait for ``--resume``.
    ``grid_gco2_per_kwh`` maps a device to the grid intensity that the user gave, if any.
    ``planned`` holds every trial that was released to a device, finished or not. ``agents`` maps a
    device to the SHA-256 of its agent's sources. ``duet``: baseline and treatment ran at the same
    time. ``bundled``: the devices that nothing reaches. ``split``: devices that were several
    machines are a column for each of them, which stands everywhere in the place of the name.
    ``flaws``: what is out of order in the journal. ``compare``: the suite's runners, where it asks
    that they be compared with each other. ``samples`` are what accuracy was measured on, and
    ``answers_of`` reads what a trial of it answered out of its raw log: it raises JournalError
    where the log is not what was written. ``times_of`` reads the single times of a trial's steady
    phase there, in µs: none where they are not told. ``checks`` are trials of another runner than
    the one that measured, which looked at what its files compute; they are in no comparison.
    """

    run_id: str
    baseline: str
    devices: tuple[str, ...]
    trials: tuple[TrialRecord, ...]
    artifacts: Mapping[Variant, ArtifactRecord]
    facts: Mapping[str, Mapping[str, Any]]
    lost: Mapping[str, str]
    stopped: Mapping[str, str]
    precision: float
    min_blocks: int
    max_blocks: int
    planned: tuple[Trial, ...] = ()
    suite: str = ""
    grid_gco2_per_kwh: Mapping[str, float] = field(default_factory=dict)
    agents: Mapping[str, str] = field(default_factory=dict)
    duet: bool = False
    paused: Mapping[str, str] = field(default_factory=dict)
    bundled: frozenset[str] = frozenset()
    split: Mapping[str, SplitDevice] = field(default_factory=dict)
    flaws: tuple[Flaw, ...] = ()
    compare: tuple[str, ...] = ()
    samples: SampleSet | None = None
    answers_of: Callable[[TrialRecord], tuple[SampleAnswer, ...]] = no_answers
    times_of: Callable[[TrialRecord], tuple[float, ...]] = no_times
    checks: tuple[TrialRecord, ...] = ()

    def check_of(self, device: str, sha256: str) -> TrialRecord | None:
        """The trial of some runner that shows what a file computes on a device, at batch 1 and its
        own input size; else one that was to show it and failed, None where nobody looked."""
        return self._looked_at.get((device, sha256))

    @cached_property
    def _looked_at(self) -> Mapping[tuple[str, str], TrialRecord]:
        found: dict[tuple[str, str], TrialRecord] = {}
        for record in (*self.checks, *self.trials):
            factors, measured = record.trial.factors, record.measurement
            shows = measured is not None and measured.outputs is not None
            if record.artifact_sha256 is None or (factors.batch, factors.input_size) != (1, 0):
                continue
            key = (record.trial.device, record.artifact_sha256)
            known = found.get(key)
            if (shows and (known is None or known.measurement is None)) or (
                known is None and record.trial.kind is TrialKind.CHECK
            ):
                found[key] = record
        return found

    def outputs_of_file(self, sha256: str, batch: int, size: int) -> Sequence[tuple[str, Outputs]]:
        """Each different answer that a file gave at this batch and input size, with a place in
        words where it gave it."""
        return self._answers.get((sha256, batch, size), ())

    @cached_property
    def _answers(self) -> Mapping[tuple[str, int, int], Sequence[tuple[str, Outputs]]]:
        found: dict[tuple[str, int, int], dict[tuple[str, ...], tuple[str, Outputs]]] = {}
        for record in (*self.trials, *self.checks):
            measured, trial = record.measurement, record.trial
            if record.artifact_sha256 is None or measured is None or measured.outputs is None:
                continue
            ran = " ".join(filter(None, (measured.runtime_name, measured.runtime_version)))
            fed = (record.artifact_sha256, trial.factors.batch, trial.factors.input_size)
            # once where every byte is the same: a large run has many places and few answers
            digests = tuple(each.digest for each in measured.outputs.summaries)
            found.setdefault(fed, {}).setdefault(
                digests, (f"{ran or trial.factors.runner} on {trial.device}", measured.outputs)
            )
        return {fed: tuple(places.values()) for fed, places in found.items()}


__all__ = [
    "ArtifactRecord",
    "Factors",
    "Flaw",
    "RunRecord",
    "SplitDevice",
    "Trial",
    "TrialKind",
    "TrialRecord",
]
