"""Every session's trials and where each stands. All state changes happen here, under one lock,
and each is on disk before it counts.

::

    queued ──► taken ──► started ──► ended        (finished)
      ▲          │          │
      ├──────────┴──────────┘                     (interrupted, or the agent is stopping)
      └──── cancelled ◄── any that has not ended  (submitted again, it is queued again)
"""

from __future__ import annotations

import contextlib
import threading
import time
from dataclasses import dataclass
from enum import Enum
from typing import Any, Callable, Dict, Iterator, List, Mapping, Optional, Sequence, Tuple

from orchestrate_agent import home
from orchestrate_agent.daemon import spool
from orchestrate_agent.daemon.spool import SessionSpool, SpoolError
from orchestrate_agent.process import procs
from orchestrate_agent.process.procs import ProcessId
from orchestrate_agent.protocol import MAX_ATTEMPTS, Event, Json, ProtocolError, TrialRequest

#: A ``finished`` for which no process ran to its end; see ``protocol``.
_NO_PROCESS: Mapping[str, Any] = {
    "exit_code": None,
    "signal": None,
    "timed_out": False,
    "oom_killed": None,
    "oom_memory": None,
    "wall_s": None,
    "stdout": "",
    "stderr": "",
    "stdout_bytes": 0,
    "stderr_bytes": 0,
    "rusage": None,
    "launch": None,
    "health_before": None,
    "health": None,
    "machine_lock": None,
    "conditions": None,
    "power": None,
}


class Phase(Enum):
    QUEUED = "queued"
    TAKEN = "taken"
    STARTED = "started"
    ENDED = "ended"
    CANCELLED = "cancelled"


@dataclass(eq=False)
class Entry:
    """One trial. Changed only by the queue, under its lock."""

    session: Session
    request: TrialRequest
    phase: Phase = Phase.QUEUED
    queued_at: str = ""
    attempts: int = 0
    deaths: int = 0
    cancelled: bool = False
    process: Optional[ProcessId] = None
    kill: Optional[Callable[[], None]] = None

    @property
    def name(self) -> str:
        """The trial's full name, for human readers."""
        return "/".join((*self.session.key, self.request.trial_id))


class Session:
    """One (run_id, device): its files and its trials."""

    def __init__(self, run_id: str, device: str) -> None:
        self.key = (run_id, device)
        self.spool = SessionSpool(run_id, device)
        self.entries: Dict[str, Entry] = {}
        self.released = False
        #: The latest time of an event. A clock that was set back must not reorder the queue.
        self.latest = ""

    def load(self) -> None:
        """Read what an earlier daemon wrote. Raises SpoolError."""
        for request in self.spool.load_trials():
            self.entries[request.trial_id] = Entry(self, request)
        for event in self.spool.load_events():
            if event.trial_id in self.entries:
                _replay(self.entries[event.trial_id], event)

    def add(self, *events: Tuple[str, str, Mapping[str, Any]]) -> None:
        """Write events and bring their trials to where the events say. Raises SpoolError."""
        for event in self.spool.add_events(events):
            _replay(self.entries[event.trial_id], event)

    def count(self, *phases: Phase) -> int:
        return sum(entry.phase in phases for entry in self.entries.values())

    def to_json(self) -> Json:
        run_id, device = self.key
        return {
            "run_id": run_id,
            "device": device,
            "queued": self.count(Phase.QUEUED, Phase.TAKEN),
            "running": self.count(Phase.STARTED),
            "ended": self.count(Phase.ENDED, Phase.CANCELLED),
            "last_seq": self.spool.last_seq,
        }


def _replay(entry: Entry, event: Event) -> None:
    """The one place that says what an event means, for events just written and for old ones."""
    entry.session.latest = max(entry.session.latest, event.time)
    if event.event == "queued":
        entry.queued_at = entry.session.latest
        entry.phase = Phase.QUEUED
        entry.cancelled = False
    elif event.event == "started":
        entry.phase = Phase.STARTED
        entry.attempts += 1
        entry.process = ProcessId.from_json(event.fields.get("process"))
    elif event.event == "interrupted":
        entry.phase = Phase.QUEUED
        entry.deaths += not event.fields.get("orderly")
    elif event.event == "cancelled":
        entry.phase = Phase.CANCELLED
    elif event.event == "finished":
        entry.phase = Phase.ENDED


