"""The machine we run on, behind the same seam as the remote ones."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO

from orchestrate_agent import protocol
from orchestrator.errors import PermanentDeviceError
from orchestrator.fleet.exchange import FarProcess, LineChannel, complete
from orchestrator.fleet.transport import SIGNALLED, CommandEnd, Readable, checked

_READ_BYTES = 64 * 1024
#: What close() leaves a command to end by itself before it is killed, in seconds.
_GRACE_S = 0.5
_LONGEST_POLL_S = 0.05
_LOGIN = frozenset(
    (
        *("PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "TZ", "TMPDIR", "XDG_RUNTIME_DIR"),
        "LD_LIBRARY_PATH",  # a Python out of an environment module does not start without it
    )
)
_LOGIN_PREFIXES = ("LC_", "ADB_", "ANDROID_")


class LocalTransport:
    """Runs commands here, without a shell, each in a session of its own."""

    def __init__(self, device: str) -> None:
        self.device = device
        self._channels: list[LineChannel] = []

    def connect(self) -> None:
        """Do nothing: we are here."""

    def run(
        self,
        argv: Sequence[str],
        *,
        stdin: Readable | bytes | None = None,
        timeout_s: float,
        on_sent: Callable[[int], None] | None = None,
    ) -> CommandEnd:
        return complete(
            self._start(argv),
            f"`{argv[0]}`",
            device=self.device,
            stdin=stdin,
            timeout_s=timeout_s,
            on_sent=on_sent,
        )

    def open(
        self, argv: Sequence[str], *, max_line_bytes: int = protocol.MAX_LINE_BYTES
    ) -> LineChannel:
        channel = LineChannel(
            self._start(argv), f"`{argv[0]}`", device=self.device, max_line_bytes=max_line_bytes
        )
        self._channels = [c for c in self._channels if not c.closed] + [channel]
        return channel

    def close(self) -> None:
        while self._channels:
            self._channels.pop().close()

    def describe(self) -> str:
        return "this machine"

    def _start(self, argv: Sequence[str]) -> FarProcess:
        """Start ``argv``. Raises ValueError, PermanentDeviceError."""
        return self._started([_expanded(argument) for argument in checked(argv)])

    def _started(self, command: Sequence[str]) -> LocalProcess:
        """What is started here, so that a command runs there. Raises PermanentDeviceError."""
        try:
            return self._process(command)
        except OSError as exc:
            raise PermanentDeviceError(
                f"cannot start `{command[0]}`: {exc.strerror or exc}", device=self.device
            ) from exc

    def _process(self, command: Sequence[str]) -> LocalProcess:
        return LocalProcess(command, login_environment())


def login_environment() -> dict[str, str]:
    """Choose what a command here gets of our environment: what a login over SSH would give it, and
    what its Python and ``adb`` need. An agent keeps it for as long as it lives, so that nothing
    else of ours, a token least of all, belongs in it."""
    return {
        name: value
        for name, value in os.environ.items()
        if name in _LOGIN or name.startswith(_LOGIN_PREFIXES)
    }


def _expanded(argument: str) -> str:
    """Expand the argument as a login shell reads it: ``~`` and ``~/…`` only."""
    if argument == "~" or argument.startswith("~/"):
        return str(Path.home()) + argument[1:]
    return argument


class LocalProcess:
    """A ``FarProcess`` on this machine.

    ``env`` starts the program: it ends with 127 or 126 where the program is missing or may not
    be executed, and says so on stderr, as a login shell over ssh does.
    """

    def __init__(self, argv: Sequence[str], env: Mapping[str, str] | None = None) -> None:
        """``env`` None: all of ours."""
        home = Path.home()
        self._popen = subprocess.Popen(
            ["env", "--", *argv],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            env=env,
            cwd=home if home.is_dir() else "/",
            start_new_session=True,  # so that Ctrl-C in our terminal stays ours
        )
        self._stdin = _pipe(self._popen.stdin)
        self._stdout = _pipe(self._popen.stdout)
        self._stderr = _pipe(self._popen.stderr)
        for pipe in (self._stdin, self._stdout, self._stderr):
            os.set_blocking(pipe.fileno(), False)
        # Readable for ever once the write end is closed: it wakes every poll below. Closing a
        # pipe under a blocked read would not wake it, and its number might be used again.
        self._wake_read, self._wake_write = os.pipe()
        self._awake = False
        self._lock = threading.Lock()

    def write(self, data: memoryview) -> int:
        while self._ready(self._stdin, select.POLLOUT):
            try:
                return os.write(self._stdin.fileno(), data[:_READ_BYTES])
            except BlockingIOError:
                continue
            except OSError:
                return 0
        return 0

    def close_stdin(self) -> None:
        self._stdin.close()

    def read_stdout(self) -> bytes:
        return self._read(self._stdout)

    def read_stderr(self) -> bytes:
        return self._read(self._stderr)

    def _read(self, pipe: IO[bytes]) -> bytes:
        while self._ready(pipe, select.POLLIN):
            try:
                return os.read(pipe.fileno(), _READ_BYTES)
            except BlockingIOError:
                continue
        return b""

    def _ready(self, pipe: IO[bytes], event: int) -> bool:
        if self._awake or pipe.closed:
            return False
        poll = select.poll()
        poll.register(pipe, event)
        poll.register(self._wake_read, select.POLLIN)
        ready = dict(poll.poll())
        return pipe.fileno() in ready and not self._awake

    def wait(self, timeout_s: float | None) -> int | None:
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        pause = 0.0005
        while (code := self._poll()) is None:
            if deadline is not None and time.monotonic() > deadline:
                return None
            time.sleep(pause)
            pause = min(pause * 2, _LONGEST_POLL_S)
        return SIGNALLED if code < 0 else code

    def lost(self) -> str | None:
        return None

    def kill(self) -> None:
        with self._lock:
            if not self._awake:
                self._awake = True
                os.close(self._wake_write)
        self._signal(signal.SIGTERM)
        if self.wait(_GRACE_S) is None:
            self._signal(signal.SIGKILL)
            self.wait(None)

    def release(self) -> None:
        for pipe in (self._stdin, self._stdout, self._stderr):
            pipe.close()
        os.close(self._wake_read)

    def _signal(self, number: signal.Signals) -> None:
        # under the lock of _poll: a process that has been waited for may have lost its number
        with self._lock:
            if self._popen.poll() is None:
                os.killpg(self._popen.pid, number)

    def _poll(self) -> int | None:
        with self._lock:
            return self._popen.poll()


def _pipe(stream: IO[bytes] | None) -> IO[bytes]:
    if stream is None:  # cannot be: all three were asked for
        raise RuntimeError("a process without its pipes")
    return stream
