"""The seam between the fleet and a machine: run a command there, or talk to one line by line.

``local`` and ``ssh`` stand behind it and behave alike (one contract suite runs over both):

* a command starts in the login's home folder, its own session apart from our terminal;
* ``argv`` reaches the program exactly as given; only a leading ``~/`` (or a lone ``~``) of an
  argument becomes the home folder of the far side (write ``./~/`` to name such a folder);
* a program that is not there ends with exit code 127, one that may not be executed with 126, one
  that a signal ended with :data:`SIGNALLED` (ssh does not tell which signal).

Threads: ``connect`` and ``close`` of a transport belong to one thread. ``run`` and ``open`` may be
called from any thread while it is connected, at the same time too: they share one connection.
On a channel one thread may send while another reads; ``close`` may come from a third.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from orchestrator.errors import TransientDeviceError

#: Most of a command's stdout that ``run`` accepts, and of its stderr that it keeps, in bytes.
CAPTURE_BYTES = 4 * 1024 * 1024
#: ``CommandEnd.exit_code`` of a command that a signal ended.
SIGNALLED = -1
#: How shells tell of a signal: 128 and its number.
SIGNAL_CODES = range(129, 193)


def ended_by_signal(exit_code: int) -> bool:
    """Whether a signal ended the command, or what a shell ran for it: a node that goes down does
    so."""
    return exit_code == SIGNALLED or exit_code > 128


class ChannelTimeout(TransientDeviceError):  # noqa: N818  (named after what happened, like TimeoutError)
    """Nothing came, or nothing could be sent, in the time allowed."""


@dataclass(frozen=True)
class CommandEnd:
    """A command that ended by itself. ``stderr`` holds its last ``CAPTURE_BYTES``."""

    exit_code: int
    stdout: bytes
    stderr: bytes


class Readable(Protocol):
    """Bytes to feed a command with: a binary file, or whatever else gives them piece by piece."""

    def read(self, size: int, /) -> bytes: ...


class Channel(Protocol):
    """A running command that speaks lines. What it says on stderr is only kept for messages."""

    def send(self, data: bytes) -> None:
        """Send all of ``data``.

        Raises TransientDeviceError where the far side no longer reads, ChannelTimeout where it
        does not take it within a minute (the channel is then closed).
        """
        ...

    def readline(self, timeout_s: float | None) -> bytes:
        """Return the next line without its newline; ``b""`` is an empty line, never the end.

        Raises ChannelTimeout when no full line came in time (call again: nothing is lost),
        TransientDeviceError when the far side closed, AgentError when a line is too long.
        """
        ...

    def close(self) -> None:
        """End the command. A ``readline`` waiting in another thread raises. May be repeated."""
        ...

    def exit_code(self) -> int | None:
        """The exit code of a command that has ended; None where the connection went before it was
        told."""
        ...

    def stderr_tail(self) -> str:
        """The last few kB of the command's stderr, for error messages."""
        ...


class Transport(Protocol):
    """The way to one device, named ``device`` in the inventory."""

    @property
    def device(self) -> str: ...

    def connect(self) -> None:
        """Reach the device; does nothing where it is reached. May be called again after a loss.

        Raises TransientDeviceError, HostKeyError, AuthenticationError or PermanentDeviceError.
        """
        ...

    def run(
        self,
        argv: Sequence[str],
        *,
        stdin: Readable | bytes | None = None,
        timeout_s: float,
        on_sent: Callable[[int], None] | None = None,
    ) -> CommandEnd:
        """Run a command to its end, feeding it ``stdin`` piece by piece.

        ``on_sent`` is told, in the calling thread, how many bytes of stdin have been sent so far.
        A command that ends before it has read its stdin is not an error; look at its exit code.
        Raises ChannelTimeout when it takes longer than ``timeout_s`` (a local command is killed,
        a remote one cut off), TransientDeviceError when the connection breaks, AgentError when
        it prints more than ``CAPTURE_BYTES`` to stdout.
        """
        ...

    def open(self, argv: Sequence[str]) -> Channel:
        """Start a command to talk to."""
        ...

    def close(self) -> None:
        """End every channel and the connection. May be repeated."""
        ...

    def describe(self) -> str:
        """Say where this leads, for messages: ``ssh cc@192.0.2.10:22 via bastion``."""
        ...


def shell_command(argv: Sequence[str]) -> str:
    """Write ``argv`` for a POSIX shell; only a leading ``~/`` is left for the shell to expand.

    ``exec env`` keeps builtins, aliases and reserved words of that shell out of it, and the shell
    itself out of the way. Raises ValueError as :func:`checked` does.
    """
    return "exec env -- " + " ".join(map(_quoted, checked(argv)))


def checked(argv: Sequence[str]) -> Sequence[str]:
    """Return ``argv`` itself. Raises ValueError where it cannot be a command line."""
    if not argv:
        raise ValueError("an empty command line")
    if any("\0" in argument for argument in argv):
        raise ValueError(f"a command line cannot carry a NUL character: {list(argv)!r}")
    if "=" in argv[0]:  # `env`, which starts it, would take it for a variable
        raise ValueError(f"a program's name cannot hold a `=`: {argv[0]!r}")
    return argv


def _quoted(argument: str) -> str:
    if argument == "~":
        return "~"
    if argument.startswith("~/"):
        rest = argument[2:]
        return "~/" + (shlex.quote(rest) if rest else "")
    return shlex.quote(argument)
