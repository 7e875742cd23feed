"""``attach``: carries bytes between stdio and the daemon's socket, having started the daemon.

``ask``: one request to a daemon that runs already.

A daemon is known by its lock as well as by its socket: one whose socket was removed is told to make
another, and one that says nothing, because it was stopped or hangs, is ended where that is asked
for. What it had not written down is run again.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from typing import Optional

from orchestrate_agent import home, protocol
from orchestrate_agent.errors import EXIT_FAILED, EXIT_HELD, EXIT_PASSING, AgentError
from orchestrate_agent.process import procs

#: How long a daemon may take to come up: a slow disk, and leftovers to be killed first.
START_S = 30.0
POLL_S = 0.2
#: How long one that accepted us may take to say so.
ANSWER_S = 10.0
#: For how long a socket may be missing before its daemon is told: one that starts has none yet, and
#: one that ends has none any more.
MISSING_S = 1.0
COPY_BYTES = 64 * 1024
_LOG_TAIL_BYTES = 4096


def attach(
    home_path: str,
    idle_s: float,
    adb: Optional[str] = None,
    answer_s: float = ANSWER_S,
    *,
    replace: bool = False,
) -> int:
    """Relay until either side closes. Raises AgentError where no daemon answers.

    ``adb`` is the serial of the Android device that the daemon speaks for. A daemon that does not
    answer within ``answer_s`` seconds is ended and another one started, where ``replace``.
    """
    wire = _keep_stdout()
    _, archive = home.identity()
    path = home.enter(home_path)
    start = _Start(path, archive, idle_s, adb)
    connection = _connect_or_start(start, answer_s, replace=replace)
    threading.Thread(target=_send_stdin, args=(connection,), daemon=True).start()
    _copy_answers(connection, wire)
    return 0


def ask(home_path: str) -> int:
    """Pass the one request on stdin to the daemon and print its reply; ``null`` if none runs.

    Raises AgentError where one runs and does not answer; a shutdown that is forced ends it then.
    """
    wire = _keep_stdout()
    home.enter(home_path)
    line = sys.stdin.buffer.readline()
    connection = _connect_to_living()
    if connection is None:
        holder = _holder()
        if holder is None:
            os.write(wire, b"null\n")
            return 0
        number = _forced_shutdown(line)
        if number is None:
            raise AgentError(
                f"{holder.silent()}; `orchestrate agents stop --force` ends it", EXIT_PASSING
            )
        _end_for_good(holder)
        os.write(wire, protocol.encode(protocol.reply(number, {})))
        return 0
    connection.settimeout(ANSWER_S)
    connection.sendall(line)
    with connection.makefile("rb") as answers:
        answers.readline()  # READY
        os.write(wire, answers.readline())
    return 0


def _keep_stdout() -> int:
    """The real stdout; what anything prints from now on goes to stderr."""
    wire = os.dup(1)
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    return wire


@dataclass(frozen=True)
class _Start:
    """What a daemon is started with."""

    path: str
    archive: str
    idle_s: float
    adb: Optional[str]


@dataclass(frozen=True)
class _Holder:
    """The daemon that has the home's lock. ``ours``: it is on this machine, and we may end it."""

    pid: int
    ours: bool

    def silent(self) -> str:
        """Say of a daemon that does not answer who it is and what to do."""
        text = f"an agent (pid {self.pid}) has the lock of {home.absolute('.')} and does not answer"
        if self.ours and procs.state(self.pid) in ("T", "t"):
            text += f": it is stopped (`kill -CONT {self.pid}` lets it go on)"
        return text

    def end(self, why: str) -> None:
        home.log(f"agent {self.pid} {why} and was ended")
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        procs.wait_until_gone([self.pid])


def _connect_or_start(start: _Start, answer_s: float, *, replace: bool) -> socket.socket:
    deadline = time.monotonic() + START_S + answer_s
    missing_since: Optional[float] = None
    silent = told = 0
    problem = ""
    while True:
        try:
            connection = _connect(answer_s)
        except socket.timeout:
            connection, missing_since = None, None
            silent += 1
        else:
            if connection is not None:
                return connection
            missing_since = time.monotonic() if missing_since is None else missing_since
        if time.monotonic() > deadline:
            raise AgentError(
                f"no agent answers in {start.path}. {problem}\n{home.LOG} ends "
                f"with:\n{home.read_log(_LOG_TAIL_BYTES)}",
                EXIT_PASSING,
            )
        problem = _started(start)
        if not problem:
            continue
        # another attach is starting one; or it is on its way out, or in trouble
        holder = _holder()
        if holder is not None and holder.ours:
            missing_s = 0.0 if missing_since is None else time.monotonic() - missing_since
            if missing_s > MISSING_S * (told + 1):
                os.kill(holder.pid, signal.SIGUSR1)
                told += 1
            stopped = procs.state(holder.pid) in ("T", "t")
            # Of one that only is slow nothing is known for sure: it gets as long again. Without a
            # socket it may be ending its trial.
            longest_missing_s = MISSING_S + answer_s if stopped else START_S
            hangs = silent > (0 if stopped else 1) or missing_s > longest_missing_s
            if hangs and replace:
                holder.end(f"did not answer within {answer_s:g} s")
                silent, told, missing_since = 0, 0, None
                continue
            if hangs:
                raise AgentError(holder.silent(), EXIT_PASSING)
        time.sleep(POLL_S)


