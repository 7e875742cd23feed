"""The agent's folder on the node, its log, and which agent this is.

Everything is addressed relative to the working directory once :func:`enter` has moved there:
a Unix socket's path may have 108 bytes at most, and a home may lie deeper than that.
"""

from __future__ import annotations

import contextlib
import os
import pkgutil
import stat
import sys
from datetime import datetime, timezone
from typing import Tuple

import orchestrate_agent
from orchestrate_agent.errors import EXIT_PASSING, NO_SPACE, AgentError

DEFAULT = "~/.orchestrate"

BLOBS = "blobs"
SITES = "sites"
SPOOL = "spool"
LOCK = "agent.lock"
SOCKET = "agent.sock"
LOG = "agent.log"
OLD_LOG = "agent.log.1"
#: Two files of this size at most: the log of a daemon that runs for months stays bounded.
LOG_BYTES = 1024 * 1024

SOURCE_HASH = "SOURCE_SHA256"

#: Where :func:`enter` went last.
_entered = ""


def enter(home: str) -> str:
    """Make ``home`` where it is missing, go there, return its real path.

    Raises AgentError where it is a link or somebody else could write in it: the daemon executes
    what lies there.
    """
    os.umask(0o077)
    path = os.path.abspath(os.path.expanduser(home))
    try:
        _enter(path)
        for folder in (BLOBS, SPOOL):
            os.makedirs(folder, 0o700, exist_ok=True)
    except OSError as exc:
        if exc.errno in NO_SPACE:
            raise AgentError(
                f"agent home {path}: {exc.strerror}; make room on that disk", EXIT_PASSING
            ) from exc
        raise AgentError(
            f"agent home {path}: {exc.strerror}; it must be a folder of your own that can be "
            f"written in, and no link. Choose another (`workdir:` in the inventory, --home here)"
        ) from exc
    global _entered  # noqa: PLW0603 (a process has one working directory, and one home)
    _entered = os.getcwd()
    return _entered


def absolute(path: str) -> str:
    """The absolute path of something in the home, for a message. A home that was removed has one
    still, though the system no longer knows the working directory."""
    try:
        return os.path.abspath(path)
    except FileNotFoundError:
        return os.path.join(_entered, path)


def _enter(path: str) -> None:
    """Raises AgentError, OSError."""
    os.makedirs(path, 0o700, exist_ok=True)
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        _refuse_shared(path, os.fstat(fd))
        _refuse_unsafe_way(path)
        os.fchmod(fd, 0o700)
        os.fchdir(fd)
    finally:
        os.close(fd)


def _refuse_shared(path: str, status: os.stat_result) -> None:
    if status.st_uid != os.geteuid():
        raise AgentError(
            f"agent home {path} belongs to user {status.st_uid}, not to you "
            f"({os.geteuid()}); choose another with --home"
        )
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise AgentError(
            f"agent home {path} is writable by others; run `chmod 700 {path}` "
            f"when you know what lies in it"
        )


def _refuse_unsafe_way(path: str) -> None:
    """Whoever may rename what lies above a folder can put another in its place."""
    above = os.path.realpath(path)
    # in a user namespace that does not map root, everything of root's belongs to "nobody"
    trusted = (0, os.geteuid(), os.stat("/").st_uid)
    while above != "/":
        above = os.path.dirname(above)
        status = os.stat(above)
        sticky = status.st_mode & stat.S_ISVTX
        if status.st_uid not in trusted:
            raise AgentError(
                f"agent home {path}: {above} above it belongs to user {status.st_uid}, who could "
                f"replace it; choose another with --home"
            )
        if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH) and not sticky:
            raise AgentError(
                f"agent home {path}: {above} above it is writable by others, who could replace "
                f"it; run `chmod go-w {above}`, or choose another with --home"
            )


def may_execute() -> bool:
    """Whether a program may be run from the home, the working directory: a disk that is mounted
    noexec forbids it. True where that cannot be tried."""
    probe = os.path.abspath(f"may-run.{os.getpid()}")
    try:
        fd = os.open(probe, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o700)
        os.write(fd, b"#!/bin/sh\nexit 0\n")
        os.close(fd)
        os.waitpid(os.posix_spawn(probe, [probe], {}), 0)
    except PermissionError:
        return False
    except OSError:
        return True
    finally:
        with contextlib.suppress(OSError):
            os.unlink(probe)
    return True


def identity() -> Tuple[str, str]:
    """Return the hash of this agent's sources and the path of its zipapp.

    Raises AgentError when the modules do not run from an archive: a trial needs its path.
    """
    try:
        text = pkgutil.get_data("orchestrate_agent", SOURCE_HASH)
    except OSError:
        text = None
    if text is None:
        raise AgentError("this agent does not run from its zipapp; use `python3 -I AGENT.pyz …`")
    archive = os.path.dirname(os.path.dirname(os.path.abspath(orchestrate_agent.__file__)))
    return text.decode("ascii").strip(), archive


def now() -> str:
    """Return the time in UTC, ISO 8601, to the millisecond."""
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds")


def sync_directory(path: str) -> None:
    """Make the names in ``path`` survive a power cut: a file's own fsync does not."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


# --- the log: the daemon's stdout and stderr ------------------------------------------------


def open_log() -> None:
    """Send this process's stdout and stderr to the end of the log; a long one is set aside."""
    if os.path.exists(LOG) and os.path.getsize(LOG) > LOG_BYTES:
        os.replace(LOG, OLD_LOG)
    fd = os.open(LOG, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(fd, 1)
    os.dup2(fd, 2)
    os.close(fd)


def log(message: str) -> None:
    """Write one line in the log (in a foreground command: on stderr)."""
    line = f"{now()} [{os.getpid()}] {message}\n".encode("utf-8", "backslashreplace")
    try:
        os.write(2, line)
        if os.fstat(2).st_size > LOG_BYTES and _is_log(2):
            open_log()
    except OSError:
        # A full disk must not stop the daemon from answering; what matters is in the spool,
        # and that one does stop on errors.
        return


def _is_log(fd: int) -> bool:
    return os.path.exists(LOG) and os.path.samestat(os.fstat(fd), os.stat(LOG))


def read_log(tail_bytes: int) -> str:
    """The last ``tail_bytes`` of what the daemons of this home wrote; empty where none ran."""
    data = b""
    for path in (OLD_LOG, LOG):
        try:
            with open(path, "rb") as file:
                data += file.read()
        except FileNotFoundError:
            continue
    if len(data) > tail_bytes:
        data = data[-tail_bytes:].partition(b"\n")[2]
    return data.decode("utf-8", "replace")


def print_error(message: str) -> None:
    """Write one line on stderr, for the person at the other end."""
    print(f"agent: {message}", file=sys.stderr, flush=True)
