"""``results/<run-id>/`` as a whole: made, found, listed, and read back for the analysis."""

from __future__ import annotations

import difflib
import os
import re
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from functools import lru_cache, partial
from operator import itemgetter
from pathlib import Path
from typing import Any

from orchestrate_agent.protocol import ENVIRONMENT
from orchestrator import plain_files
from orchestrator.errors import JournalError, RunNotFoundError
from orchestrator.factors import BEFORE, NAMES, Factors
from orchestrator.measurement import Energy, Finding, Measurement, Outcome
from orchestrator.runs import journal as journals
from orchestrator.runs.answers import read_answers
from orchestrator.runs.collection import no_collection
from orchestrator.runs.machines import Machines
from orchestrator.runs.manifest import FILE_NAME as MANIFEST_NAME
from orchestrator.runs.manifest import Manifest, read_manifest
from orchestrator.runs.rawlog import read_times
from orchestrator.runs.records import RunRecord, SplitDevice, TrialRecord
from orchestrator.trial import Duet, Trial, TrialKind, Variant

#: Of the time that CPUs were at work, so much has to be a trial's own to say where it ran.
_MOSTLY_OWN = 0.8
RUN_ID = re.compile(r"\A\d{8}T\d{6}Z-[0-9a-f]{6}\Z")


def new_run_id() -> str:
    """UTC time and a short random part: sorts by time, never twice."""
    return f"{datetime.now(timezone.utc):%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}"


@dataclass(frozen=True)
class RunDirectory:
    """One run's folder."""

    path: Path

    @property
    def run_id(self) -> str:
        return self.path.name

    @property
    def logs(self) -> Path:
        return self.path / "logs"

    @classmethod
    def create(cls, results: Path, run_id: str) -> RunDirectory:
        """Make the folder of a new run. Raises JournalError where that is not possible."""
        path = results / run_id
        try:
            (path / "logs").mkdir(parents=True)
        except OSError as exc:
            raise JournalError(
                f"{path}: cannot be made ({exc.strerror}); choose another --results"
            ) from exc
        return cls(path)

    @classmethod
    def find(cls, results: Path, name: str) -> RunDirectory:
        """The run called ``name``: a run id, the unique beginning of one, ``last``, or a path."""
        as_path = Path(name)
        if os.path.lexists(as_path / MANIFEST_NAME):
            return cls(as_path.resolve())
        ids = [run.run_id for run in list_runs(results)]
        matches = ids[-1:] if name == "last" else [i for i in ids if i.startswith(name)]
        if len(matches) == 1:
            return cls(results / matches[0])
        if matches:
            raise RunNotFoundError(f"{name}: several runs begin so: {', '.join(matches)}")
        close = difflib.get_close_matches(name, ids, n=3) or ids[-3:]
        known = f"; there are: {', '.join(close)}" if close else f"; {results} holds no run yet"
        raise RunNotFoundError(f"{name}: no such run in {results}{known}")

    def write_log(self, trial_id: str, text: str) -> str:
        """Keep a trial's raw output; returns its path relative to the run, for the journal.

        On disk before the journal says the trial has finished, so that no figure ever stands
        there without the log it came from. Raises JournalError where it cannot be written.
        """
        return self.keep(f"{trial_id}.txt", text.encode("utf-8", "backslashreplace"))

    def keep(self, name: str, data: bytes) -> str:
        """Keep raw bytes among the logs; returns their path relative to the run.

        Raises JournalError where they cannot be written.
        """
        try:
            try:
                plain_files.write(self.path, f"logs/{name}", data)
            except FileNotFoundError:  # somebody removed the folder: what comes now is kept
                self.logs.mkdir(parents=True, exist_ok=True)
                plain_files.write(self.path, f"logs/{name}", data)
        except OSError as exc:
            raise journals.not_written(self.logs / name, exc) from exc
        return f"logs/{name}"

    def read(self) -> RunRecord:
        """The whole run from manifest and journal alone. Raises JournalError."""
        manifest = read_manifest(self.path)
        with no_collection():
            path = self.path / journals.FILE_NAME
            reader = journals.JournalReader(path, without=_NOT_RECORDED, listed=True)
            try:
                run = replace(to_record(manifest, reader), flaws=reader.flaws)
                return replace(
                    run,
                    answers_of=partial(read_answers, self.path),
                    times_of=partial(read_times, self.path),
                )
            except journals.MISREAD as exc:
                raise journals.misread(path, _misread_line(path) or reader.line, exc) from exc


