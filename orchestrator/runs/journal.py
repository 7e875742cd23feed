"""``journal.jsonl``: append-only, one JSON object a line, synced before anything else happens.

Each line has ``seq`` (per device, from 1), ``time`` (UTC, ISO 8601), ``device`` and ``event``;
trial events have ``trial_id``, and those that came from an agent ``agent_seq``, the number under
which its spool holds them: asking from the highest one on misses and repeats nothing.

A number that is missing or there twice, and lines that are glued together, are flaws: reading goes
on, and says them (``runs.integrity``).

Format history: 1, the first.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import re
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

from pydantic_core import from_json

from orchestrator import plain_files
from orchestrator.errors import JournalError
from orchestrator.runs import integrity
from orchestrator.runs.integrity import Flaw, NumberedEvent
from orchestrator.runs.lines import line_problem, read_line

FORMAT = 1
FILE_NAME = "journal.jsonl"
#: A line holds at most what one from an agent does, and what we say of it.
MAX_LINE_BYTES = 32 * 1024 * 1024
#: Twenty times the journal of 100,000 trials.
MAX_BYTES = 8 * 2**30
#: A machine has some thousand locks.
_MOST_LOCKS_BYTES = 16 * 2**20

Event = Mapping[str, Any]
#: What is to be written: the event's name, and its fields.
Row = tuple[str, Mapping[str, Any]]


@dataclass(frozen=True)
class JournalContents:
    """The events read, the torn last line where a writer died in the middle of one, and what is
    out of order. ``lines`` has the number of each event's line."""

    events: tuple[Event, ...]
    torn: bytes | None
    flaws: tuple[Flaw, ...] = ()
    lines: tuple[int, ...] = ()


def utc_now() -> str:
    """UTC, ISO 8601, microseconds, with ``Z``."""
    return datetime.now(timezone.utc).isoformat(timespec="microseconds").replace("+00:00", "Z")


def read_journal(path: Path) -> JournalContents:
    """Every event in ``path``; a torn last line is returned apart.

    Raises JournalError where the file cannot be read or a line in its middle is damaged: what
    came after such a line cannot be trusted to be in order.
    """
    reader = JournalReader(path)
    events: list[Event] = []
    lines: list[int] = []
    for event in reader:
        events.append(event)
        lines.append(reader.line)
    return JournalContents(tuple(events), reader.torn, reader.flaws, tuple(lines))


