"""Drives one device through its part of the plan, writing every event down before acting on it.

One thread a device. The device's daemon holds at most one block more than it is running, so that
it never waits for us, and goes on by itself when we are gone.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from agents.protocol import Event
from orchestrator.errors import AgentError, DeviceError, TransientDeviceError
from orchestrator.fleet.link import AgentRefusalError
from orchestrator.fleet.progress import DeviceProgress, Observer, State, StopLevel, StopRequest
from orchestrator.fleet.provision import Blob, Node, check_expectations, choose_runtime, push
from orchestrator.measurement import Outcome
from orchestrator.plan import DevicePlan, Plan, Trial, Variant
from orchestrator.runners.base import Command, Evidence, Files, Reading
from orchestrator.runners.registry import runner_named
from orchestrator.runs import rawlog
from orchestrator.runs.directory import RunDirectory, trial_record
from orchestrator.runs.journal import Journal
from orchestrator.runs.records import ArtifactRecord
from orchestrator.schedule import PrecisionOf, Schedule

log = logging.getLogger(__name__)

#: How long a wait for the next event lasts before we look whether the user wants to stop.
GLANCE_S = 1.0
#: Pauses between tries to reach a device again, in seconds. Progress starts the list anew.
RETRY_PAUSES_S = (1.0, 2.0, 4.0, 8.0, 16.0, 30.0)


@dataclass(frozen=True)
class Target:
    """One device as its thread needs it. ``reach`` connects anew each time it is called."""

    device: str
    reach: Callable[[], Node]
    python: str
    expect: Mapping[str, Any]
    exclusive: bool
    cpus: tuple[int, ...] | None


@dataclass(frozen=True)
class Materials:
    """The bytes of a run: every variant's file, and each device's binary where it has one."""

    artifacts: Mapping[Variant, ArtifactRecord]
    blobs: Mapping[Variant, Blob]
    binaries: Mapping[str, Blob]

    def needed_by(self, plan: DevicePlan) -> tuple[Blob, ...]:
        """What ``plan``'s device must hold, each blob once."""
        blobs = {self.blobs[t.variant].sha256: self.blobs[t.variant] for t in plan.trials}
        if plan.device in self.binaries and plan.needs_binary:
            binary = self.binaries[plan.device]
            blobs[binary.sha256] = binary
        return tuple(blobs.values())


@dataclass(frozen=True)
class Campaign:
    """What all devices of a run share."""

    plan: Plan
    materials: Materials
    directory: RunDirectory
    journal: Journal
    precision_of: PrecisionOf
    observer: Observer
    stop: StopRequest