def _misread_line(path: Path) -> int | None:
    """The first line that is not the trial that it is about. Of those planned most are never looked
    at, because a finished line tells its trial again."""
    reader = journals.JournalReader(path, without=_NOT_RECORDED)
    for event in reader:
        try:
            if event["event"] == "planned":
                trial_from_event(event)
            elif event["event"] == "finished":
                trial_record(event)
        except journals.MISREAD:
            return reader.line
    return None


#: Events that say nothing to a record: a third of a journal's bytes.
_NOT_RECORDED = ("queued", "started")


def list_runs(results: Path) -> tuple[RunDirectory, ...]:
    """Every run in ``results``, oldest first."""
    if not results.is_dir():
        return ()
    return tuple(
        RunDirectory(path)
        for path in sorted(results.iterdir())
        if RUN_ID.match(path.name) and os.path.lexists(path / MANIFEST_NAME)
    )


def to_record(manifest: Manifest, events: Iterable[Mapping[str, Any]]) -> RunRecord:
    """What the analysis works on, from a run's manifest and its events."""
    trials: list[TrialRecord] = []
    checks: list[TrialRecord] = []
    # A finished line tells its trial again: most planned lines need not become one.
    planned: dict[str, Trial | Mapping[str, Any]] = {}
    lost: dict[str, str] = {}
    stopped: dict[str, str] = {}
    paused: dict[str, dict[str, str]] = {}
    agents: dict[str, str] = {}
    facts: dict[str, Mapping[str, Any]] = dict(manifest.facts)
    machines = Machines()
    for event in events:
        kind, device = event["event"], event["device"]
        if kind == "planned":
            if event["kind"] == TrialKind.CHECK.value:
                machines.note(device, event["trial_id"])
                continue
            planned.setdefault(event["trial_id"], event)
            machines.note(device, event["trial_id"])
        elif kind == "finished":
            record = trial_record(event)
            (checks if record.trial.kind is TrialKind.CHECK else trials).append(record)
            machines.note(device, event["trial_id"])
            if record.trial.trial_id in planned:
                planned[record.trial.trial_id] = record.trial
        elif kind == "device_lost":
            lost[device] = event["reason"]
        elif kind == "device_ready":
            lost.pop(device, None)
            paused.pop(device, None)
            facts[device] = event["facts"]
            agents[device] = event.get("agent_hash") or ""
            machines.ready(device, event["facts"], agents[device])
        elif kind == "stopped" and event.get("resumable"):
            paused.setdefault(device, {})[event["group"]] = event["reason"]
        elif kind == "stopped":
            stopped[event["group"]] = event["reason"]
    protocol = manifest.suite["protocol"]
    low, high = _blocks(protocol["blocks"])
    run = RunRecord(
        run_id=manifest.run_id,
        baseline=manifest.suite["baseline"],
        devices=manifest.devices,
        planned=tuple(
            each if isinstance(each, Trial) else trial_from_event(each) for each in planned.values()
        ),
        trials=tuple(trials),
        checks=tuple(checks),
        artifacts={a.variant: a for a in manifest.artifacts},
        facts=facts,
        lost=lost,
        stopped=stopped,
        paused={group: why for groups in paused.values() for group, why in groups.items()},
        precision=protocol["precision"],
        min_blocks=low,
        max_blocks=high,
        suite=manifest.suite["name"],
        grid_gco2_per_kwh={
            device["name"]: device["grid_gco2_per_kwh"]
            for device in manifest.inventory.get("devices", ())
            if device.get("grid_gco2_per_kwh") is not None
        },
        agents=agents,
        duet=bool(protocol.get("duet")),
        compare=_compared(manifest.suite),
        bundled=manifest.bundled,
        samples=manifest.samples,
    )
    return _split(run, machines) if machines.several else run


