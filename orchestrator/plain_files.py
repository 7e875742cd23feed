"""Files in folders that somebody else may have filled: no link is followed, only plain files count.

A run's folder may have come by mail. Whatever is opened in one is opened here: below the folder no
symbolic link is followed, a pipe or a device is never waited for, what is read has a size that is
known before, and what is written goes into a plain file of one's own. The folder itself may be
reached through links, because its user named it.

Whatever is refused is an OSError whose words say what is wrong, so that a caller's own message for
a file that cannot be read or written fits.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import BinaryIO

#: So that neither a pipe without a writer nor a terminal holds up whoever opens it.
_SAFE = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC

_KINDS: tuple[tuple[Callable[[int], bool], str], ...] = (
    (stat.S_ISLNK, "it is a link, and links are not followed here"),
    (stat.S_ISDIR, "it is a folder and not a file"),
    (stat.S_ISFIFO, "it is a pipe and not a plain file"),
    (stat.S_ISSOCK, "it is a socket and not a plain file"),
    (stat.S_ISCHR, "it is a device and not a plain file"),
    (stat.S_ISBLK, "it is a device and not a plain file"),
)


class NotPlainError(OSError):
    """A name that does not stand for a plain file of a size that can be; ``strerror`` says why."""

    def __init__(self, why: str, path: Path) -> None:
        super().__init__(errno.EINVAL, why, str(path))


@contextmanager
def opened(folder: Path, name: str, *, most_bytes: int) -> Iterator[BinaryIO]:
    """Open the file ``name`` below ``folder`` for reading. Raises OSError.

    A file that has more than ``most_bytes`` is refused before a byte of it is read.
    """
    with os.fdopen(descriptor(folder, name, os.O_RDONLY), "rb") as file:
        _check_size(file, folder / name, most_bytes)
        yield file


def read(folder: Path, name: str, *, most_bytes: int) -> bytes:
    """All bytes of the file ``name`` below ``folder``. Raises OSError as :func:`opened` does."""
    with opened(folder, name, most_bytes=most_bytes) as file:
        return _whole(file, folder / name, most_bytes)


@contextmanager
def opened_named(path: Path) -> Iterator[BinaryIO]:
    """Open a plain file for reading that the user named, who may name a link. Raises OSError."""
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    with os.fdopen(fd, "rb") as file:
        _check_kind(os.fstat(fd), path)
        yield file


def read_named(path: Path, *, most_bytes: int) -> bytes:
    """All bytes of such a file. Raises OSError."""
    with opened_named(path) as file:
        _check_size(file, path, most_bytes)
        return _whole(file, path, most_bytes)


def _whole(file: BinaryIO, path: Path, most_bytes: int) -> bytes:
    # no more is asked for than there is: that much memory is taken, whatever is read into it
    size = os.fstat(file.fileno()).st_size
    data = file.read(min(size, most_bytes) + 1)
    if len(data) > size:
        data += file.read(most_bytes + 1 - len(data))
    if len(data) > most_bytes:  # it grew while it was read
        raise _too_large(path, len(data), most_bytes)
    return data


def _check_size(file: BinaryIO, path: Path, most_bytes: int) -> None:
    size = os.fstat(file.fileno()).st_size
    if size > most_bytes:
        raise _too_large(path, size, most_bytes)


def _too_large(path: Path, size: int, most_bytes: int) -> NotPlainError:
    return NotPlainError(f"it has {size} bytes, and at most {most_bytes} are read", path)


def write(folder: Path, name: str, data: bytes, *, synced: bool = True) -> None:
    """Write the file ``name`` below ``folder`` so that a reader, and a power cut, find the old
    bytes or the new ones. Raises OSError. Not ``synced``: a reader does, a power cut may find
    neither, and no disk is waited for.

    Whatever had the name is replaced, a link too; a folder or a pipe is not.
    """
    with _parent(folder, name) as (parent, last):
        _refuse_special(parent, last, folder / name)
        temporary = f".{last}.{secrets.token_hex(4)}.tmp"
        try:
            with os.fdopen(_create(parent, temporary), "wb") as file:
                file.write(data)
                file.flush()
                if synced:
                    os.fsync(file.fileno())
            os.replace(temporary, last, src_dir_fd=parent, dst_dir_fd=parent)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(temporary, dir_fd=parent)
            raise
        if synced:
            os.fsync(parent)


def created(path: Path) -> BinaryIO:
    """A new file under the name ``path``, open for writing. Raises OSError.

    What an earlier process left under the name is removed first; a link is not followed.
    """
    with _parent(path.parent, path.name) as (parent, last):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(last, dir_fd=parent)
        return os.fdopen(_create(parent, last), "wb")


def _create(parent: int, name: str) -> int:
    return os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _SAFE, 0o666, dir_fd=parent)


def descriptor(folder: Path, name: str, flags: int, *, own: bool = True) -> int:
    """Open the file ``name`` below ``folder`` and return its descriptor. Raises OSError.

    With flags that write, the file must belong to this user and have no second name, unless
    ``own`` is false: its bytes might be another file's.
    """
    path = folder / name
    with _parent(folder, name) as (parent, last):
        # before it is opened, because opening a device may already do something
        with contextlib.suppress(FileNotFoundError):
            _check_kind(os.stat(last, dir_fd=parent, follow_symlinks=False), path)
        fd = os.open(last, flags | _SAFE, 0o644, dir_fd=parent)
    try:
        status = os.fstat(fd)
        _check_kind(status, path)
        if own and flags & (os.O_WRONLY | os.O_RDWR):
            _check_own(status, path)
    except BaseException:
        os.close(fd)
        raise
    return fd


def lock_descriptor(folder: Path, name: str) -> int:
    """Open a file that is only ever locked, and may be another user's. Raises OSError."""
    return descriptor(folder, name, os.O_RDWR | os.O_CREAT, own=False)