class DeviceRun:
    """One device's run, from reached to done; survives losing the device in between."""

    def __init__(self, campaign: Campaign, target: Target, plan: DevicePlan) -> None:
        self._campaign = campaign
        self._target = target
        self._plan = plan
        self._trials = {trial.trial_id: trial for trial in plan.trials}
        self._schedule = Schedule(campaign.plan, plan, campaign.precision_of)
        self._written_stops: set[str] = set()
        self._agent_seq = 0
        self._done = 0
        self._walls: list[float] = []
        self._cancelling = StopLevel.GO_ON
        self._open: set[str] = set()
        self._restore()

    @property
    def complete(self) -> bool:
        """Whether everything that this device had to do is done."""
        return self._schedule.complete

    def run(self, node: Node) -> None:
        """Run until the plan is done or the user stops it, reaching the device again if lost.

        Closes the node. Raises DeviceError when the device is lost for good.
        """
        pauses = list(RETRY_PAUSES_S)
        while True:
            before = self._agent_seq
            try:
                self._drive(node)
            except TransientDeviceError as exc:
                node.close()
                if self._agent_seq > before:
                    pauses = list(RETRY_PAUSES_S)
                node = self._reach_again(exc, pauses)
            except DeviceError:
                node.close()
                raise
            else:
                node.close()
                return

    def _reach_again(self, error: TransientDeviceError, pauses: list[float]) -> Node:
        while pauses:
            pause = pauses.pop(0)
            self._tell(State.RETRYING, f"{error}; again in {pause:g} s")
            if self._campaign.stop.wait(pause):
                break
            try:
                return self._target.reach()
            except TransientDeviceError as exc:
                error = exc
        raise error

    # -- what the journal says already ------------------------------------------------------

    def _restore(self) -> None:
        for event in self._campaign.journal.events:
            if event["device"] != self._target.device:
                continue
            self._agent_seq = event.get("agent_seq", self._agent_seq)
            if event["event"] == "planned":
                self._schedule.release(event["trial_id"])
                self._open.add(event["trial_id"])
            elif event["event"] == "finished":
                self._note_finished(event)

    def _note_finished(self, event: Mapping[str, Any]) -> None:
        record = trial_record(event)
        self._schedule.finish(record)
        self._open.discard(record.trial.trial_id)
        self._done += 1
        if record.wall_s is not None:
            self._walls.append(record.wall_s)

    # -- the loop ---------------------------------------------------------------------------

    def _drive(self, node: Node) -> None:
        self._prepare(node)
        self._follow(node)
        self._submit(node, [self._trials[i] for i in self._trials if i in self._open])
        while not self._finished_driving(node):
            event = node.link.event(GLANCE_S)
            if event is not None:
                self._take(event)
                self._tell(State.RUNNING, _what(event))
        self._end(node)

    def _follow(self, node: Node) -> None:
        run_id, device = self._campaign.directory.run_id, self._target.device
        try:
            node.link.follow(run_id, device, self._agent_seq + 1)
        except AgentRefusalError as exc:
            if exc.error.kind != "unknown_seq":
                raise
            # The device forgot what it had (a reinstalled node, an emptied home). We hold every
            # event up to our own number, so only what was under way is lost; it is run again.
            last_seq = int(exc.error.details.get("last_seq", 0))
            self._campaign.journal.append(
                device, "spool_lost", had=self._agent_seq, agent_seq=last_seq
            )
            self._agent_seq = last_seq
            node.link.follow(run_id, device, last_seq + 1)

    def _finished_driving(self, node: Node) -> bool:
        level = self._campaign.stop.level
        if level > self._cancelling:
            self._cancelling = level
            self._cancel(node, running=level is StopLevel.NOW)
        if self._cancelling is not StopLevel.GO_ON:
            return not self._open
        self._release(node)
        return self._schedule.complete

    def _prepare(self, node: Node) -> None:
        journal, device = self._campaign.journal, self._target.device
        unverified = check_expectations(node, self._target.expect)
        journal.append(
            device,
            "device_ready",
            facts=node.facts,
            agent_hash=node.hello.get("agent_hash"),
            unverified_expectations=list(unverified),
        )
        wanted = self._plan.runtimes
        runtimes = [choose_runtime(node, runtime) for runtime in sorted(wanted)]
        blobs = self._campaign.materials.needed_by(self._plan)
        pushed = push(node, blobs, self._tell_push)
        journal.append(
            device,
            "device_prepared",
            pushed_bytes=pushed,
            blobs=[blob.sha256 for blob in blobs],
            runtimes=dict(runtimes[0]) if runtimes else {},
        )

    def _tell_push(self, blob: Blob, sent: int) -> None:
        megabytes = f"{sent / 1e6:.0f} of {blob.size_bytes / 1e6:.0f} MB"
        self._tell(State.PUSHING, f"{blob.path.name}: {megabytes}")

    def _release(self, node: Node) -> None:
        # With one trial left in hand the next block goes out, so that the device never idles
        # while we think; a group on its own is thereby judged without that last trial.
        while self._schedule.unfinished <= 1:
            trials = self._schedule.next_trials()
            self._write_stops()
            if not trials:
                return
            rows = [trial.to_json() for trial in trials]
            self._campaign.journal.append_all(self._target.device, "planned", rows)
            for trial in trials:
                self._schedule.release(trial.trial_id)
                self._open.add(trial.trial_id)
            self._submit(node, trials)

    def _write_stops(self) -> None:
        for group, reason in self._schedule.stopped.items():
            if group not in self._written_stops:
                self._written_stops.add(group)
                self._campaign.journal.append(
                    self._target.device, "stopped", group=group, reason=reason
                )

    def _submit(self, node: Node, trials: Sequence[Trial]) -> None:
        if not trials:
            return
        node.link.request(
            "submit",
            run_id=self._campaign.directory.run_id,
            device=self._target.device,
            trials=[self._request(trial) for trial in trials],
        )

    def _request(self, trial: Trial) -> dict[str, Any]:
        command = self._command(trial)
        return {
            "trial_id": trial.trial_id,
            "argv": list(command.argv),
            "env": dict(command.env),
            "blobs": list(command.blobs),
            "timeout_s": self._campaign.plan.settings.timeout_s,
            "cpus": None if self._target.cpus is None else list(self._target.cpus),
            "exclusive": self._target.exclusive,
        }

    def _cancel(self, node: Node, *, running: bool) -> None:
        node.link.request(
            "cancel",
            run_id=self._campaign.directory.run_id,
            device=self._target.device,
            running=running,
        )

    def _end(self, node: Node) -> None:
        if not self._schedule.complete:
            self._tell(State.INTERRUPTED, "stopped; what is left can be resumed")
            return
        # Every event is in the journal; the spool has served its purpose.
        node.link.request(
            "release", run_id=self._campaign.directory.run_id, device=self._target.device
        )
        self._tell(State.DONE, "")

    # -- events -----------------------------------------------------------------------------

    def _take(self, event: Event) -> None:
        trial = self._trials.get(event.trial_id)
        if event.seq != self._agent_seq + 1:
            raise AgentError(
                f"sent event {event.seq} where {self._agent_seq + 1} comes next",
                device=self._target.device,
            )
        if trial is None or trial.trial_id not in self._open:
            raise AgentError(
                f"sent an event of a trial that is not under way: {event.trial_id}",
                device=self._target.device,
            )
        if event.event == "finished":
            self._note_finished(self._write_finished(trial, event))
        else:
            self._write(event)
        if event.event == "cancelled":
            self._open.discard(trial.trial_id)
        self._agent_seq = event.seq

    def _write(self, event: Event) -> None:
        own = ("seq", "event", "time", "device", "format", "agent_seq", "device_time")
        self._campaign.journal.append(
            self._target.device,
            event.event,
            agent_seq=event.seq,
            device_time=event.time,
            **{name: value for name, value in event.fields.items() if name not in own},
        )

    def _write_finished(self, trial: Trial, event: Event) -> Mapping[str, Any]:
        command = self._command(trial)
        reading, evidence = self._read(trial, event)
        name = self._campaign.directory.write_log(
            trial.trial_id, rawlog.render(command.argv, evidence)
        )
        files = self._files(trial)
        measurement = reading.measurement
        return self._campaign.journal.append(
            self._target.device,
            "finished",
            **{k: v for k, v in trial.to_json().items() if k != "device"},
            outcome=reading.outcome.value,
            reason=reading.reason,
            **({} if measurement is None else measurement.to_json()),
            findings=[finding.to_json() for finding in reading.findings],
            artifact_sha256=files.model_sha256,
            binary_sha256=files.benchmark_model_sha256,
            log=name,
            agent_seq=event.seq,
            device_time=event.time,
            wall_s=evidence.wall_s,
            **{
                k: event.fields.get(k)
                for k in ("attempt", "rusage", "machine_lock", "health_before", "health")
            },
            **{
                k: v for k, v in asdict(evidence).items() if k not in ("stdout", "stderr", "wall_s")
            },
        )

    def _read(self, trial: Trial, event: Event) -> tuple[Reading, Evidence]:
        evidence = evidence_from(event.fields, device=self._target.device)
        why = event.fields.get("reason")
        if why is not None:  # no process ran to its end
            return Reading(Outcome.FAILED, reason=f"it could not be run: {why}"), evidence
        runner = runner_named(trial.factors.runner)
        reading = runner.read(trial, self._campaign.plan.settings, self._files(trial), evidence)
        return reading, evidence

    def _command(self, trial: Trial) -> Command:
        runner = runner_named(trial.factors.runner)
        return runner.command(trial, self._campaign.plan.settings, self._files(trial))

    def _files(self, trial: Trial) -> Files:
        materials = self._campaign.materials
        artifact = materials.artifacts[trial.variant]
        uses_binary = trial.factors.runner == "benchmark_model"
        binary = materials.binaries.get(self._target.device) if uses_binary else None
        return Files(
            model_sha256=artifact.sha256,
            model_size_bytes=artifact.size_bytes,
            python=self._target.python,
            benchmark_model_sha256=None if binary is None else binary.sha256,
        )

    # -- what the user sees -----------------------------------------------------------------

    def _tell(self, state: State, detail: str) -> None:
        remaining = self._schedule.remaining()
        mean_s = sum(self._walls) / len(self._walls) if self._walls else None
        self._campaign.observer(
            DeviceProgress(
                device=self._target.device,
                state=state,
                detail=detail,
                done=self._done,
                expected=self._done + remaining,
                eta_s=None if mean_s is None else mean_s * remaining,
            )
        )


def _what(event: Event) -> str:
    return f"{event.event} {event.trial_id.rpartition('.')[0] or event.trial_id}"


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
        )
    except (KeyError, TypeError, ValueError, OverflowError) as exc:
        raise AgentError(
            f"sent a finished trial that cannot be read ({exc!r})", device=device
        ) from exc


def _optional(kind: Callable[[Any], int], value: object) -> int | None:
    return None if value is None else kind(value)
