"""What the daemon remembers of each session, on disk: trials asked for, events written.

``spool/<run_id>/<device>/trials.jsonl`` holds the requests, ``events.jsonl`` the events; both are
only ever appended to, and synced before anybody hears of the line. Line *n* of the events is the
event with ``seq`` *n*. Of a crash only the last line can suffer: it is cut off and reported.
"""

from __future__ import annotations

import os
import shutil
import uuid
from typing import Any, Dict, Iterator, List, Mapping, Sequence, Tuple

from orchestrate_agent import home, protocol
from orchestrate_agent.errors import NO_SPACE
from orchestrate_agent.protocol import Event, ProtocolError, TrialRequest

TRIALS = "trials.jsonl"
EVENTS = "events.jsonl"
WORK = "work"
#: What a trial tells at its end: both streams as far as they are kept, with what JSON adds.
ROOM_BYTES = 4 * 1024 * 1024
#: Sessions on their way out; the leading dot keeps them apart from every run id.
_RELEASED = ".released-"
_DAMAGED = ".damaged-"


class SpoolError(Exception):
    """The spool cannot be written or read; nothing may run that it could not record."""


def not_written(path: str, exc: OSError) -> SpoolError:
    """The error for ``path`` that could not be written."""
    remedy = "; make room on that disk" if exc.errno in NO_SPACE else ""
    return SpoolError(f"cannot write {home.absolute(path)}: {exc.strerror}{remedy}")


def require_room() -> None:
    """Raise SpoolError where the disk could not take what a trial may have to tell.

    Asked for before each trial: one whose end cannot be written down was run for nothing, and
    would count as one that the agent died under.
    """
    try:
        disk = os.statvfs(home.SPOOL)
    except OSError as exc:
        raise not_written(home.SPOOL, exc) from exc
    free = disk.f_bavail * disk.f_frsize
    if free < ROOM_BYTES:
        raise SpoolError(
            f"{home.absolute(home.SPOOL)} has {free} bytes free, a trial may need {ROOM_BYTES} "
            f"for what it tells; make room on that disk"
        )