class TrialQueue:
    """Takes trials first come, first served, over all sessions. Thread-safe.

    ``changed`` is notified whenever an event was written, a trial was cancelled or the daemon is
    to stop; wait on it for any of these.
    """

    def __init__(self, on_idle: Callable[[], None] = lambda: None) -> None:
        self.changed = threading.Condition()
        self.stopping = False
        self._on_idle = on_idle
        self._sessions: Dict[Tuple[str, str], Session] = {}
        self._waiting: List[Entry] = []
        #: The trial under way; both where they are a duet.
        self._current: Tuple[Entry, ...] = ()
        self._idle_since = time.monotonic()
        #: What keeps the trial that was taken from starting; see ``protocol``.
        self._waits_for: Optional[str] = None

    # --- at the start -----------------------------------------------------------------------

    def load(self) -> None:
        """Take up what earlier daemons left: kill leftovers, queue again. Raises SpoolError."""
        for run_id, device in spool.sessions():
            session = Session(run_id, device)
            try:
                session.load()
            except SpoolError as exc:
                place = spool.set_aside(run_id, device)
                home.log(f"session {run_id}/{device} cannot be read, now in {place}: {exc}")
                continue
            self._sessions[session.key] = session
            self._recover(session)
        # a trial that was interrupted keeps the place it had
        self._waiting.sort(key=lambda entry: entry.queued_at)

    def _recover(self, session: Session) -> None:
        entries = list(session.entries.values())
        # accepted, but the crash came before anybody was told
        untold = [entry for entry in entries if not entry.queued_at]
        if untold:
            session.add(*(("queued", entry.request.trial_id, {}) for entry in untold))
        for entry in entries:
            if entry.phase is Phase.STARTED:
                self._bury(entry)
            if entry.phase is Phase.QUEUED:
                self._waiting.append(entry)

    def _bury(self, entry: Entry) -> None:
        """Note that the agent died under this trial."""
        survivors = 0 if entry.process is None else procs.kill_survivors(entry.process)
        home.log(f"trial {entry.name}: the agent died under it; {survivors} processes killed")
        self._interrupt(entry, "the agent or the node died under it", orderly=False)

    # --- for those who ask ------------------------------------------------------------------

    def session(self, run_id: str, device: str) -> Session:
        """Return that session; it is begun where there is none. Raises SpoolError."""
        with self.changed:
            key = (run_id, device)
            if key not in self._sessions:
                self._sessions[key] = Session(run_id, device)
            return self._sessions[key]

    def submit(
        self, run_id: str, device: str, trials: Sequence[TrialRequest]
    ) -> Tuple[List[str], List[str]]:
        """Queue what is new or was cancelled; returns (accepted, known) ids.

        Raises ProtocolError, SpoolError.
        """
        with self.changed:
            session = self.session(run_id, device)
            known = [t for t in trials if t.trial_id in session.entries]
            for trial in known:
                if session.entries[trial.trial_id].request != trial:
                    raise ProtocolError(
                        f"trial {trial.trial_id} is known here with other content; "
                        f"a trial id stands for one command line",
                        kind="conflict",
                    )
            new = [t for t in trials if t.trial_id not in session.entries]
            again = [t for t in known if session.entries[t.trial_id].phase is Phase.CANCELLED]
            if new or again:
                self._queue(session, new, again)
            accepted = {trial.trial_id for trial in new + again}
            return (
                [t.trial_id for t in trials if t.trial_id in accepted],
                [t.trial_id for t in trials if t.trial_id not in accepted],
            )

    def _queue(
        self, session: Session, new: Sequence[TrialRequest], again: Sequence[TrialRequest]
    ) -> None:
        if new:
            session.spool.add_trials(new)
        session.entries.update((trial.trial_id, Entry(session, trial)) for trial in new)
        trials = [*new, *again]
        try:
            session.add(*(("queued", trial.trial_id, {}) for trial in trials))
        except SpoolError:
            for trial in new:  # refused as a whole: it may be submitted again
                del session.entries[trial.trial_id]
            raise
        self._waiting += [session.entries[trial.trial_id] for trial in trials]
        self.changed.notify_all()

    def cancel(self, run_id: str, device: str, *, running: bool) -> List[str]:
        """Call off what has not started, and with ``running`` what has. Raises SpoolError."""
        with self.changed:
            session = self._sessions.get((run_id, device))
            if session is None:
                return []
            doomed = [entry for entry in self._waiting if entry.session is session]
            if doomed:
                reason = {"reason": "cancelled before it started"}
                session.add(*(("cancelled", e.request.trial_id, reason) for e in doomed))
            self._waiting = [entry for entry in self._waiting if entry.session is not session]
            for entry in self._current:
                if entry.session is session:
                    doomed += self._cancel_current(entry, running)
            self.changed.notify_all()
            return [entry.request.trial_id for entry in doomed]

    def _cancel_current(self, entry: Entry, running: bool) -> List[Entry]:
        if entry.phase is Phase.STARTED and not running:
            return []
        entry.cancelled = True  # the worker writes the event, when the process is gone
        if entry.kill is not None:
            entry.kill()
        return [entry]

    def release(self, run_id: str, device: str) -> None:
        """Forget a session. Raises ProtocolError (``busy``) while trials of it wait or run."""
        with self.changed:
            session = self._sessions.get((run_id, device))
            if session is None:
                return
            left = len(session.entries) - session.count(Phase.ENDED, Phase.CANCELLED)
            if left:
                raise ProtocolError(
                    f"{left} trials of {run_id}/{device} wait or run; cancel them first",
                    kind="busy",
                )
            session.spool.delete()
            session.released = True
            del self._sessions[session.key]
            self.changed.notify_all()

    def busy(self) -> int:
        """How many trials wait or run."""
        with self.changed:
            return len(self._waiting) + len(self._current)

    def status(self) -> Json:
        with self.changed:
            idle_s = time.monotonic() - self._idle_since
            return {
                "running": _running(self._current[0]) if self._current else None,
                "queued": len(self._waiting),
                "sessions": [session.to_json() for session in self._sessions.values()],
                "idle_s": None if self._current else idle_s,
                "waits_for": self._waits_for,
            }

    def stop(self) -> None:
        """Start no trial any more, and kill what runs."""
        with self.changed:
            self.stopping = True
            for entry in self._current:
                if entry.kill is not None:
                    entry.kill()
            self.changed.notify_all()

    # --- for the worker ---------------------------------------------------------------------

    def take(self) -> Optional[Tuple[Entry, ...]]:
        """The next trial, or both of a duet, waiting for one; None when the daemon is to stop."""
        with self.changed:
            self.changed.wait_for(lambda: self.stopping or bool(self._waiting))
            if self.stopping:
                return None
            entry = self._waiting.pop(0)
            partner = next((each for each in self._waiting if _are_duet(entry, each)), None)
            if partner is not None:
                self._waiting.remove(partner)
            self._current = (entry,) if partner is None else (entry, partner)
            for each in self._current:
                each.phase = Phase.TAKEN
            return self._current

    @contextlib.contextmanager
    def held_up_by(self, what: str) -> Iterator[None]:
        """Tell whoever asks that the trial that was taken waits for ``what`` meanwhile."""
        self._waits_for = what
        try:
            yield
        finally:
            self._waits_for = None

    def called_off(self, entries: Sequence[Entry]) -> bool:
        """Whether the worker should let go of ``entries``."""
        return self.stopping or any(entry.cancelled for entry in entries)

    def pause(self, entries: Sequence[Entry], seconds: float) -> bool:
        """Sleep so long; true, and at once, where the worker should let go of ``entries``."""
        with self.changed:
            return self.changed.wait_for(lambda: self.called_off(entries), seconds)

    def start(
        self,
        entries: Sequence[Entry],
        standing: Sequence[Tuple[Entry, ProcessId, Callable[[], None]]],
        health: Json,
    ) -> bool:
        """``standing``: those of ``entries`` whose process stands at its gate, it, and what kills
        it. False where nothing must go. Raises SpoolError."""
        with self.changed:
            if self.called_off(entries):
                return False
            if standing:
                events = [
                    (
                        "started",
                        entry.request.trial_id,
                        {
                            "attempt": entry.attempts + 1,
                            "health": health,
                            "process": process.to_json(),
                        },
                    )
                    for entry, process, _ in standing
                ]
                standing[0][0].session.add(*events)
            for entry, _, kill in standing:
                entry.kill = kill
            self.changed.notify_all()
            return True

    def end(self, entries: Sequence[Entry], finished: Sequence[Mapping[str, Any]]) -> None:
        """End these trials: as they went, or cancelled, or put back. Raises SpoolError."""
        with self.changed:
            try:
                self._end(entries, finished)
            finally:
                for entry in entries:
                    entry.kill = None
                self._current = ()
                self._idle_since = time.monotonic()
                self.changed.notify_all()
        self._on_idle()

    def put_back(self, entries: Sequence[Entry], reason: str) -> None:
        """Put back trials that the node went under; the daemon ends, and the next runs them anew.

        Raises SpoolError.
        """
        with self.changed:
            self.stopping = True
            for entry in entries:
                if entry.phase is Phase.STARTED:
                    self._interrupt(entry, reason, orderly=False)
            self._current = ()
            self.changed.notify_all()

    def _end(self, entries: Sequence[Entry], finished: Sequence[Mapping[str, Any]]) -> None:
        both = list(zip(entries, finished))
        if self.stopping and any(_was_stopped(entry, fields) for entry, fields in both):
            # what one of a duet was about to finish is worth nothing without the other
            for entry, fields in both:
                if entry.cancelled:
                    entry.session.add(_ending(entry, fields))
                elif entry.phase is Phase.STARTED:
                    self._interrupt(entry, "the agent was stopped", orderly=True)
                else:
                    entry.phase = Phase.QUEUED
            return
        lacking = next((fields["lacking"] for fields in finished if fields.get("lacking")), None)
        if lacking is not None:
            # of a duet neither half counts without the other
            more: Json = {"reason": f"a file that it needs is gone: {lacking}", "lacking": lacking}
            entries[0].session.add(*(("cancelled", e.request.trial_id, more) for e in entries))
            return
        # in one piece, so that a crash does not leave one of a duet to run again alone
        events = [_ending(entry, fields) for entry, fields in both]
        entries[0].session.add(*events)

    def _interrupt(self, entry: Entry, reason: str, *, orderly: bool) -> None:
        more: Json = {"attempt": entry.attempts, "reason": reason, "orderly": orderly}
        entry.session.add(("interrupted", entry.request.trial_id, more))
        if entry.deaths >= MAX_ATTEMPTS:
            reason = f"the agent or the node died under it {entry.deaths} times"
            more = {**_NO_PROCESS, "attempt": entry.attempts, "lost": True, "reason": reason}
            entry.session.add(("finished", entry.request.trial_id, more))


