"""``results/<run-id>/`` as a whole: made, found, listed, and read back for the analysis."""

from __future__ import annotations

import difflib
import os
import re
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, dataclass, fields
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from orchestrator.errors import JournalError, RunNotFoundError
from orchestrator.measurement import Energy, Finding, Measurement, Outcome
from orchestrator.plan import Factors, Trial, TrialKind, Variant
from orchestrator.runs import journal as journals
from orchestrator.runs.manifest import FILE_NAME as MANIFEST_NAME
from orchestrator.runs.manifest import Manifest, read_manifest
from orchestrator.runs.records import RunRecord, TrialRecord

_RUN_ID = re.compile(r"\A\d{8}T\d{6}Z-[0-9a-f]{6}\Z")


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
        if (as_path / MANIFEST_NAME).is_file():
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
        there without the log it came from.
        """
        name = f"{trial_id}.txt"
        temporary = self.logs / f".{name}.tmp"
        with temporary.open("w", encoding="utf-8", errors="backslashreplace") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(self.logs / name)
        return f"logs/{name}"

    def read(self) -> RunRecord:
        """The whole run from manifest and journal alone. Raises JournalError."""
        contents = journals.read_journal(self.path / journals.FILE_NAME)
        return to_record(read_manifest(self.path), contents.events)


def list_runs(results: Path) -> tuple[RunDirectory, ...]:
    """Every run in ``results``, oldest first."""
    if not results.is_dir():
        return ()
    return tuple(
        RunDirectory(path)
        for path in sorted(results.iterdir())
        if _RUN_ID.match(path.name) and (path / MANIFEST_NAME).is_file()
    )


def to_record(manifest: Manifest, events: Iterable[Mapping[str, Any]]) -> RunRecord:
    """What the analysis works on, from a run's manifest and its events."""
    trials: list[TrialRecord] = []
    planned: list[Trial] = []
    lost: dict[str, str] = {}
    stopped: dict[str, str] = {}
    facts: dict[str, Mapping[str, Any]] = dict(manifest.facts)
    for event in events:
        kind, device = event["event"], event["device"]
        if kind == "planned":
            planned.append(trial_from_event(event))
        elif kind == "finished":
            trials.append(trial_record(event))
        elif kind == "device_lost":
            lost[device] = event["reason"]
        elif kind == "device_ready":
            lost.pop(device, None)
            facts[device] = event["facts"]
        elif kind == "stopped":
            stopped[event["group"]] = event["reason"]
    protocol = manifest.suite["protocol"]
    low, high = _blocks(protocol["blocks"])
    return RunRecord(
        run_id=manifest.run_id,
        baseline=manifest.suite["baseline"],
        devices=manifest.devices,
        planned=tuple(planned),
        trials=tuple(trials),
        artifacts={a.variant: a for a in manifest.artifacts},
        facts=facts,
        lost=lost,
        stopped=stopped,
        precision=protocol["precision"],
        min_blocks=low,
        max_blocks=high,
        suite=manifest.suite["name"],
        grid_gco2_per_kwh={
            device["name"]: device["grid_gco2_per_kwh"]
            for device in manifest.inventory.get("devices", ())
            if device.get("grid_gco2_per_kwh") is not None
        },
    )


def _blocks(text: str) -> tuple[int, int]:
    low, _, high = str(text).partition(":")
    return int(low), int(high or low)


def trial_from_event(event: Mapping[str, Any]) -> Trial:
    """The trial that a ``planned`` or ``finished`` line is about."""
    return Trial(
        trial_id=event["trial_id"],
        device=event["device"],
        kind=TrialKind(event["kind"]),
        variant=Variant(event["model"], event["scheme"]),
        factors=_factors(event),
        block=event["block"],
        replicate=event["replicate"],
    )


def _factors(event: Mapping[str, Any]) -> Factors:
    """Lines of before a factor was known do not have it, and ran under its default."""
    values = {
        each.name: event[each.name]
        if each.default is MISSING
        else event.get(each.name, each.default)
        for each in fields(Factors)
    }
    return Factors(**values)


def trial_record(event: Mapping[str, Any]) -> TrialRecord:
    """A ``finished`` line as a value."""
    outcome = Outcome(event["outcome"])
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
    )
