"""``results-<device>.zip``: what a bundle brings back, and where it can go on from on a new node.

``results.json`` says whose results they are, on which machine, and the events' SHA-256;
``events.jsonl`` is the session's spool, byte for byte.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import zipfile
from dataclasses import dataclass
from typing import Any, Callable, Iterable, Mapping, Sequence

from orchestrate_agent import home, protocol
from orchestrate_agent.daemon import spool
from orchestrate_agent.errors import AgentError
from orchestrate_agent.protocol import ProtocolError, TrialRequest

FORMAT = 1
ABOUT = "results.json"
EVENTS = "events.jsonl"
#: In the session's folder of the spool: a line each time that the bundle was started.
STARTS = "starts.jsonl"
#: What is compressed better than this is stored as it is: a reader takes it for a bomb.
MAX_RATIO = 100
_EPOCH = (1980, 1, 1, 0, 0, 0)
_RESTORING = ".restoring"


@dataclass(frozen=True)
class Session:
    """The session that results belong to, and the bundle's starts so far, each with its facts."""

    run_id: str
    device: str
    starts: Sequence[Mapping[str, Any]]


def write(path: str, session: Session, events: Callable[[], Iterable[bytes]]) -> None:
    """Replace ``path`` in one step. ``events`` gives the spool's lines, each time it is called,
    without their newlines. Raises AgentError."""
    temporary = f"{path}.{os.getpid()}.partial"
    about = {
        "format": FORMAT,
        "run_id": session.run_id,
        "device": session.device,
        "written": home.now(),
        "starts": list(session.starts),
    }
    try:
        _write(temporary, about, events(), zipfile.ZIP_DEFLATED)
        if _is_suspect(temporary):
            _write(temporary, about, events(), zipfile.ZIP_STORED)
        os.replace(temporary, path)
        home.sync_directory(os.path.dirname(path))
    except OSError as exc:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise AgentError(
            f"{path} cannot be written: {exc.strerror or exc}; nothing that was measured is lost. "
            f"Make room, or choose another place with --output, and run this again"
        ) from exc


def _write(path: str, about: Mapping[str, Any], events: Iterable[bytes], method: int) -> None:
    digest, count = hashlib.sha256(), 0
    with open(path, "wb") as file:
        with zipfile.ZipFile(file, "w", method) as archive:
            with archive.open(_info(EVENTS, method), "w", force_zip64=True) as member:
                for line in events:
                    digest.update(line + b"\n")
                    count += 1
                    member.write(line + b"\n")
            told = {**about, "events": {"count": count, "sha256": digest.hexdigest()}}
            archive.writestr(_info(ABOUT, method), json.dumps(told, indent=1) + "\n")
        file.flush()
        os.fsync(file.fileno())


def _info(name: str, method: int) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name, _EPOCH)
    info.compress_type = method
    info.external_attr = 0o600 << 16
    return info


def _is_suspect(path: str) -> bool:
    with zipfile.ZipFile(path) as archive:
        return any(i.file_size > MAX_RATIO * max(1, i.compress_size) for i in archive.infolist())


def restore(path: str, run_id: str, device: str, requests: Mapping[str, TrialRequest]) -> None:
    """Begin the session's spool with the results in ``path``, which an earlier node has written.

    Raises AgentError where they are other results, which must not be lost.
    """
    remedy = f"move {path} away, or choose another place with --output"
    try:
        with zipfile.ZipFile(path) as archive:
            about = json.loads(archive.read(ABOUT).decode("utf-8"))
            text = archive.read(EVENTS)
        if (about["run_id"], about["device"]) != (run_id, device):
            raise AgentError(
                f"{path} has the results of {about['device']} in run {about['run_id']}; {remedy}"
            )
        if hashlib.sha256(text).hexdigest() != about["events"]["sha256"]:
            raise AgentError(f"{path} is damaged: its events have another SHA-256; {remedy}")
        lines = text.splitlines(keepends=True)
        queued = dict.fromkeys(protocol.parse_event(protocol.decode(e)).trial_id for e in lines)
        trials = [protocol.encode(requests[trial_id].to_json()) for trial_id in queued]
        starts = [protocol.encode(start) for start in about["starts"]]
    except (OSError, zipfile.BadZipFile, ProtocolError, ValueError, KeyError, TypeError) as exc:
        raise AgentError(f"{path} is there and cannot be read ({exc}); {remedy}") from exc
    # in one step: half a spool would be gone on with as if it were the whole
    folder = os.path.join(home.SPOOL, _RESTORING)
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(folder, 0o700)
    for name, content in ((STARTS, starts), (spool.TRIALS, trials), (spool.EVENTS, lines)):
        spool.LineFile(os.path.join(folder, name)).append(content)
    os.makedirs(os.path.join(home.SPOOL, run_id), 0o700, exist_ok=True)
    os.rename(folder, os.path.join(home.SPOOL, run_id, device))


def is_begun(run_id: str, device: str) -> bool:
    """Whether this home has a spool of that session."""
    return os.path.isdir(os.path.join(home.SPOOL, run_id, device))
