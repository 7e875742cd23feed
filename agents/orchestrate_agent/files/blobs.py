"""Files pushed to the node, named by their SHA-256: received by ``put``, used by trials."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import queue
import tempfile
import threading
import time
from typing import BinaryIO, Dict, FrozenSet, Iterable, Iterator, Optional, Tuple

from orchestrate_agent import home
from orchestrate_agent.errors import EXIT_NO_SPACE, EXIT_WRONG_BYTES, NO_SPACE, AgentError

CHUNK_BYTES = 1024 * 1024
#: What may wait to be hashed and written, in chunks.
QUEUED_CHUNKS = 8
#: Room that a transfer leaves free: the spool of a running trial needs some as well.
SPARE_BYTES = 16 * 1024 * 1024
#: A fresh temporary file may not be locked yet by the transfer that just made it.
STALE_S = 60.0

_PREFIX = ".put-"

Stamp = Tuple[int, int, int]


class DamagedBlobError(Exception):
    """A blob on this node is not what its name says, or is gone."""


# --- receiving -----------------------------------------------------------------------------


def put(sha256: str, size: int, source: BinaryIO) -> str:
    """Store the next ``size`` bytes of ``source`` as blob ``sha256``; ``stored`` or ``present``.

    Raises AgentError: exit code 4 where the bytes are not those, 5 where the disk lacks room.
    """
    path = os.path.join(home.BLOBS, sha256)
    _sweep()
    if _size(path) == size:
        for _ in _pieces(source, size):  # another transfer was quicker; the next blob comes after
            pass
        return "present"
    _check_space(size)
    try:
        with _temporary() as (fd, temporary):
            _receive(fd, sha256, size, source)
            os.fsync(fd)
            os.rename(temporary, path)
        home.sync_directory(home.BLOBS)
    except OSError as exc:
        if exc.errno not in NO_SPACE:
            raise AgentError(f"cannot store blob {sha256}: {exc}") from exc
        raise AgentError(
            f"no space left in {os.getcwd()} for a blob of {size} bytes; free some, "
            f"or choose another --home",
            EXIT_NO_SPACE,
        ) from exc
    return "stored"


def _size(path: str) -> int:
    try:
        return os.stat(path).st_size
    except FileNotFoundError:
        return -1


def _check_space(size: int) -> None:
    disk = os.statvfs(home.BLOBS)
    free = disk.f_bavail * disk.f_frsize
    if free < size + SPARE_BYTES:
        raise AgentError(
            f"{os.getcwd()} has {free} bytes free, a blob of {size} bytes does not fit "
            f"({SPARE_BYTES} are left for the spool); free some, or choose another --home",
            EXIT_NO_SPACE,
        )


@contextlib.contextmanager
def _temporary() -> Iterator[Tuple[int, str]]:
    fd, path = tempfile.mkstemp(prefix=_PREFIX, dir=home.BLOBS)
    try:
        # The lock goes when the process goes, however it dies: a file without one is stale.
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield fd, path
    finally:
        os.close(fd)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)


def _receive(fd: int, sha256: str, size: int, source: BinaryIO) -> None:
    received = 0
    with _Sink(fd) as sink:
        for piece in _pieces(source, size):
            sink.take(piece)
            received += len(piece)
    if received < size:
        raise AgentError(
            f"blob {sha256}: the transfer ended after {received} of {size} bytes; send it again",
            EXIT_WRONG_BYTES,
        )
    if sink.sha256() != sha256:
        raise AgentError(
            f"blob {sha256}: the bytes that arrived have SHA-256 {sink.sha256()}; send it again",
            EXIT_WRONG_BYTES,
        )


def _pieces(source: BinaryIO, size: int) -> Iterator[bytes]:
    left = size
    while left:
        piece = source.read(min(CHUNK_BYTES, left))
        if not piece:
            return
        left -= len(piece)
        yield piece


class _Sink:
    """Hashes and writes in a thread of its own, while the next piece is received.

    Taking turns instead would let the SSH server's window run full whenever we compute.
    Leaving the block raises OSError where the disk did not take all.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._digest = hashlib.sha256()
        self._pieces: "queue.Queue[Optional[bytes]]" = queue.Queue(QUEUED_CHUNKS)
        self._error: Optional[OSError] = None
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> _Sink:
        self._thread.start()
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        self._pieces.put(None)
        self._thread.join()
        if self._error is not None and kind is None:
            raise self._error

    def take(self, piece: bytes) -> None:
        """Queue ``piece``. Raises OSError as soon as the disk took an earlier one no more."""
        if self._error is not None:
            raise self._error
        self._pieces.put(piece)

    def sha256(self) -> str:
        return self._digest.hexdigest()

    def _run(self) -> None:
        for piece in iter(self._pieces.get, None):
            if self._error is not None:
                continue  # whoever queues is told, and must not find the queue full
            try:
                _write(self._fd, piece)
            except OSError as exc:
                self._error = exc
            self._digest.update(piece)


def _write(fd: int, chunk: bytes) -> None:
    view = memoryview(chunk)
    while view:
        view = view[os.write(fd, view) :]


def _sweep() -> None:
    """Remove what transfers that died have left behind."""
    for entry in os.scandir(home.BLOBS):
        if entry.name.startswith(_PREFIX):
            with contextlib.suppress(OSError):  # another transfer sweeps, or it ended by itself
                _remove_if_stale(entry.path)


def _remove_if_stale(path: str) -> None:
    if time.time() - os.stat(path).st_mtime < STALE_S:
        return
    fd = os.open(path, os.O_RDWR)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.unlink(path)
    finally:
        os.close(fd)


# --- using ---------------------------------------------------------------------------------


class BlobStore:
    """The blobs as the daemon uses them. Each is hashed again when it is first used."""

    def __init__(self, home_path: str) -> None:
        self._folder = os.path.join(home_path, home.BLOBS)
        self._verified: Dict[str, Stamp] = {}

    def present(self, blobs: Iterable[str]) -> FrozenSet[str]:
        """Return those of ``blobs`` that there is a file of; its bytes are not read."""
        return frozenset(sha256 for sha256 in blobs if os.path.isfile(self._path(sha256)))

    def path(self, sha256: str) -> str:
        """The blob's absolute path. Raises DamagedBlobError, having removed what was damaged."""
        path = self._path(sha256)
        try:
            stamp = _stamp(path)
            if self._verified.get(sha256) != stamp:
                _verify(path, sha256)
                self._verified[sha256] = stamp
        except OSError as exc:
            raise DamagedBlobError(
                f"blob {sha256} cannot be read: {exc.strerror}; push it again"
            ) from exc
        return path

    def executable(self, sha256: str) -> str:
        """Return the same path as :meth:`path`, made executable by its owner."""
        path = self.path(sha256)
        try:
            os.chmod(path, 0o700)
        except OSError as exc:
            raise DamagedBlobError(
                f"blob {sha256} cannot be made executable: {exc.strerror}"
            ) from exc
        return path

    def _path(self, sha256: str) -> str:
        return os.path.join(self._folder, sha256)


def _stamp(path: str) -> Stamp:
    status = os.stat(path)
    return status.st_size, status.st_mtime_ns, status.st_ino


def _verify(path: str, sha256: str) -> None:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        for chunk in iter(lambda: file.read(CHUNK_BYTES), b""):
            digest.update(chunk)
    if digest.hexdigest() != sha256:
        os.unlink(path)
        raise DamagedBlobError(
            f"blob {sha256} was damaged on this node's disk (its bytes have SHA-256 "
            f"{digest.hexdigest()}) and was removed; push it again"
        )
