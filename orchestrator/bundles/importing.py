"""Results of a bundle → the run they belong to, as if the device had been reached.

Everything is held against the plan before the first line is written. What the journal has already
is not written again, so that the same file, or an older one, adds nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from orchestrate_agent.protocol import Event
from orchestrator import campaign
from orchestrator.bundles.making import plan_of
from orchestrator.bundles.results import Results, open_results
from orchestrator.errors import DeviceError, UsageError
from orchestrator.fleet import told
from orchestrator.fleet.intake import Intake
from orchestrator.fleet.materials import DeviceSupply
from orchestrator.fleet.provision import check_expectations
from orchestrator.fleet.recording import Recorder, Requests
from orchestrator.runs.directory import RunDirectory, list_runs, trial_record
from orchestrator.runs.journal import Journal, Row, naming
from orchestrator.runs.manifest import Manifest, read_manifest
from orchestrator.schedule import Schedule
from orchestrator.supply import stored_supplies

#: A bundle judges nothing, so that no block of it ends at the precision asked for.
UNJUDGED = "a bundle does not stop at a precision"
_ENDS = ("budget", "maximum")
#: Events that are written with one sync. The file has them still, should it not come to that.
_AT_ONCE = 200


@dataclass(frozen=True)
class Arrival:
    """What came of one file: ``added`` trials that had not finished here, and whether the device's
    part of the plan is complete now."""

    directory: RunDirectory
    device: str
    added: int
    complete: bool


def import_results(path: Path, results: Path, models_dir: Path) -> Arrival:
    """Merge a file into its run in ``results``. Raises OrchestrateError."""
    found = open_results(path)
    directory = _run_of(found, results)
    manifest = read_manifest(directory.path)
    if found.device not in manifest.bundled:
        raise UsageError(
            f"{path}: run {found.run_id} has no bundle for a device called {found.device}; is it "
            f"the run that the bundle was made for?"
        )
    with Journal(directory.path) as journal:
        arrival = _FileImport(found, manifest, directory, journal, models_dir)
        try:
            arrival.check()
        except DeviceError as exc:
            raise UsageError(f"{path}: {exc}; nothing of it was imported") from exc
        added = arrival.write()
        return Arrival(directory, found.device, added, arrival.complete)


def _run_of(found: Results, results: Path) -> RunDirectory:
    for directory in list_runs(results):
        if directory.run_id == found.run_id:
            return directory
    raise UsageError(
        f"{found.path}: belongs to run {found.run_id}, which is not in {results}; name the folder "
        f"that has it with --results"
    )


class _FileImport:
    """One file on its way into one run. One thread."""

    def __init__(
        self,
        found: Results,
        manifest: Manifest,
        directory: RunDirectory,
        journal: Journal,
        models_dir: Path,
    ) -> None:
        device, plan, part = plan_of(manifest, found.device)
        self._found = found
        self._journal = journal
        self._device = found.device
        self._expect = device.expect
        self._trials = {trial.trial_id: trial for trial in part.trials}
        self._schedule = Schedule(plan, part, None)
        materials = campaign.named_materials(manifest, plan, models_dir)
        supply = stored_supplies(manifest, None).get(found.device, DeviceSupply())
        requests = Requests(campaign.target_of(device), plan.settings, materials, supply)
        self._recorder = Recorder(requests, directory, journal)
        self._starts = 0
        #: What an earlier file brought, by its number there.
        self._known: dict[int, tuple[Any, ...]] = {}
        self._planned: set[str] = set()
        #: The trials of the file, in the order in which they began.
        self._begun: dict[str, None] = {}
        self._restore()

    @property
    def complete(self) -> bool:
        return self._schedule.complete

    def _restore(self) -> None:
        for line, event in self._journal.numbered:
            if event["device"] == self._device:
                with naming(self._journal.path, line):
                    self._restore_event(event)

    def _restore_event(self, event: Mapping[str, Any]) -> None:
        kind = event["event"]
        if event.get("agent_seq") is not None:
            self._known[event["agent_seq"]] = (kind, event["trial_id"], event["device_time"])
        if kind == "device_ready":
            self._starts += 1
        elif kind == "planned":
            self._schedule.release(event["trial_id"])
            self._planned.add(event["trial_id"])
        elif kind == "finished":
            self._schedule.finish(trial_record(event))
        elif kind == "stopped":
            self._schedule.stop(event["group"], event["reason"])

    # -- before anything is written -----------------------------------------------------------

    def check(self) -> None:
        """Raise UsageError or DeviceError unless all of it can be what the plan's trials gave."""
        for start in self._found.starts:
            check_expectations(start["facts"], self._expect, device=self._device)
        intake, under_way, seq = Intake(self._device), set[str](), 0
        for event in self._found.events():
            trial_id = event.trial_id
            is_new = trial_id in self._trials and trial_id not in self._begun
            if event.event == "queued" and is_new:
                self._begun[trial_id] = None
                under_way.add(trial_id)
            intake.admit(event, after=seq, under_way=trial_id in under_way)
            seq = event.seq
            if seq in self._known:
                self._check_same(event)
            elif event.event == "finished":
                self._recorder.interpret(self._trials[trial_id], event)
            else:
                told.check_size(event.fields, "an event", device=self._device)
            if event.event == "finished":
                under_way.remove(trial_id)

    def _check_same(self, event: Event) -> None:
        if self._known[event.seq] != (event.event, event.trial_id, event.time):
            raise UsageError(
                f"{self._found.path}: event {event.seq} is another than the one that was imported "
                f"before: the bundle was begun anew, in another folder, and its trials ran twice. "
                f"Import the file of the first folder; what a second one measured belongs to a run "
                f"or a device of its own"
            )

    # -- into the run -------------------------------------------------------------------------

    def write(self) -> int:
        """Write what is new; returns how many trials finished in it."""
        for start in self._found.starts[self._starts :]:
            unverified = check_expectations(start["facts"], self._expect, device=self._device)
            self._journal.append(self._device, "device_ready", **_ready(start, unverified))
        new = [trial_id for trial_id in self._begun if trial_id not in self._planned]
        if new:
            planned = [self._trials[trial_id].to_json() for trial_id in new]
            self._journal.append_all(self._device, "planned", planned)
        for trial_id in new:
            self._schedule.release(trial_id)
        rows, added = map(self._row, self._new_events()), 0
        while lines := self._journal.append_mixed(self._device, islice(rows, _AT_ONCE)):
            finished = [trial_record(line) for line in lines if line["event"] == "finished"]
            for record in finished:
                self._schedule.finish(record)
            added += len(finished)
        self._write_stops()
        return added

    def _new_events(self) -> Iterator[Event]:
        return (event for event in self._found.events() if event.seq not in self._known)

    def _row(self, event: Event) -> Row:
        if event.event != "finished":
            return self._recorder.row(event)
        return self._recorder.finished_row(self._trials[event.trial_id], event)

    def _write_stops(self) -> None:
        before = self._schedule.stopped
        self._schedule.next_trials()  # what it would run next decides what it runs no more
        stops = [
            {"group": group, "reason": f"{why}; {UNJUDGED}" if why.startswith(_ENDS) else why}
            for group, why in self._schedule.stopped.items()
            if group not in before
        ]
        if stops:
            self._journal.append_all(self._device, "stopped", stops)


def _ready(start: Mapping[str, Any], unverified: tuple[str, ...]) -> dict[str, Any]:
    return {
        "facts": start["facts"],
        "agent_hash": start.get("agent_hash"),
        "unverified_expectations": list(unverified),
        "runtimes": dict(start.get("runtimes") or {}),
        "device_time": start.get("time"),
    }