def sync_folder(folder: Path) -> None:
    """Make its names survive a power cut, which a file's own sync does not. Raises OSError."""
    fd = os.open(folder, _FOLDER)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


@contextmanager
def _parent(folder: Path, name: str) -> Iterator[tuple[int, str]]:
    """The folder that holds the file ``name``, opened without following a link below ``folder``,
    and the file's name in it."""
    *above, last = name.split("/")
    if any(part in ("", ".", "..") or "\0" in part for part in (*above, last)):
        raise NotPlainError("its name leads elsewhere", folder / PurePosixPath(name))
    fd = os.open(folder, _FOLDER)
    try:
        path = folder
        for part in above:
            path /= part
            inner = _open_folder(part, fd, path)
            os.close(fd)
            fd = inner
        yield fd, last
    finally:
        os.close(fd)


def _open_folder(name: str, parent: int, path: Path) -> int:
    try:
        return os.open(name, _FOLDER | os.O_NOFOLLOW, dir_fd=parent)
    except OSError as exc:
        if exc.errno not in (errno.ELOOP, errno.ENOTDIR):
            raise
        raise NotPlainError(
            f"{path.name} in it is a link or a file, and not a folder", path.parent
        ) from exc


def _refuse_special(parent: int, name: str, path: Path) -> None:
    with contextlib.suppress(FileNotFoundError):
        status = os.stat(name, dir_fd=parent, follow_symlinks=False)
        if not stat.S_ISLNK(status.st_mode):
            _check_kind(status, path)


def _check_kind(status: os.stat_result, path: Path) -> None:
    for is_kind, words in _KINDS:
        if is_kind(status.st_mode):
            raise NotPlainError(words, path)


def _check_own(status: os.stat_result, path: Path) -> None:
    if status.st_uid != os.geteuid():
        raise NotPlainError(
            f"it belongs to another user (uid {status.st_uid}); copy the folder (`cp -r`) and "
            f"work on the copy",
            path,
        )
    if status.st_nlink > 1:
        raise NotPlainError(
            "it is one of several names of a file (a hard link); copy the folder (`cp -r`) and "
            "work on the copy",
            path,
        )
