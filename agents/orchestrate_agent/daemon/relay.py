"""``attach``: carries bytes between stdio and the daemon's socket, having started the daemon.

``ask``: one request to a daemon that runs already.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from typing import Optional

from orchestrate_agent import home
from orchestrate_agent.errors import EXIT_FAILED, EXIT_HELD, EXIT_PASSING, AgentError

#: How long a daemon may take to come up: a slow disk, and leftovers to be killed first.
START_S = 30.0
POLL_S = 0.2
#: How long one that accepted us may take to say so.
ANSWER_S = 10.0
COPY_BYTES = 64 * 1024
_LOG_TAIL_BYTES = 4096


def attach(home_path: str, idle_s: float, adb: Optional[str] = None) -> int:
    """Relay until either side closes. Raises AgentError where no daemon answers.

    ``adb`` is the serial of the Android device that the daemon speaks for.
    """
    wire = _keep_stdout()
    _, archive = home.identity()
    path = home.enter(home_path)
    connection = _connect_or_start(path, archive, idle_s, adb)
    threading.Thread(target=_send_stdin, args=(connection,), daemon=True).start()
    _copy_answers(connection, wire)
    return 0


def ask(home_path: str) -> int:
    """Pass the one request on stdin to the daemon and print its reply; ``null`` if none runs."""
    wire = _keep_stdout()
    home.enter(home_path)
    connection = _connect()
    if connection is None:
        os.write(wire, b"null\n")
        return 0
    connection.settimeout(ANSWER_S)
    connection.sendall(sys.stdin.buffer.readline())
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


def _connect_or_start(path: str, archive: str, idle_s: float, adb: Optional[str]) -> socket.socket:
    deadline = time.monotonic() + START_S
    problem = ""
    while True:
        connection = _connect()
        if connection is not None:
            return connection
        if time.monotonic() > deadline:
            raise AgentError(
                f"no agent answers in {path} after {START_S:g} s. {problem}\n{home.LOG} ends "
                f"with:\n{home.read_log(_LOG_TAIL_BYTES)}",
                EXIT_PASSING,
            )
        problem = _start(path, archive, idle_s, adb)
        if problem:
            time.sleep(POLL_S)  # another attach is starting one, or one is on its way out


def _connect() -> Optional[socket.socket]:
    """A connection that a daemon has accepted, its first words unread; None where there is none.

    A daemon that is on its way out may still have us in its backlog: it counts once it speaks.
    """
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.settimeout(ANSWER_S)
        connection.connect(home.SOCKET)
        if connection.recv(1, socket.MSG_PEEK):
            connection.settimeout(None)
            return connection
    except OSError:
        pass  # none there, or it ended just now
    connection.close()
    return None


def _start(path: str, archive: str, idle_s: float, adb: Optional[str]) -> str:
    """Start a daemon; returns what is in the way where another one has the lock.

    Raises AgentError where it cannot start.
    """
    argv = [sys.executable, "-I", archive, "serve", "--home", path, "--idle-s", repr(idle_s)]
    argv += [] if adb is None else ["--adb", adb]
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