def _connect_to_living() -> Optional[socket.socket]:
    """A connection to a daemon that runs, also to one whose socket was removed."""
    deadline = time.monotonic() + ANSWER_S
    told = False
    while True:
        try:
            connection = _connect(ANSWER_S)
        except socket.timeout:
            return None
        holder = None if connection is not None else _holder()
        if holder is None or not holder.ours or time.monotonic() > deadline:
            return connection
        time.sleep(MISSING_S if not told else POLL_S)
        if not told and not os.path.exists(home.SOCKET) and _holder() == holder:
            os.kill(holder.pid, signal.SIGUSR1)
        told = True


def _holder() -> Optional[_Holder]:
    """Find out who has the home's lock; None where nobody has it."""
    try:
        fd = os.open(home.LOCK, os.O_RDONLY)
    except OSError:
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return _read_holder(fd)
    finally:
        os.close(fd)
    return None


def _read_holder(fd: int) -> Optional[_Holder]:
    try:
        told = json.loads(os.read(fd, 4096))
        pid, host = int(told["pid"]), told["host"]
    except (LookupError, TypeError, ValueError):
        return None  # it has just taken the lock
    return _Holder(pid, host == socket.gethostname() and _is_daemon(pid))


def _is_daemon(pid: int) -> bool:
    """Whether it is a daemon of this user's: a home may be shared by machines and containers."""
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            words = file.read().split(b"\0")
        owner = os.stat(f"/proc/{pid}").st_uid
    except OSError:
        return False
    return owner == os.geteuid() and b"serve" in words and b"--home" in words


def _forced_shutdown(line: bytes) -> Optional[int]:
    """The request's number where it is a shutdown that is forced."""
    try:
        request = protocol.parse_request(protocol.decode(line.rstrip(b"\n")))
    except protocol.ProtocolError:
        return None
    body = request.body
    return request.id if isinstance(body, protocol.Shutdown) and body.force else None


def _end_for_good(holder: _Holder) -> None:
    """End a daemon that does not answer, and what its trials left, as the next one would.

    Raises AgentError where it is not ours to end.
    """
    from orchestrate_agent.daemon.daemon import take_lock  # noqa: PLC0415 (nothing else here needs the daemon)
    from orchestrate_agent.daemon.trial_queue import TrialQueue  # noqa: PLC0415 (as above)

    if not holder.ours:
        raise AgentError(f"{holder.silent()}; it is not a process of this user's on this machine")
    holder.end("did not answer")
    lock = take_lock(home.identity()[0])
    TrialQueue().load()
    os.close(lock)


def _connect(answer_s: float) -> Optional[socket.socket]:
    """A connection that a daemon has accepted, its first words unread; None where there is none.

    A daemon that is on its way out may still have us in its backlog: it counts once it speaks.
    Raises socket.timeout where one is there and says nothing for ``answer_s`` seconds.
    """
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.settimeout(answer_s)
        connection.connect(home.SOCKET)
        if connection.recv(1, socket.MSG_PEEK):
            connection.settimeout(None)
            return connection
    except socket.timeout:
        connection.close()
        raise
    except OSError:
        pass  # none there, or it ended just now
    connection.close()
    return None


def _started(start: _Start) -> str:
    """Start a daemon; returns what is in the way where another one has the lock.

    Raises AgentError where it cannot start.
    """
    argv = [sys.executable, "-I", start.archive, "serve", "--home", start.path]
    argv += ["--idle-s", repr(start.idle_s)]
    argv += [] if start.adb is None else ["--adb", start.adb]
    done = subprocess.run(
        argv,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        check=False,
    )
    message = done.stderr.decode("utf-8", "replace").strip()
    if done.returncode not in (0, EXIT_HELD):
        # one that a signal ended, as a node that goes down does to all, has no word of its own
        passing = done.returncode < 0 or done.returncode == EXIT_PASSING
        code = EXIT_PASSING if passing else EXIT_FAILED
        raise AgentError(f"the agent does not start: {message}", code)
    return message if done.returncode == EXIT_HELD else ""


def _send_stdin(connection: socket.socket) -> None:
    try:
        while True:
            data = os.read(0, COPY_BYTES)
            if not data:
                break
            connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
    except OSError:
        return  # the daemon is gone; the other direction sees it and ends us


def _copy_answers(connection: socket.socket, wire: int) -> None:
    while True:
        try:
            data = connection.recv(COPY_BYTES)
        except ConnectionError:
            return
        if not data:
            return
        view = memoryview(data)
        while view:
            try:
                view = view[os.write(wire, view) :]
            except BrokenPipeError:
                return  # nobody listens any more; every event is in the spool
