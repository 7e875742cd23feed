"""The daemon's life: detach, lock, listen, stop when told to or when idle for long."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import select
import signal
import socket
import sys
import threading
import time
import traceback
from dataclasses import dataclass
from typing import Any, Dict, NoReturn, Optional, Set

from orchestrate_agent import home
from orchestrate_agent.android.node import AdbNode
from orchestrate_agent.daemon.service import Connection, Context
from orchestrate_agent.daemon.spool import SpoolError, require_room
from orchestrate_agent.daemon.trial_queue import TrialQueue
from orchestrate_agent.daemon.worker import Worker
from orchestrate_agent.errors import EXIT_FAILED, EXIT_HELD, EXIT_PASSING, SHORTAGE, AgentError
from orchestrate_agent.files.sites import SiteStore
from orchestrate_agent.machine.tuning import Tuner
from orchestrate_agent.node import Node, ThisNode
from orchestrate_agent.process import procs
from orchestrate_agent.sysfs import Tree

#: How long a daemon that was told to stop may take to end its trial and write that down.
STOP_S = 30.0
#: A controller has one a device and run; each costs a thread or two.
MAX_CONNECTIONS = 64
_LOG_TAIL_BYTES = 4096
#: Has a daemon whose socket was removed make another.
LISTEN_AGAIN = signal.SIGUSR1


def serve(home_path: str, idle_s: float, root: str = "/", adb: Optional[str] = None) -> int:
    """Start the daemon of this home in the background; returns when it listens.

    ``root`` is where the files are by which Linux describes the machine; ``adb`` the serial of the
    Android device to run trials on.
    Raises AgentError: exit code 3 where there is one already.
    """
    procs.require_own_proc()
    agent_hash, archive = home.identity()
    path = home.enter(home_path)
    report_r, report_w = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(report_r)
        _detached(StartOptions(path, agent_hash, archive, idle_s, root, adb), report_w)
    os.close(report_w)
    with os.fdopen(report_r, "rb") as pipe:
        report = pipe.read()
    os.waitpid(child, 0)
    if not report:
        raise AgentError(
            f"the agent died while it started; {home.LOG} ends with:\n"
            f"{home.read_log(_LOG_TAIL_BYTES)}",
            EXIT_PASSING,
        )
    told: Dict[str, Any] = json.loads(report)
    if told["exit_code"] != 0:
        raise AgentError(told["message"], told["exit_code"])
    return 0


@dataclass(frozen=True)
class StartOptions:
    """What a daemon is started with: its home, which agent it is, and where trials run."""

    path: str
    agent_hash: str
    archive: str
    idle_s: float
    root: str
    adb: Optional[str]


def _detached(site: StartOptions, report: int) -> NoReturn:
    """Leave the session for good and become the daemon, in the forked child. Never returns."""
    code = EXIT_FAILED
    try:
        os.setsid()
        if os.fork() != 0:
            os._exit(0)
        null = os.open(os.devnull, os.O_RDONLY)
        os.dup2(null, 0)
        os.close(null)
        home.open_log()
        sys.stdout = sys.stderr = open(2, "w", buffering=1, closefd=False)  # noqa: SIM115
        code = _run(site, report)
    except BaseException:  # noqa: BLE001 (a forked child must not return into its parent's code)
        home.log(f"the agent died: {traceback.format_exc()}")
    finally:
        os._exit(code)


def _run(site: StartOptions, report: int) -> int:
    # until there is a socket nobody can miss it; by itself the signal would end us
    signal.signal(LISTEN_AGAIN, signal.SIG_IGN)
    try:
        lock = take_lock(site.agent_hash)
        daemon = Daemon(site)
    except (AgentError, SpoolError, OSError) as exc:
        home.log(f"cannot start: {exc}")
        _report(report, _exit_code(exc), str(exc))
        return EXIT_FAILED
    home.log(f"agent {site.agent_hash[:12]} listens in {site.path}")
    _report(report, 0, "")
    code = daemon.run()
    os.close(lock)
    return code


def _exit_code(exc: Exception) -> int:
    if isinstance(exc, AgentError):
        return exc.exit_code
    short = isinstance(exc, OSError) and exc.errno in SHORTAGE
    return EXIT_PASSING if short or isinstance(exc, SpoolError) else EXIT_FAILED


def _report(pipe: int, exit_code: int, message: str) -> None:
    with os.fdopen(pipe, "wb") as file, contextlib.suppress(BrokenPipeError):
        file.write(json.dumps({"exit_code": exit_code, "message": message}).encode())


def take_lock(agent_hash: str) -> int:
    """The lock of this home, held as long as the descriptor is open. Raises AgentError."""
    fd = os.open(home.LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as exc:
        holder = os.read(fd, 4096).decode("utf-8", "replace").strip()
        os.close(fd)
        raise AgentError(
            f"an agent runs already, it holds {home.absolute(home.LOCK)}: {holder} "
            f"(one a home; machines that share a home folder need a --home each)",
            EXIT_HELD,
        ) from exc
    holder = json.dumps(
        {
            "pid": os.getpid(),
            "agent_hash": agent_hash,
            "started": home.now(),
            "host": socket.gethostname(),
        }
    )
    os.ftruncate(fd, 0)
    os.pwrite(fd, holder.encode() + b"\n", 0)
    return fd


class Daemon:
    """Holds everything that lives as long as the process.

    Raises SpoolError, OSError, and AgentError where a device does not answer.
    """

    def __init__(self, site: StartOptions) -> None:
        require_room()
        self._idle_s = site.idle_s
        self._stopping = False
        self._why = ""
        self._listens_again = False
        self._exit_code = 0
        self._wake_r, self._wake_w = os.pipe()
        os.set_blocking(self._wake_r, False)
        os.set_blocking(self._wake_w, False)
        self._connections: Set[Connection] = set()
        self._queue = TrialQueue(on_idle=self._wake)
        self._queue.load()
        # after the trial of a daemon that was killed is dead, before another begins
        self._tuner = Tuner(Tree(site.root))
        self._tuner.restore()
        sites = SiteStore(site.path)
        node = _node(site, sites)
        self._context = Context(self._queue, node, site.agent_hash, home.now(), self.stop)
        worker = Worker(self._queue, sites, site.archive, self._fatal, node)
        self._worker = threading.Thread(target=worker.run, daemon=True)
        self._listener = _listen()

    def run(self) -> int:
        """Serve until told to stop, or idle for long; returns the exit code."""
        signal.set_wakeup_fd(self._wake_w, warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self._on_signal)
        signal.signal(LISTEN_AGAIN, self._on_missed)
        self._worker.start()
        why = self._serve()
        home.log(f"agent stops: {why}")
        self._shut_down()
        return self._exit_code

    def stop(self) -> None:
        """Have :meth:`run` return. From any thread, and from a signal handler: takes no lock."""
        self._stopping = True
        self._wake()

    def _on_signal(self, *_: object) -> None:
        self.stop()

    def _on_missed(self, *_: object) -> None:
        self._listens_again = True
        self._wake()

    def _fatal(self, message: str) -> None:
        home.log(f"the agent cannot go on: {message}")
        self._why = message
        self._exit_code = EXIT_FAILED
        self.stop()

    def _wake(self) -> None:
        with contextlib.suppress(BlockingIOError):  # full: it wakes up anyway
            os.write(self._wake_w, b"\0")

    def _serve(self) -> str:
        """Accept connections; the main thread sleeps in poll for as long as nothing happens."""
        poller = select.poll()
        poller.register(self._listener, select.POLLIN)
        poller.register(self._wake_r, select.POLLIN)
        idle_from: Optional[float] = None
        while not self._stopping:
            idle_from = self._idle_from(idle_from)
            left_s = None if idle_from is None else idle_from + self._idle_s - time.monotonic()
            if left_s is not None and left_s <= 0:
                return f"idle for {self._idle_s:g} s"
            if self._listens_again:
                poller.unregister(self._listener)
                self._listen_again()
                poller.register(self._listener, select.POLLIN)
            ready = poller.poll(None if left_s is None else int(left_s * 1000) + 1)
            for fd, _ in ready:
                if fd == self._wake_r:
                    self._drain()
                else:
                    self._accept()
        return "told to"

    def _listen_again(self) -> None:
        """Make a new socket: somebody knows from our lock that we live, and finds none."""
        self._listens_again = False
        try:
            listener = _listen()
        except OSError as exc:
            home.log(f"cannot listen again: {exc}")
            return
        self._listener.close()
        self._listener = listener
        home.log("the socket was missing; the agent listens again")

    def _idle_from(self, before: Optional[float]) -> Optional[float]:
        if self._connections or self._queue.busy():
            return None
        return time.monotonic() if before is None else before

    def _drain(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while os.read(self._wake_r, 4096):
                pass

    def _accept(self) -> None:
        try:
            sock, _ = self._listener.accept()
        except OSError as exc:  # gone before we came, or out of descriptors
            home.log(f"accept: {exc}")
            return
        if len(self._connections) >= MAX_CONNECTIONS:
            home.log(f"more than {MAX_CONNECTIONS} connections; one was turned away")
            sock.close()
            return
        sock.setblocking(True)
        connection = Connection(sock, self._context)
        self._connections.add(connection)
        threading.Thread(target=self._converse, args=(connection, sock), daemon=True).start()

    def _converse(self, connection: Connection, sock: socket.socket) -> None:
        try:
            connection.serve()
        finally:
            sock.close()
            self._connections.discard(connection)
            self._wake()

    def _shut_down(self) -> None:
        # From here on nobody reaches us; whoever is in the backlog sees the end, and starts anew.
        with contextlib.suppress(OSError):  # the home may be gone
            os.unlink(home.SOCKET)
        if self._why:
            for connection in list(self._connections):
                connection.say_why(f"the agent cannot go on: {self._why}")
        self._listener.close()
        self._queue.stop()
        self._worker.join(STOP_S)
        self._tuner.restore()  # the worker has, unless it hangs
        for connection in list(self._connections):
            connection.close()


def _node(site: StartOptions, sites: SiteStore) -> Node:
    """Make the node that trials run on. Raises AgentError."""
    if site.adb is None:
        return ThisNode(sites.blobs, site.root)
    return AdbNode(site.adb, site.archive)


def _listen() -> socket.socket:
    """The socket of this home. We hold the lock: one that is there already is a dead daemon's."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(home.SOCKET)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(home.SOCKET)  # relative: a home's path may be longer than a socket's may
    listener.listen(64)
    listener.setblocking(False)
    return listener