class JournalReader:
    """The events of a journal, one after the other, so that a large one need not be held whole.

    ``torn`` is the torn last line once all events were taken, None where there was none; ``flaws``
    then says what is out of order. A line that is there twice is taken once. Iterating raises
    JournalError as :func:`read_journal` does. Events named in ``without`` are left out, and of
    their lines only the beginning and the end are looked at. ``listed``: of each event only the
    fields that ``lines.LINE`` lists may be there. ``line`` is the number of the line of the event
    that was taken last.
    """

    def __init__(self, path: Path, without: Collection[str] = (), *, listed: bool = False) -> None:
        self._path = path
        self._listed = listed
        self.line = 0
        self._without = tuple(f'"event":"{name}",'.encode() for name in without)
        self._left_out = frozenset(without)
        #: The highest number of each device so far.
        self._highest: dict[str, int] = {}
        self._names: dict[bytes, str] = {}
        self._in_order = True
        self._whole: _Whole | None = None
        self.torn: bytes | None = None

    @property
    def flaws(self) -> tuple[Flaw, ...]:
        """What is out of order in the lines that were taken."""
        return () if self._in_order else self._look_again().flaws

    def __iter__(self) -> Iterator[Event]:
        for number, line in self._whole_lines():
            if self._is_left_out(line):
                continue
            events = _events(self._path, number, line, listed=self._listed)
            if len(events[0][1]) != len(line):
                self._in_order = False
            self.line = number
            for place, raw, event in events:
                if self._counts(place, raw, event) and event["event"] not in self._left_out:
                    yield event

    def _whole_lines(self) -> Iterator[tuple[int, bytes]]:
        path = self._path
        try:
            with plain_files.opened(path.parent, path.name, most_bytes=MAX_BYTES) as file:
                for number, line in enumerate(_lines(file), 1):
                    if len(line) > MAX_LINE_BYTES:
                        raise JournalError(
                            f"{path}:{number}: a line of more than {MAX_LINE_BYTES} bytes is none "
                            f"of ours; restore the journal from a copy"
                        )
                    if not line.endswith(b"\n"):
                        self.torn = line
                        return
                    yield number, line
        except OSError as exc:
            raise JournalError(f"{path}: cannot be read ({exc.strerror}); is this a run?") from exc

    def _is_left_out(self, line: bytes) -> bool:
        """Whether the line is one of those to leave out, in its place; others are parsed."""
        if not self._without:
            return False
        # Our own writer puts the event's name among the first words; a quote inside a text would
        # have a backslash before it.
        at = line.find(_EVENT, 0, _HEAD)
        if at <= 0 or not line.startswith(self._without, at) or not line.endswith(b"}\n"):
            return False
        if line.find(_BEGINS, 1) > 0:  # another line may be glued to it
            return False
        head = _NUMBER.match(line, 0, at + 1)
        if head is None:
            return False
        name = self._names.get(head[2])
        if name is None:
            name = self._names[head[2]] = str(_decoded(head[2]))
        seq = int(head[1])
        if seq != self._highest.get(name, 0) + 1:
            return False
        self._highest[name] = seq
        return True

    def _counts(self, place: _Place, raw: bytes, event: Event) -> bool:
        """Whether the line is not one that was there before."""
        device, seq = event["device"], event["seq"]
        highest = self._highest.get(device, 0)
        self._highest[device] = max(highest, seq)
        if seq == highest + 1:
            return True
        self._in_order = False
        return seq > highest or self._look_again().first[device, seq, hash(raw)] == place

    def _look_again(self) -> _Whole:
        if self._whole is None:
            self._whole = _Whole.of(self._path)
        return self._whole


