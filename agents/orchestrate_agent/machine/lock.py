"""The machine-wide lock: one trial at a time on a machine, whoever its daemon belongs to."""

from __future__ import annotations

import fcntl
import os
import threading
from typing import Callable, Optional

#: Every user can open this folder for reading and lock it, and nobody can remove it, put another
#: in its place, or create it first with rights that keep others out, as with a lock file in a
#: world-writable folder. The lock is advisory and no one else locks this folder by custom.
PLACE = "/tmp"  # noqa: S108 (it is locked, nothing is written there)
HELD = "held"


class MachineLock:
    """Taken before an exclusive trial, given back after it. Belongs to one worker thread.

    ``changed`` is notified when a lock that was waited for has come.
    """

    def __init__(self, changed: threading.Condition, place: str = PLACE) -> None:
        self._changed = changed
        self._place = place
        self._fd: Optional[int] = None

    def acquire(self, given_up: Callable[[], bool]) -> Optional[str]:
        """Wait for the lock; returns ``held`` or ``unavailable: why``.

        None where ``given_up`` became true meanwhile (it is asked when ``changed`` is notified).
        """
        try:
            self._fd = os.open(self._place, os.O_RDONLY | os.O_DIRECTORY)
            try:
                fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return self._wait(given_up)
        except OSError as exc:
            self.release()
            return _unavailable(exc)
        return HELD

    def release(self) -> None:
        """Give it back; of no effect where it is not held."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def _wait(self, given_up: Callable[[], bool]) -> Optional[str]:
        assert self._fd is not None  # noqa: S101 (acquire has just opened it)
        waiting = _Waiting(self._changed, self._fd)
        self._fd = None
        with self._changed:
            self._changed.wait_for(lambda: waiting.over or given_up())
            if not waiting.over:
                waiting.abandoned = True
                return None
        if waiting.error is not None:
            return _unavailable(waiting.error)
        self._fd = waiting.fd
        return HELD


class _Waiting:
    """A thread that sleeps in the kernel until the lock comes: flock knows no time limit and
    cannot be called off, so one that is no longer wanted gives the lock back when it comes."""

    def __init__(self, changed: threading.Condition, fd: int) -> None:
        self.fd = fd
        self.over = False
        self.abandoned = False
        self.error: Optional[OSError] = None
        self._changed = changed
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        try:
            fcntl.flock(self.fd, fcntl.LOCK_EX)
        except OSError as exc:
            self.error = exc
        with self._changed:
            if self.abandoned or self.error is not None:
                os.close(self.fd)
            self.over = True
            self._changed.notify_all()


def _unavailable(exc: OSError) -> str:
    return f"unavailable: {PLACE}: {exc.strerror}"
