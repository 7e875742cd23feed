"""Files pushed to the node, named by their SHA-256: received by ``put``, used by trials."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import tempfile
import time
from typing import BinaryIO, Dict, Iterator, Tuple

from agents import home
from agents.errors import EXIT_NO_SPACE, EXIT_WRONG_BYTES, NO_SPACE, AgentError

CHUNK_BYTES = 1024 * 1024
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
    """Store ``size`` bytes of ``source`` as blob ``sha256``; returns ``stored`` or ``present``.

    Raises AgentError: exit code 4 where the bytes are not those, 5 where the disk lacks room.
    """
    path = os.path.join(home.BLOBS, sha256)
    _sweep()
    if _size(path) == size:
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
    digest, received = hashlib.sha256(), 0
    while received < size:
        chunk = source.read(min(CHUNK_BYTES, size - received))
        if not chunk:
            raise AgentError(
                f"blob {sha256}: the transfer ended after {received} of {size} bytes; "
                f"send it again",
                EXIT_WRONG_BYTES,
            )
        digest.update(chunk)
        received += len(chunk)
        _write(fd, chunk)
    if digest.hexdigest() != sha256:
        raise AgentError(
            f"blob {sha256}: the bytes that arrived have SHA-256 {digest.hexdigest()}; "
            f"send it again",
            EXIT_WRONG_BYTES,
        )


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

    def has(self, sha256: str) -> bool:
        """Whether a file of that name is there; its bytes are not read."""
        return os.path.isfile(self._path(sha256))

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
        """The same, made executable by its owner."""
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