class JournalTail:
    """The events of a journal that another process may be writing: each :meth:`read` has those
    that are new. A line that is not whole yet is read when it is.

    ``generation`` counts how often the file was another one than before, or shorter: what was read
    until then is no longer what stands there, and all of it comes again. ``line`` is the number of
    the line of the event that was taken last.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._place: tuple[int, int] | None = None
        self._offset = 0
        self.line = 0
        self._highest: dict[str, int] = {}
        self.generation = 0

    def read(self) -> Iterator[Event]:
        """Yield the new events. Raises JournalError as :func:`read_journal` does."""
        path = self._path
        try:
            with plain_files.opened(path.parent, path.name, most_bytes=MAX_BYTES) as file:
                self._find_place(os.fstat(file.fileno()))
                file.seek(self._offset)
                for line in _lines(file):
                    if len(line) > MAX_LINE_BYTES or not line.endswith(b"\n"):
                        return
                    self._offset += len(line)
                    self.line += 1
                    yield from self._new(line)
        except OSError as exc:
            raise JournalError(f"{path}: cannot be read ({exc.strerror}); is this a run?") from exc

    def _find_place(self, status: os.stat_result) -> None:
        place = (status.st_dev, status.st_ino)
        if self._place not in (None, place) or status.st_size < self._offset:
            self._offset = self.line = 0
            self._highest.clear()
            self.generation += 1
        self._place = place

    def _new(self, line: bytes) -> Iterator[Event]:
        for _, _, event in _events(self._path, self.line, line):
            device, seq = event["device"], event["seq"]
            if seq > self._highest.get(device, 0):  # else it was there before
                self._highest[device] = seq
                yield event


def has_writer(run_dir: Path) -> bool | None:
    """Whether a process of this machine is writing the run; None where the system cannot tell.

    Nothing is locked for it: a run that begins at this moment is not refused.
    """
    try:
        number = (run_dir / FILE_NAME).lstat().st_ino
        listed = plain_files.read_named(Path("/proc/locks"), most_bytes=_MOST_LOCKS_BYTES)
        locks = listed.decode("ascii").splitlines()
    except (OSError, ValueError):
        return None
    # `1: FLOCK  ADVISORY  WRITE 1234 fe:01:5678 0 EOF`; devices have other numbers in some layers
    words = (line.split() for line in locks)
    return any(
        each[1:4] == ["FLOCK", "ADVISORY", "WRITE"] and each[5].endswith(f":{number}")
        for each in words
        if len(each) > 5
    )


#: A line's number, and which of the events on it.
_Place = tuple[int, int]


@dataclass(frozen=True)
class _Whole:
    """All lines of a journal that are out of order somewhere: where each stands first."""

    first: Mapping[tuple[str, int, int], _Place]
    flaws: tuple[Flaw, ...]

    @classmethod
    def of(cls, path: Path) -> _Whole:
        first: dict[tuple[str, int, int], _Place] = {}
        numbered: list[NumberedEvent] = []
        glued: dict[int, bool] = {}
        for number, line in JournalReader(path)._whole_lines():
            events = _events(path, number, line)
            if len(events[0][1]) != len(line):
                glued[number] = sum(len(raw) for _, raw, _ in events) - len(events) < len(line) - 1
            for place, raw, event in events:
                key = event["device"], event["seq"], hash(raw)
                first.setdefault(key, place)
                heard = event.get("agent_seq")
                told = heard if _is_whole(heard) and event["event"] != "spool_lost" else None
                numbered.append(NumberedEvent(number, key[0], key[1], told, key[2]))
        return cls(first, integrity.flaws(path.name, numbered, glued))


def _events(
    path: Path, number: int, line: bytes, *, listed: bool = False
) -> list[tuple[_Place, bytes, Event]]:
    """The events on a line, each with its own bytes: one, unless a newline got lost."""
    try:
        return [((number, 0), line, _parse(path, number, line, listed=listed))]
    except JournalError as exc:
        if line.find(_BEGINS, 1) < 0:
            raise
        try:
            parts = integrity.unglued(line)
        except (ValueError, RecursionError):
            raise exc from exc.__cause__
    return [
        ((number, index), part, _parse(path, number, part, listed=listed))
        for index, part in enumerate(parts)
    ]


def _lines(file: BinaryIO) -> Iterator[bytes]:
    """The lines, one that is too long cut just beyond the bound, so that it fills no memory."""
    return iter(partial(file.readline, MAX_LINE_BYTES + 1), b"")


#: Where the event's name stands, and within how many bytes of its line.
_EVENT, _HEAD = b'"event":"', 400
#: What our lines begin with, as far as their number and device.
_BEGINS = b'{"format":'
_NUMBER = re.compile(
    rb"""\{"format":\d{1,9},"seq":(\d{1,18}),"time":"[^"\\]*","device":("(?:[^"\\]|\\.)*"),"""
)


def _parse(path: Path, number: int, line: bytes, *, listed: bool) -> Event:
    event = read_line(line) if listed else None
    try:
        known = event is not None
        event = _decoded(line) if event is None else event
    except (ValueError, RecursionError) as exc:
        raise JournalError(
            f"{path}:{number}: not a JSON object ({exc}); the journal was changed by something "
            f"else. The raw logs beside it are whole; restore the journal from a copy"
        ) from exc
    if not isinstance(event, dict) or not event.keys() >= _NEEDED:
        raise JournalError(f"{path}:{number}: an event needs seq, device and event")
    if not (_is_whole(event["seq"]) and _is_whole(event.get("format", FORMAT))) or not (
        isinstance(event["device"], str) and isinstance(event["event"], str)
    ):
        raise JournalError(
            f"{path}:{number}: seq and format are whole numbers, device and event are text; "
            f"restore the journal from a copy"
        )
    if event.get("format", FORMAT) > FORMAT:
        raise JournalError(
            f"{path}:{number}: written by a later version (format {event['format']}, this one "
            f"reads up to {FORMAT}); upgrade orchestrate"
        )
    wrong = None if known else line_problem(event)
    if wrong is not None:
        raise JournalError(
            f"{path}:{number}: {wrong}; the journal was changed by something else. The raw logs "
            f"beside it are whole; restore the journal from a copy"
        )
    return event


def _is_whole(value: object) -> bool:
    return type(value) is int and 0 <= value < 2**53


_NEEDED = frozenset(("seq", "device", "event"))


def _decoded(line: bytes) -> Any:
    # Three times as fast as json.loads, which makes the difference for 100,000 trials, and each
    # name is one object. What it refuses (a half surrogate, which a runner's output may hold) the
    # standard library has the last word on.
    try:
        return from_json(line, allow_inf_nan=False)
    except ValueError:
        return json.loads(line)


class Journal:
    """The one writer of a run. Safe to use from several threads; a second process is refused."""

    def __init__(self, run_dir: Path) -> None:
        """Open or create the journal of ``run_dir``, repairing a torn last line.

        Raises JournalError where another process is writing it.
        """
        self.path = run_dir / FILE_NAME
        self._guard = threading.Lock()
        try:
            self._fd = plain_files.descriptor(
                run_dir, FILE_NAME, os.O_RDWR | os.O_CREAT | os.O_APPEND
            )
        except OSError as exc:
            raise not_written(self.path, exc) from exc
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as exc:
            os.close(self._fd)
            raise JournalError(
                f"{run_dir}: another orchestrate process is working on this run; wait for it, or "
                f"stop it first"
            ) from exc
        try:
            contents = read_journal(self.path)
            self.torn, self.flaws = contents.torn, contents.flaws
            if contents.torn is not None:
                self._set_torn_line_aside(contents.torn)
        except JournalError:
            os.close(self._fd)
            raise
        self._size = os.fstat(self._fd).st_size
        #: Called when the folder had been removed and was made again, with what the journal held.
        self.on_made_again: Callable[[], None] = lambda: None
        self._events = list(contents.events)
        self._lines = contents.lines
        self._seq = _highest_seq(self._events)
        if not self._events:
            plain_files.sync_folder(run_dir)

    @property
    def events(self) -> tuple[Event, ...]:
        """Every event so far, in order."""
        with self._guard:
            return tuple(self._events)

    @property
    def numbered(self) -> tuple[tuple[int, Event], ...]:
        """Every event that was there when the journal was opened, with its line's number."""
        return tuple(zip(self._lines, self.events, strict=False))

    def append(self, device: str, event: str, **fields: Any) -> Event:
        """Write one event and sync it to disk; returns it as written."""
        return self.append_all(device, event, [fields])[0]

    def append_all(
        self, device: str, event: str, rows: Iterable[Mapping[str, Any]]
    ) -> tuple[Event, ...]:
        """Write several events of one kind with a single sync."""
        return self.append_mixed(device, ((event, row) for row in rows))

    def append_mixed(self, device: str, rows: Iterable[Row]) -> tuple[Event, ...]:
        """Write several events of any kinds with a single sync."""
        with self._guard:
            seq = self._seq.get(device, 0)
            lines: list[dict[str, Any]] = [
                {
                    "format": FORMAT,
                    "seq": number,
                    "time": utc_now(),
                    "device": device,
                    "event": event,
                    **row,
                }
                for number, (event, row) in enumerate(rows, seq + 1)
            ]
            self._write("".join(_line(line) for line in lines).encode())
            self._seq[device] = seq + len(lines)
            self._events.extend(lines)
            return tuple(lines)

    def close(self) -> None:
        """Close the file and give the run free for another process. Nothing is written after."""
        with self._guard:
            os.close(self._fd)
            self._fd = -1

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _write(self, data: bytes) -> None:
        if self._fd < 0:
            raise JournalError(f"{self.path}: was closed; `orchestrate run --resume` this run")
        try:
            self._require_place()
            if os.fstat(self._fd).st_size != self._size:
                # Half a line in the middle of the file would spoil every later one, and a disk
                # that failed may have kept us from taking it away.
                os.ftruncate(self._fd, self._size)
            view = memoryview(data)
            while view:
                view = view[os.write(self._fd, view) :]
            os.fdatasync(self._fd)
        except OSError as exc:
            with contextlib.suppress(OSError):
                os.ftruncate(self._fd, self._size)
            raise not_written(self.path, exc) from exc
        self._size += len(data)

    def _require_place(self) -> None:
        """Make the run's folder again where somebody removed it: what is written to a file without
        a name is lost. Raises OSError, JournalError."""
        own = os.fstat(self._fd)
        try:
            there = os.lstat(self.path)
        except FileNotFoundError:
            self._make_again(own)
            return
        if (there.st_dev, there.st_ino) != (own.st_dev, own.st_ino):
            raise JournalError(
                f"{self.path}: is another file now than the one that this run writes; put the "
                f"right one back and `orchestrate run --resume` this run"
            )

    def _make_again(self, own: os.stat_result) -> None:
        folder = self.path.parent
        folder.mkdir(parents=True, exist_ok=True)
        lines = os.pread(self._fd, min(own.st_size, self._size), 0)
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_EXCL
        fd = plain_files.descriptor(folder, FILE_NAME, flags)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            view = memoryview(lines)
            while view:
                view = view[os.write(fd, view) :]
            os.fsync(fd)
            plain_files.sync_folder(folder)
        except OSError:
            os.close(fd)
            self.path.unlink(missing_ok=True)
            raise
        os.close(self._fd)
        self._fd = fd
        self.on_made_again()

    def _set_torn_line_aside(self, torn: bytes) -> None:
        # The event the line was to hold is in the agent's spool still and comes again; the bytes
        # are kept all the same, because nothing that was written is thrown away.
        aside = self.path.with_suffix(".torn")
        try:
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
            fd = plain_files.descriptor(aside.parent, aside.name, flags)
            with os.fdopen(fd, "ab") as file:
                file.write(torn + b"\n")
                file.flush()
                os.fsync(file.fileno())
            size = os.fstat(self._fd).st_size
            os.ftruncate(self._fd, size - len(torn))
            os.fsync(self._fd)
        except OSError as exc:
            raise not_written(aside, exc) from exc


#: What using an event ends in that lacks what belongs to it, or whose figures contradict each
#: other.
MISREAD = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)