class LineFile:
    """A file of lines that are on the disk before :meth:`append` returns.

    ``size`` is how many bytes of it are: a reader must not go beyond.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.size = 0

    def load(self) -> Iterator[protocol.Json]:
        """Read each line in turn. A torn last one (a crash) is cut off; other damage:
        SpoolError."""
        number = 0
        with open(self.path, "rb") as file:
            for number, line in enumerate(file, 1):
                try:
                    message = _whole(line)
                except ProtocolError as exc:
                    if file.read(1):
                        raise SpoolError(f"{self.path}, line {number}: damaged ({exc})") from exc
                    home.log(f"{self.path}: the torn last line ({len(line)} bytes) was cut off")
                    break
                self.size += len(line)
                yield message
        os.truncate(self.path, self.size)

    def append(self, lines: Sequence[bytes]) -> None:
        """Write and sync. Raises SpoolError, having left the file as it was before."""
        data = b"".join(lines)
        try:
            with open(self.path, "ab") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
        except OSError as exc:
            self._undo()
            raise not_written(self.path, exc) from exc
        self.size += len(data)

    def _undo(self) -> None:
        try:
            os.truncate(self.path, self.size)
        except OSError as exc:
            home.log(f"{self.path}: half a line may be left at its end: {exc}")


class SessionSpool:
    """The files of one session. The caller sees to it that only one thread writes."""

    def __init__(self, run_id: str, device: str) -> None:
        self.folder = os.path.join(home.SPOOL, run_id, device)
        self.last_seq = 0
        self._trials = LineFile(os.path.join(self.folder, TRIALS))
        self._events = LineFile(os.path.join(self.folder, EVENTS))
        self._make()

    def load_trials(self) -> List[TrialRequest]:
        """Read what an earlier daemon accepted. Raises SpoolError."""
        try:
            return [TrialRequest.from_json(line) for line in self._trials.load()]
        except (ProtocolError, OSError) as exc:
            raise SpoolError(f"{self._trials.path}: {exc}") from exc

    def load_events(self) -> Iterator[Event]:
        """Read what an earlier daemon wrote, one event at a time: together they may be large.

        Must be read to its end before anything is added. Raises SpoolError.
        """
        try:
            for line in self._events.load():
                event = protocol.parse_event(line)
                self.last_seq += 1
                if event.seq != self.last_seq:
                    raise SpoolError(f"{self._events.path}, line {self.last_seq}: seq {event.seq}")
                yield event
        except (ProtocolError, OSError) as exc:
            raise SpoolError(f"{self._events.path}: {exc}") from exc

    def add_trials(self, trials: Sequence[TrialRequest]) -> None:
        """Remember requests. Raises SpoolError."""
        self._trials.append([protocol.encode(trial.to_json()) for trial in trials])

    def add_events(self, events: Sequence[Tuple[str, str, Mapping[str, Any]]]) -> List[Event]:
        """Write events, each (event, trial_id, further fields). Raises SpoolError."""
        time = home.now()
        written = [
            _event(self.last_seq + number, time, *event) for number, event in enumerate(events, 1)
        ]
        self._events.append([protocol.encode(event.fields) for event in written])
        self.last_seq += len(written)
        return written

    @property
    def events_size(self) -> int:
        """How many bytes of events may be read."""
        return self._events.size

    def open_events(self) -> EventReader:
        """A reader of its own place in the file, for one follower."""
        return EventReader(self._events.path)

    def work_folder(self) -> str:
        """The absolute path of the folder that trials work in."""
        return home.absolute(os.path.join(self.folder, WORK))

    def delete(self) -> None:
        """Forget the session. A crash on the way leaves no half of it behind."""
        doomed = os.path.join(home.SPOOL, _RELEASED + uuid.uuid4().hex)
        os.rename(self.folder, doomed)
        shutil.rmtree(doomed, ignore_errors=True)  # the next daemon tries again
        try:
            os.rmdir(os.path.dirname(self.folder))
        except OSError:
            return  # another device of this run is still there

    def _make(self) -> None:
        shutil.rmtree(os.path.join(self.folder, WORK), ignore_errors=True)
        try:
            os.makedirs(os.path.join(self.folder, WORK), 0o700, exist_ok=True)
            for path in (self._trials.path, self._events.path):
                os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600))
            for folder in (self.folder, os.path.dirname(self.folder), home.SPOOL):
                home.sync_directory(folder)
        except OSError as exc:
            raise not_written(self.folder, exc) from exc


class EventReader:
    """Reads a session's events line by line, as far as they are synced."""

    def __init__(self, path: str) -> None:
        self._file = open(path, "rb")  # noqa: SIM115 (closed by close)
        self._read_bytes = 0
        self.seq = 0

    def lines(self, up_to: int) -> Iterator[bytes]:
        """The lines not read yet within the first ``up_to`` bytes; ``seq`` is the last one's."""
        while self._read_bytes < up_to:
            line = self._file.readline()
            self._read_bytes += len(line)
            self.seq += 1
            yield line.rstrip(b"\n")

    def at(self, up_to: int) -> bool:
        """Whether everything within the first ``up_to`` bytes has been read."""
        return self._read_bytes >= up_to

    def close(self) -> None:
        self._file.close()


def sessions() -> List[Tuple[str, str]]:
    """List (run_id, device) of every session on disk; what a broken release left is removed."""
    found: List[Tuple[str, str]] = []
    for run_id in sorted(os.listdir(home.SPOOL)):
        folder = os.path.join(home.SPOOL, run_id)
        if run_id.startswith(_RELEASED):
            shutil.rmtree(folder, ignore_errors=True)
        elif protocol.is_name(run_id) and os.path.isdir(folder):
            devices = sorted(os.listdir(folder))
            found += [(run_id, device) for device in devices if protocol.is_name(device)]
    return found


def set_aside(run_id: str, device: str) -> str:
    """Move a session that cannot be read out of the way, its bytes untouched; returns where."""
    target = os.path.join(home.SPOOL, _DAMAGED + uuid.uuid4().hex)
    os.rename(os.path.join(home.SPOOL, run_id, device), target)
    return home.absolute(target)


def _whole(line: bytes) -> protocol.Json:
    if not line.endswith(b"\n"):
        raise ProtocolError("no newline at its end")
    return protocol.decode(line)


def _event(seq: int, time: str, event: str, trial_id: str, more: Mapping[str, Any]) -> Event:
    fields: Dict[str, Any] = {"seq": seq, "time": time, "event": event, "trial_id": trial_id}
    fields.update(more)
    return Event(seq, time, event, trial_id, fields)
