"""Reads what a bundle brings back. Whoever ran it may have written anything into the file.

Nothing is unpacked: of two members with fixed names one is read whole, within bounds, the other
line by line. See ``orchestrate_agent.carried.results`` for the format.
"""

from __future__ import annotations

import hashlib
import struct
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrate_agent import protocol
from orchestrate_agent.carried.results import ABOUT, EVENTS, FORMAT
from orchestrate_agent.protocol import Event, ProtocolError
from orchestrator import plain_files
from orchestrator.errors import AgentError, UsageError
from orchestrator.fleet import told
from orchestrator.shape import SHA256, TEXT, WHOLE, Shape, problem
from orchestrator.zip_members import BROKEN, flaw, why_broken

#: What a zip file begins with, and its end where it has no comment, as we write it.
MAGIC = b"PK\x03\x04"
_END = struct.Struct("<4s4H2LH")
_END_SIGNATURE, _ZIP64_SIGNATURE = b"PK\x05\x06", b"PK\x06\x07"
_ZIP64_BYTES = 20
#: Two members with short names.
_MOST_DIRECTORY_BYTES = 4096
#: A trial's event is bounded by the protocol, and a plan's trials are some thousands.
MAX_EVENTS_BYTES = 4 * 2**30
#: Twice what an honest bundle lets its results be compressed by.
MAX_RATIO = 200
#: A bundle that was started more often than this is not run by a person.
MAX_STARTS = 1000

_SHAPE: Shape = {
    "format": WHOLE,
    **dict.fromkeys(("run_id", "device", "written"), TEXT),
    "starts": [
        {
            "time": TEXT,
            "agent_hash": SHA256,
            "facts": told.FACTS,
            "runtimes": {"*": TEXT},
        }
    ],
    "events": {"count": WHOLE, "sha256": SHA256},
}
_NEEDED = ("format", "run_id", "device", "starts", "events")


@dataclass(frozen=True)
class Results:
    """A file of results that is whole and well-formed as far as one can tell without the plan.

    ``starts`` has what the node told of itself each time that the bundle was started; ``count`` and
    ``events_sha256`` are what the file says of its events.
    """

    path: Path
    run_id: str
    device: str
    starts: tuple[Mapping[str, Any], ...]
    count: int
    events_sha256: str

    def events(self) -> Iterator[Event]:
        """Read each event in turn. Raises UsageError at the first that is not one, or at the end
        where they are not those that the file says it has."""
        digest, count = hashlib.sha256(), 0
        with _opened(self.path) as archive, archive.open(EVENTS) as member:
            while line := member.readline(protocol.MAX_LINE_BYTES + 1):
                digest.update(line)
                count += 1
                yield self._event(line, count)
        if (digest.hexdigest(), count) != (self.events_sha256, self.count):
            raise _refused(self.path, "its events are not those that it says it has")

    def _event(self, line: bytes, number: int) -> Event:
        if not line.endswith(b"\n"):
            raise _refused(self.path, f"{EVENTS}:{number} is torn, or too long")
        try:
            return protocol.parse_event(protocol.decode(line))
        except ProtocolError as exc:
            raise _refused(self.path, f"{EVENTS}:{number}: {exc}") from exc


def open_results(path: Path) -> Results:
    """Look at a file of results. Raises UsageError, and nothing has been made of it then."""
    with _opened(path) as archive, archive.open(ABOUT) as member:
        data = member.read(protocol.MAX_LINE_BYTES + 1)
    try:
        about = protocol.decode(data)
    except ProtocolError as exc:
        raise _refused(path, f"{ABOUT}: {exc}") from exc
    version = about.get("format")
    if isinstance(version, int) and version > FORMAT:
        raise UsageError(
            f"{path}: written by a later version (format {version}, this one reads up to "
            f"{FORMAT}); upgrade orchestrate"
        )
    found = problem(about, _SHAPE)
    missing = [name for name in _NEEDED if about.get(name) is None]
    if found or missing:
        what = f"{found[0][:100]} is not {found[1]}" if found else f"{missing[0]} is missing"
        raise _refused(path, f"{ABOUT}: {what}")
    run_id, device = about["run_id"], about["device"]
    events, starts = about["events"], about["starts"]
    if not protocol.is_name(run_id) or not protocol.is_name(device):
        raise _refused(path, f"{ABOUT}: its run or device has no such name as ours")
    if events.get("count") is None or events.get("sha256") is None:
        raise _refused(path, f"{ABOUT}: events is not complete")
    if not 0 < len(starts) <= MAX_STARTS or not all(s and s.get("facts") for s in starts):
        raise _refused(path, f"{ABOUT}: its starts do not say on which machine")
    _check_sizes(path, device, starts)
    return Results(path, run_id, device, tuple(starts), events["count"], events["sha256"])


def _check_sizes(path: Path, device: str, starts: list[Mapping[str, Any]]) -> None:
    try:
        for start in starts:
            told.check_size(start, "the facts of a start", device=device)
    except AgentError as exc:
        raise _refused(path, exc.reason) from exc


@contextmanager
def _opened(path: Path) -> Iterator[zipfile.ZipFile]:
    """The archive, its members looked at; what is wrong with its bytes as a UsageError."""
    try:
        _check_directory(path)
        with zipfile.ZipFile(path) as archive:
            _check_members(path, archive.infolist())
            yield archive
    except BROKEN as exc:
        raise _refused(path, why_broken(exc)) from exc


def _check_directory(path: Path) -> None:
    """How many members there are, before the list of them is read into memory."""
    with plain_files.opened_named(path) as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - _END.size - _ZIP64_BYTES))
        tail = file.read()
    if len(tail) < _END.size or tail[-_END.size :][:4] != _END_SIGNATURE:
        raise _refused(path, "it does not end as one: it was cut off, or packed by something else")
    _, _, _, _, count, directory_bytes, _, _ = _END.unpack(tail[-_END.size :])
    if tail.startswith(_ZIP64_SIGNATURE) or count != 2 or directory_bytes > _MOST_DIRECTORY_BYTES:
        raise _refused(path, f"it has other members than {ABOUT} and {EVENTS}")


def _check_members(path: Path, members: list[zipfile.ZipInfo]) -> None:
    if sorted(member.filename for member in members) != sorted((ABOUT, EVENTS)):
        raise _refused(path, f"it has other members than {ABOUT} and {EVENTS}")
    for member in members:
        most = protocol.MAX_LINE_BYTES if member.filename == ABOUT else MAX_EVENTS_BYTES
        most = min(most, MAX_RATIO * max(1, member.compress_size))
        wrong = flaw(member, most_bytes=most, packer="bundle")
        if wrong is not None:
            raise _refused(path, wrong)


def _refused(path: Path, why: str) -> UsageError:
    return UsageError(
        f"{path}: no results of a bundle: {why}. Nothing of it was imported; bring the file back "
        f"again as the bundle wrote it"
    )