def misread(path: Path, line: int, exc: Exception) -> JournalError:
    """The error for an event of which nothing can be made."""
    why = f"it has no {exc}" if isinstance(exc, KeyError) else str(exc) or type(exc).__name__
    return JournalError(
        f"{path}:{line}: an event lacks what belongs to it, or holds another kind of value "
        f"({why[:200]}); restore the journal from a copy"
    )


@contextmanager
def naming(path: Path, line: int) -> Iterator[None]:
    """Make an error of whoever uses the event of a line a JournalError that names the line."""
    try:
        yield
    except MISREAD as exc:
        raise misread(path, line, exc) from exc


def not_written(path: Path, exc: OSError) -> JournalError:
    """The error for a file of a run that cannot be written while its devices measure."""
    remedy = _REMEDIES.get(exc.errno or 0, "See what is wrong there")
    return JournalError(
        f"{path}: cannot be written ({exc.strerror}); what was measured is still in the agents' "
        f"spools. {remedy}, then `orchestrate run --resume` this run"
    )


_REMEDIES = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT), "Make room"),
    errno.EROFS: "The file system is read-only, as after errors of its disk (`dmesg` tells): mount "
    "it to be written in",
    errno.EIO: "The disk has errors (`dmesg` tells): copy what is on it to another",
    **dict.fromkeys((errno.EACCES, errno.EPERM), "Get the right to write there"),
}


def _line(event: Event) -> str:
    return json.dumps(event, allow_nan=False, separators=(",", ":")) + "\n"


def _highest_seq(events: Iterable[Event]) -> dict[str, int]:
    highest: dict[str, int] = {}
    for event in events:
        device = str(event["device"])
        highest[device] = max(highest.get(device, 0), int(event["seq"]))
    return highest
