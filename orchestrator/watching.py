"""A run as it goes on, out of its folder alone: where each device stands, and the table so far.

For `orchestrate watch`, and for the page that a run keeps of itself. It costs little: the journal
is read from where it was read last, and the table is computed anew so rarely that it takes no more
than a twentieth of one CPU's time.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from orchestrator.analysis import analyse
from orchestrator.analysis.table import SpeedupTable
from orchestrator.config import Inventory, Suite
from orchestrator.errors import OrchestrateError
from orchestrator.plan import make_plan
from orchestrator.runs.directory import RunDirectory, to_record, trial_record
from orchestrator.runs.journal import FILE_NAME, MISREAD, JournalTail, misread
from orchestrator.runs.manifest import Manifest, read_manifest
from orchestrator.runs.standing import DeviceStanding, Standing
from orchestrator.schedule import Schedule

#: The table is computed anew at most so often, in seconds, and so rarely that it takes no larger
#: share of one CPU than this.
TABLE_EVERY_S = 5.0
MOST_SHARE = 0.05
#: With more trials than this no table is computed while the run goes on.
MOST_TRIALS = 20_000

#: What the table is computed of; other events say nothing to it.
_OF_THE_TABLE = frozenset(("device_ready", "device_lost", "planned", "finished", "stopped"))


@dataclass(frozen=True)
class RunNow:
    """A run at one moment. ``table`` is that of the first ``table_trials`` trials that ended, None
    where there is none yet or ``table_note`` says why there is none."""

    run_id: str
    created: str
    suite: str
    precision: float | None
    devices: tuple[DeviceStanding, ...]
    table: SpeedupTable | None
    table_trials: int
    table_note: str
    trials: int
    last_event: str

    @property
    def over(self) -> bool:
        """Whether no device does anything more."""
        return bool(self.devices) and all(device.over for device in self.devices)


@dataclass
class _Read:
    """What was read of the journal so far."""

    standing: Standing
    schedules: dict[str, Schedule]
    known: dict[str, frozenset[str]]
    events: list[Mapping[str, Any]] = field(default_factory=list)
    trials: int = 0
    last_event: str = ""
    number: int = 0


class Watch:
    """Looks at one run again and again. One thread."""

    def __init__(
        self, directory: RunDirectory, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """``clock`` gives seconds. Raises JournalError where the run cannot be read."""
        self._directory = directory
        self._clock = clock
        self._tail = JournalTail(directory.path / FILE_NAME)
        self._manifest = read_manifest(directory.path)
        self._read = self._begin()
        self._table: SpeedupTable | None = None
        self._table_trials = 0
        self._note = ""
        self._not_before = 0.0

    def _begin(self) -> _Read:
        schedules = dict(_schedules(self._manifest))
        return _Read(
            Standing(self._manifest),
            {device: schedule for device, (schedule, _) in schedules.items()},
            {device: known for device, (_, known) in schedules.items()},
        )

    def look(self, *, whole: bool = False) -> tuple[RunNow, bool]:
        """Read what is new; returns the run as it is now, and whether anything is new.

        ``whole``: the table is that of all trials, whatever it costs. Raises JournalError where the
        run cannot be read.
        """
        before, table = self._read.number, self._table
        generation = self._tail.generation
        for event in self._tail.read():
            if self._tail.generation != generation:  # another journal stands there
                generation = self._tail.generation
                self._manifest = read_manifest(self._directory.path)
                self._read = self._begin()
            self._take(event)
        self._compute(whole=whole)
        read = self._read
        now = RunNow(
            run_id=self._manifest.run_id,
            created=self._manifest.created,
            suite=str(self._manifest.suite.get("name") or ""),
            precision=(self._manifest.suite.get("protocol") or {}).get("precision"),
            devices=tuple(map(self._with_time_to_go, read.standing.devices)),
            table=self._table,
            table_trials=self._table_trials,
            table_note=self._note,
            trials=read.trials,
            last_event=read.last_event,
        )
        return now, (read.number, self._table) != (before, table)

    def _take(self, event: Mapping[str, Any]) -> None:
        read = self._read
        read.number += 1
        read.last_event = str(event.get("time") or "")
        try:
            read.standing.take(event)
            self._schedule(event)
        except MISREAD as exc:
            raise misread(self._directory.path / FILE_NAME, self._tail.line, exc) from exc
        read.trials += event["event"] == "finished"
        if read.trials > MOST_TRIALS:
            read.events.clear()
        elif event["event"] in _OF_THE_TABLE:
            read.events.append(event)

    def _schedule(self, event: Mapping[str, Any]) -> None:
        device, kind = event["device"], event["event"]
        schedule = self._read.schedules.get(device)
        if schedule is None:
            return
        if kind in ("planned", "finished") and event["trial_id"] not in self._read.known[device]:
            # resumed with an inventory that plans otherwise: nobody knows what is to come
            del self._read.schedules[device]
        elif kind == "planned":
            schedule.release(event["trial_id"])
        elif kind == "finished":
            schedule.finish(trial_record(event))
        elif kind == "stopped" and not event.get("resumable"):
            schedule.stop(event["group"], event["reason"])

    def _with_time_to_go(self, device: DeviceStanding) -> DeviceStanding:
        schedule = self._read.schedules.get(device.device)
        if schedule is None:
            return device
        remaining, mean_s = schedule.remaining(), schedule.mean_wall_s()
        return replace(
            device,
            expected=device.done + remaining,
            eta_s=None if mean_s is None or device.over else mean_s * remaining,
        )

    def _compute(self, *, whole: bool) -> None:
        """Make the table anew where there is something new and it is time."""
        read = self._read
        if read.trials == self._table_trials:
            return
        if read.trials > MOST_TRIALS:
            self._table, self._table_trials = None, read.trials
            self._note = (
                f"more than {MOST_TRIALS} trials: the table is not computed while they run; "
                f"`orchestrate report {self._manifest.run_id}` makes it"
            )
            return
        if not whole and self._clock() < self._not_before:
            return
        began = time.thread_time()
        try:
            # without samples: scoring would read the raw log of every trial of accuracy again
            record = replace(to_record(self._manifest, read.events), samples=None)
            self._table, self._note = analyse(record), ""
        except OrchestrateError as exc:
            self._table, self._note = None, str(exc)
        self._table_trials = read.trials
        took_s = time.thread_time() - began
        self._not_before = self._clock() + max(TABLE_EVERY_S, took_s / MOST_SHARE)


def _schedules(manifest: Manifest) -> Iterable[tuple[str, tuple[Schedule, frozenset[str]]]]:
    """What each device is to do, where the run's own inventory and suite still tell it."""
    try:
        devices = Inventory.from_json(manifest.inventory).select(manifest.devices)
        suite = Suite.from_json(manifest.suite)
        plan = make_plan(devices, suite, seed=manifest.seed)
    except OrchestrateError:  # imported, or of another version: no time to go is told
        return
    for part in plan.devices:
        known = frozenset(trial.trial_id for trial in part.trials)
        yield part.device, (Schedule(plan, part, None), known)