def _split(run: RunRecord, machines: Machines) -> RunRecord:
    """The run with a column for each machine of a device that was several."""
    columns = {device: machines.columns(device) for device in machines.several}

    def each(device: str) -> tuple[str, ...]:
        return columns.get(device, (device,))

    def spread(of: Mapping[str, Any]) -> dict[str, Any]:
        return {column: value for device, value in of.items() for column in each(device)}

    def placed(trial: Trial) -> Trial:
        if trial.device not in columns:
            return trial
        return replace(trial, device=machines.column(trial.device, trial.trial_id))

    def of_groups(of: Mapping[str, str]) -> dict[str, str]:
        # a group's key begins with its device
        return {
            "/".join((column, *key.split("/")[1:])): why
            for key, why in of.items()
            for column in each(key.split("/")[0])
        }

    found = {
        column: machine
        for device, names in columns.items()
        for column, machine in zip(names, machines.of[device], strict=True)
    }
    return replace(
        run,
        devices=tuple(column for device in run.devices for column in each(device)),
        trials=tuple(replace(t, trial=placed(t.trial)) for t in run.trials),
        checks=tuple(replace(t, trial=placed(t.trial)) for t in run.checks),
        planned=tuple(placed(trial) for trial in run.planned),
        facts=spread(run.facts) | {column: m.facts for column, m in found.items()},
        agents=spread(run.agents) | {column: m.agent_hash for column, m in found.items()},
        lost=spread(run.lost),
        stopped=of_groups(run.stopped),
        paused=of_groups(run.paused),
        grid_gco2_per_kwh=spread(run.grid_gco2_per_kwh),
        bundled=frozenset(column for device in run.bundled for column in each(device)),
        split={
            column: SplitDevice(device, machines.unlike(device))
            for device, names in columns.items()
            for column in names
        },
    )


def _blocks(text: str) -> tuple[int, int]:
    low, _, high = str(text).partition(":")
    return int(low), int(high or low)


def _compared(suite: Mapping[str, Any]) -> tuple[str, ...]:
    """The runners that the suite compares with each other."""
    runners = suite.get("runner")
    if not suite.get("compare") or not isinstance(runners, list):
        return ()
    return tuple(str(name) for name in runners)


def trial_from_event(event: Mapping[str, Any]) -> Trial:
    """The trial that a ``planned`` or ``finished`` line is about."""
    factors = _factors(event)
    return Trial(
        trial_id=event["trial_id"],
        device=event["device"],
        kind=_KINDS[event["kind"]],
        variant=_variant(
            event["model"], event["scheme"], factors.export, event.get("framework") or ""
        ),
        factors=factors,
        block=event["block"],
        replicate=event["replicate"],
        duet=Duet(**event["duet"]) if event.get("duet") else None,
    )


_KINDS = {kind.value: kind for kind in TrialKind}
_OUTCOMES = {outcome.value: outcome for outcome in Outcome}

_all_factors = itemgetter(*NAMES)


def _factors(event: Mapping[str, Any]) -> Factors:
    """Lines of before a factor was known do not have it, and ran under its default."""
    try:
        values = _all_factors(event)
    except KeyError:
        values = _all_factors({**BEFORE, **event})
    return _shared_factors(*values)


# A run has thousands of trials and a few settings of its factors: one value of each is enough.
# ``typed``, because 1, 1.0 and True are one key and not one factor.
@lru_cache(maxsize=4096, typed=True)
def _shared_factors(*values: Any) -> Factors:
    return Factors(*values)


@lru_cache(maxsize=4096, typed=True)
def _variant(model: str, scheme: str, export: str, framework: str) -> Variant:
    return Variant(model, scheme, export, framework)


def trial_record(event: Mapping[str, Any]) -> TrialRecord:
    """A ``finished`` line as a value."""
    outcome = _OUTCOMES[event["outcome"]]
    return TrialRecord(
        trial=trial_from_event(event),
        outcome=outcome,
        measurement=Measurement.from_json(event) if outcome is Outcome.OK else None,
        reason=event.get("reason"),
        findings=tuple(Finding.from_json(f) for f in event.get("findings", ())),
        artifact_sha256=event.get("artifact_sha256"),
        binary_sha256=event.get("binary_sha256"),
        health_before=event.get("health_before"),
        health_after=event.get("health"),
        wall_s=event.get("wall_s"),
        conditions=event.get("conditions"),
        energy=Energy(**event["energy"]) if event.get("energy") else None,
        blameless=event.get("cause") == ENVIRONMENT,
        isa_way=(event.get("isa_proof") or {}).get("way") or "",  # early proofs do not tell
        ran_on=_ran_on(event),
    )


def _ran_on(event: Mapping[str, Any]) -> Mapping[str, float]:
    """How long each CPU was at work for a trial; nothing where it may have been for others."""
    busy = (event.get("during") or {}).get("busy_by_cpu_s") or {}
    usage = event.get("rusage") or {}
    user, system = usage.get("user_s"), usage.get("sys_s")
    if not busy or user is None or system is None:
        return {}
    return busy if user + system >= _MOSTLY_OWN * sum(busy.values()) else {}
