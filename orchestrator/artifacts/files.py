"""Files that are either whole or absent, and a lock between processes that write them."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from orchestrator.errors import ArtifactError
from orchestrator.plain_files import created, descriptor, lock_descriptor

_CHUNK_BYTES = 1024 * 1024
_READ_ONLY = (errno.EROFS, errno.EACCES)
_PARTIAL_SUFFIX = ".partial"


def has_sha256(path: Path, sha256: str) -> bool:
    """Whether the file is there, with this hash. Raises ArtifactError where it cannot be read."""
    try:
        return sha256_of(path) == sha256
    except FileNotFoundError:
        return False
    except OSError as exc:
        raise ArtifactError(f"{path}: {exc.strerror or exc}") from exc


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's bytes, in hex. Raises OSError."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def write_atomically(path: Path, data: bytes) -> None:
    """Write ``path`` so that a reader, and a power cut, find the old bytes or the new ones.

    Raises OSError. The folder must exist.
    """
    partial = partial_name(path)
    try:
        with created(partial) as file:
            file.write(data)
            _flush(file.fileno())
        put_in_place(partial, path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def partial_name(path: Path) -> Path:
    """Name the place where a file is written before it is whole; one process never meets
    another's."""
    return path.with_name(f".{path.name}.{os.getpid()}{_PARTIAL_SUFFIX}")


def put_in_place(partial: Path, path: Path) -> None:
    """Rename a complete, flushed file to its name and make the rename durable."""
    partial.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        _flush(folder)
    finally:
        os.close(folder)


def _flush(fd: int) -> None:
    os.fsync(fd)


def remove_partials(folder: Path) -> None:
    """Remove what a killed process left behind. Only for the holder of the folder's lock."""
    for partial in folder.glob(f".*{_PARTIAL_SUFFIX}"):
        partial.unlink(missing_ok=True)


@contextmanager
def locked(path: Path, on_wait: Callable[[], None] | None = None) -> Iterator[None]:
    """Hold an exclusive lock on ``path`` (created; its bytes do not matter).

    The system drops the lock when the holder dies. ``on_wait`` is called once where another
    process holds it. Where nothing may be written there, neither may what it would keep apart:
    then it is held if it can be, and whoever writes all the same is told. Raises ArtifactError
    where the file cannot be made for another reason.
    """
    with translated(path):
        fd = _lock_descriptor(path)
    if fd is None:
        yield
        return
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if on_wait is not None:
                on_wait()
            fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def _lock_descriptor(path: Path) -> int | None:
    """Open the lock file; None where it is not there and cannot be made. Raises OSError."""
    try:
        return lock_descriptor(path.parent, path.name)
    except OSError as exc:
        if exc.errno not in _READ_ONLY:
            raise
    try:
        return descriptor(path.parent, path.name, os.O_RDONLY, own=False)
    except OSError as exc:
        if exc.errno not in (errno.ENOENT, *_READ_ONLY):
            raise
        return None


def make_folder(folder: Path) -> None:
    """Make the folder. Raises ArtifactError where it can neither be found nor made."""
    with translated(folder):
        folder.mkdir(parents=True, exist_ok=True)


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """What the system refuses about ``path``, as an ArtifactError."""
    try:
        yield
    except OSError as exc:
        place = exc.filename or path
        raise ArtifactError(
            f"{place}: {exc.strerror or exc}; check permissions and free space there, or name "
            f"another folder with --models"
        ) from exc
