"""One device's trials as requests to its agent, and its agent's events as lines of the journal."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

from orchestrate_agent.machine import health
from orchestrate_agent.protocol import Conditions, Duet, Event, Gate, TrialRequest
from orchestrator.errors import AgentError
from orchestrator.fleet import told
from orchestrator.fleet.materials import DeviceSupply, Materials
from orchestrator.frameworks import registry
from orchestrator.frameworks.parts import runner_for
from orchestrator.frameworks.reading import circumstances
from orchestrator.frameworks.reading.circumstances import Circumstances
from orchestrator.frameworks.runner import Command, Evidence, FedShard, Files, Reading
from orchestrator.isa.levels import NATIVE
from orchestrator.measurement import Energy, Finding, Measurement, Outcome
from orchestrator.measures.accuracy.samples import WHOLE_VALUES
from orchestrator.measures.registry import measure_of
from orchestrator.runs import rawlog
from orchestrator.runs.directory import RunDirectory
from orchestrator.runs.journal import Journal, Row
from orchestrator.trial import GateSettings, RunSettings, Trial


@dataclass(frozen=True)
class Target:
    """What a device's trials need to know of it: its interpreter, lock and CPUs, and what may be
    done to it for them."""

    device: str
    python: str
    exclusive: bool
    cpus: tuple[int, ...] | None
    pin: bool = False
    tune: bool = False
    energy: bool = False


@dataclass(frozen=True)
class Requests:
    """A device's trials as its agent is asked for them."""

    target: Target
    settings: RunSettings
    materials: Materials
    supply: DeviceSupply

    def request(self, trial: Trial) -> dict[str, Any]:
        """What the agent is to run for ``trial``, as it travels."""
        command = self.command(trial)
        return TrialRequest(
            trial_id=trial.trial_id,
            argv=command.argv,
            timeout_s=measure_of(trial.kind).settings(self.settings).timeout_s,
            env=command.env,
            blobs=command.blobs,
            cpus=self.target.cpus,
            exclusive=self.target.exclusive,
            conditions=self._conditions(trial),
        ).to_json()

    def command(self, trial: Trial) -> Command:
        """The command line, with placeholders for blobs."""
        return runner_for(trial).command(trial, self.settings, self.files(trial))

    def files(self, trial: Trial) -> Files:
        """What the trial's runner needs to know of its files."""
        artifact, cap = self.materials.artifacts[trial.variant], self.materials.cap
        about = registry.runner(trial.factors.runner)
        binary = self.supply.binary if about.tool is not None else None
        binary = self.materials.program if about.program else binary
        site = self.supply.sites.get(trial.factors.runtime)
        return Files(
            model_sha256=artifact.sha256,
            model_size_bytes=artifact.size_bytes,
            python=self.target.python,
            binary_sha256=None if binary is None else binary.sha256,
            inputs=artifact.inputs,
            signature=artifact.signature,
            default_signature=artifact.default_signature,
            cap_sha256=None if cap is None or trial.factors.isa == NATIVE else cap.sha256,
            site_sha256=None if site is None else site.sha256,
            check_range=artifact.check_range,
            samples=self._fed(trial),
        )

    def _fed(self, trial: Trial) -> FedShard | None:
        samples, found = self.materials.samples, self.materials.shard_of(trial)
        if samples is None or found is None:
            return None
        feed, shard = found
        return FedShard(
            shard.sha256,
            shard.first,
            shard.count,
            feed.mean,
            feed.std,
            WHOLE_VALUES[samples.task],
            *samples.masks,
        )

    def _conditions(self, trial: Trial) -> Conditions:
        """Ask for a still machine only where time is measured: only there energy is of use, too."""
        if not measure_of(trial.kind).quiet:
            return Conditions()
        duet = None if trial.duet is None else Duet(trial.duet.partner, trial.duet.half)
        return Conditions(
            pin=trial.factors.threads if self.target.pin or duet is not None else None,
            tune=self.target.tune,
            energy=self.target.energy,
            gate=_gate(self.settings.gate),
            duet=duet,
        )