def _are_duet(one: Entry, other: Entry) -> bool:
    """Whether they name each other, and want disjoint CPUs."""
    first, second = one.request.conditions.duet, other.request.conditions.duet
    return (
        one.session is other.session
        and first is not None
        and second is not None
        and first.partner == other.request.trial_id
        and second.partner == one.request.trial_id
        and first.half != second.half
    )


def _was_stopped(entry: Entry, finished: Mapping[str, Any]) -> bool:
    """Whether the daemon's end was the trial's: it did not start, or did not come to its end."""
    if entry.cancelled:
        return False
    return entry.phase is not Phase.STARTED or finished.get("exit_code") is None


def _ending(entry: Entry, finished: Mapping[str, Any]) -> Tuple[str, str, Mapping[str, Any]]:
    """The event that ends a trial."""
    trial_id, started = entry.request.trial_id, entry.phase is Phase.STARTED
    if entry.cancelled:
        reason = "cancelled while it ran" if started else "cancelled before it started"
        return "cancelled", trial_id, {"reason": reason}
    attempt = entry.attempts if started else entry.attempts + 1
    return "finished", trial_id, {"attempt": attempt, "lost": False, "reason": None, **finished}


def not_started(reason: str, **known: Any) -> Json:
    """Return the fields of ``finished`` for a trial that could not be started."""
    return {**_NO_PROCESS, "reason": reason, **known}


def _running(entry: Entry) -> Json:
    run_id, device = entry.session.key
    return {
        "run_id": run_id,
        "device": device,
        "trial_id": entry.request.trial_id,
        "state": "running" if entry.phase is Phase.STARTED else "waiting",
    }