class Recorder:
    """Knows a device's trials on both sides of the wire. One thread."""

    def __init__(self, requests: Requests, directory: RunDirectory, journal: Journal) -> None:
        self._requests = requests
        self._target = requests.target
        self._directory = directory
        self._journal = journal

    def request(self, trial: Trial) -> dict[str, Any]:
        """What the agent is to run for ``trial``, as it travels."""
        return self._requests.request(trial)

    def write(self, event: Event) -> None:
        """Any event but ``finished``, as the agent tells it."""
        self._journal.append_mixed(self._target.device, [self.row(event)])

    def write_finished(self, trial: Trial, event: Event) -> Mapping[str, Any]:
        """Keep the raw log, then write what it means; returns the journal's line.

        Raises AgentError where the event is not what the protocol says.
        """
        return self._journal.append_mixed(self._target.device, [self.finished_row(trial, event)])[0]

    def row(self, event: Event) -> Row:
        """Any event but ``finished`` as the journal is to have it."""
        told.check_size(event.fields, "an event", device=self._target.device)
        own = ("seq", "event", "time", "device", "format", "agent_seq", "device_time")
        fields = {name: value for name, value in event.fields.items() if name not in own}
        return event.event, {"agent_seq": event.seq, "device_time": event.time, **fields}

    def finished_row(self, trial: Trial, event: Event) -> Row:
        """What a ``finished`` event means, its raw log being on disk then.

        Raises AgentError where the event is not what the protocol says.
        """
        evidence, reading, seen, findings, energy = self.interpret(trial, event)
        files = self._requests.files(trial)
        log = self._directory.write_log(
            trial.trial_id,
            rawlog.render(
                self._requests.command(trial).argv,
                evidence,
                event.fields.get("power"),
                reading.steady_us,
            ),
        )
        return "finished", dict(
            **{name: value for name, value in trial.to_json().items() if name != "device"},
            outcome=reading.outcome.value,
            reason=reading.reason,
            **({} if reading.measurement is None else reading.measurement.to_json()),
            **({} if reading.isa_proof is None else {"isa_proof": reading.isa_proof.to_json()}),
            findings=[finding.to_json() for finding in findings],
            energy=None if energy is None else asdict(energy),
            during=seen.during,
            artifact_sha256=files.model_sha256,
            binary_sha256=files.binary_sha256,
            **({} if files.site_sha256 is None else {"site_sha256": files.site_sha256}),
            log=log,
            agent_seq=event.seq,
            device_time=event.time,
            **{name: event.fields.get(name) for name in _AS_TOLD},
            **({"cause": cause} if (cause := event.fields.get("cause")) is not None else {}),
            **{k: v for k, v in asdict(evidence).items() if k not in ("stdout", "stderr")},
        )

    def interpret(
        self, trial: Trial, event: Event
    ) -> tuple[Evidence, Reading, Circumstances, tuple[Finding, ...], Energy | None]:
        """What a ``finished`` event means; nothing is written.

        Raises AgentError where the event is not what the protocol says.
        """
        evidence = evidence_of(event, device=self._target.device)
        reading = self._read(trial, event, evidence)
        seen = self._circumstances(trial, event)
        if reading.measurement is None:
            return evidence, reading, seen, reading.findings, None
        findings = reading.findings + self._findings(trial, seen)
        return evidence, reading, seen, findings, self._energy(event, reading.measurement)

    def _read(self, trial: Trial, event: Event, evidence: Evidence) -> Reading:
        why = event.fields.get("reason")
        if why is not None:  # no process ran to its end
            return Reading(Outcome.FAILED, reason=f"it could not be run: {why}")
        return runner_for(trial).read(
            trial, self._requests.settings, self._requests.files(trial), evidence
        )

    def _circumstances(self, trial: Trial, event: Event) -> Circumstances:
        fields = event.fields
        before, after = fields.get("health_before"), fields.get("health")
        device = self._target.device
        try:
            return Circumstances(
                during=health.difference(before, after) if before and after else {},
                before=before or {},
                after=after or {},
                rusage=fields.get("rusage") or {},
                conditions=fields.get("conditions") or {},
                unpinned_binary=registry.runner(trial.factors.runner).tool is not None
                and self._requests.supply.unpinned,
            )
        except _MISREAD as exc:
            raise _unreadable(exc, device) from exc

    def _findings(self, trial: Trial, seen: Circumstances) -> tuple[Finding, ...]:
        try:
            return circumstances.findings(trial, seen)
        except _MISREAD as exc:
            raise _unreadable(exc, self._target.device) from exc

    def _energy(self, event: Event, measurement: Measurement) -> Energy | None:
        try:
            return circumstances.energy_of(event.fields.get("power"), measurement)
        except _MISREAD as exc:
            raise _unreadable(exc, self._target.device) from exc


#: What the agent says of a finished trial in addition to the evidence.
_AS_TOLD = ("attempt", "rusage", "machine_lock", "conditions", "health_before", "health")


_T = TypeVar("_T")

#: What reading figures that contradict each other may end in.
_MISREAD = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)


def _gate(settings: GateSettings | None) -> Gate | None:
    """What the agent waits for; None where nothing can be out of bounds, so that it need not look.

    A load of 1 is one that nothing can exceed.
    """
    if settings is None or (settings.load >= 1 and settings.temperature_c is None):
        return None
    load = settings.load if settings.load < 1 else None
    return Gate(load, settings.temperature_c, settings.timeout_s)


def evidence_of(event: Event, *, device: str) -> Evidence:
    """The evidence in a ``finished`` event, which is held against its shape and its bounds.

    Raises AgentError where it is not what the protocol says.
    """
    told.check_size(event.fields, "a finished trial", device=device)
    told.check(event.fields, told.FINISHED, "a finished trial", device=device)
    return evidence_from(event.fields, device=device)


def evidence_from(event: Mapping[str, Any], *, device: str) -> Evidence:
    """The evidence in a ``finished`` event. Raises AgentError where the event has another shape.

    A trial that could not be started took no time.
    """
    try:
        return Evidence(
            exit_code=_optional(int, event["exit_code"]),
            signal=_optional(int, event["signal"]),
            timed_out=bool(event["timed_out"]),
            oom_killed=event["oom_killed"] is True,
            wall_s=float(event["wall_s"] or 0.0),
            stdout=str(event["stdout"]),
            stderr=str(event["stderr"]),
            stdout_bytes=int(event["stdout_bytes"]),
            stderr_bytes=int(event["stderr_bytes"]),
            oom_memory=_optional(str, event.get("oom_memory")),
            launch=event.get("launch"),
        )
    except _MISREAD as exc:
        raise _unreadable(exc, device) from exc


def _unreadable(exc: Exception, device: str) -> AgentError:
    return AgentError(f"sent a finished trial that cannot be read ({exc!r})", device=device)


def _optional(kind: Callable[[Any], _T], value: object) -> _T | None:
    return None if value is None else kind(value)
