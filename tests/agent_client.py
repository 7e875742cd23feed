"""Speaks the wire to a real agent: the zipapp, started as a controller would start it."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import queue
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from orchestrate_agent import protocol
from orchestrate_agent.protocol import Event, ProtocolError, Reply

DEADLINE_S = 15.0


def wait_until(condition: Callable[[], bool], what: str, deadline_s: float = DEADLINE_S) -> None:
    """Poll until ``condition`` holds; fail naming ``what`` was waited for."""
    end = time.monotonic() + deadline_s
    while not condition():
        if time.monotonic() > end:
            raise AssertionError(f"waited {deadline_s:g} s in vain for {what}")
        time.sleep(0.01)


def other_pythons(version: str) -> list[str]:
    """The Pythons of that version on this machine: on PATH, or pyenv's."""
    root = Path(os.environ.get("PYENV_ROOT", "~/.pyenv")).expanduser()
    found = [str(path) for path in root.glob(f"versions/{version}.*/bin/python")]
    on_path = shutil.which(f"python{version}")
    candidates = found if on_path is None else [on_path, *found]
    return [python for python in candidates if _runs(python)]


def _runs(python: str) -> bool:  # what pyenv puts on PATH may refuse to
    return subprocess.run([python, "-c", ""], check=False, capture_output=True).returncode == 0


class AgentSite:
    """A home on this machine, the agent's file, and the Python that runs it."""

    def __init__(self, root: Path, archive: bytes, python: str = sys.executable) -> None:
        self.home = root / "home"
        self.python = python
        self.pyz = root / "agent.pyz"
        self.pyz.write_bytes(archive)
        self._clients: list[AgentClient] = []

    @property
    def compiled(self) -> Path:
        """The copy of the agent's file that trials run from."""
        (found,) = self.home.glob("agents/agent.*.pyz")
        return found

    def argv(self, command: str, *more: str) -> list[str]:
        return [self.python, "-I", str(self.pyz), command, "--home", str(self.home), *more]

    def run(
        self, command: str, *more: str, stdin: bytes = b""
    ) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            self.argv(command, *more), input=stdin, capture_output=True, timeout=60, check=False
        )

    def put(self, data: bytes) -> str:
        """Store a blob; returns its SHA-256."""
        sha256 = hashlib.sha256(data).hexdigest()
        done = self.run("put", f"{sha256}:{len(data)}", stdin=data)
        assert done.returncode == 0, done.stderr.decode()
        return sha256

    def attach(self, *more: str, idle_s: float = 60.0) -> AgentClient:
        client = AgentClient([*self.argv("attach"), "--idle-s", str(idle_s), *more])
        self._clients.append(client)
        return client

    def connect(self) -> socket.socket:
        """The daemon's socket itself, past the relay; by a short name, as those are limited."""
        link = Path(tempfile.mkdtemp()) / "s"
        link.symlink_to(self.home / "agent.sock")
        sock = socket.socket(socket.AF_UNIX)
        sock.connect(str(link))
        shutil.rmtree(link.parent)
        return sock

    def daemon_pid(self) -> int:
        pid: int = json.loads((self.home / "agent.lock").read_text())["pid"]
        return pid

    def daemon_is_alive(self) -> bool:
        try:
            return is_alive(self.daemon_pid())
        except (FileNotFoundError, ValueError):
            return False

    def kill_daemon(self) -> None:
        """As if the node's memory had run out: no word, no cleaning up."""
        pid = self.daemon_pid()
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: not is_alive(pid), "the daemon's end")

    def log(self) -> str:
        return (self.home / "agent.log").read_text()

    def close(self) -> None:
        for client in self._clients:
            client.drop()
        if self.daemon_is_alive():
            pid = self.daemon_pid()
            os.kill(pid, signal.SIGTERM)
            wait_until(lambda: not is_alive(pid), "the daemon's end")


class AgentClient:
    """One attached connection. Events are collected in ``events`` as they come."""

    def __init__(self, argv: list[str]) -> None:
        self.events: list[Event] = []
        self._replies: queue.Queue[Reply | None] = queue.Queue()
        self._number = 0
        self.process = subprocess.Popen(
            argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        assert self.process.stdout is not None
        first = self.process.stdout.readline()
        if first != protocol.READY.encode() + b"\n":
            self.process.wait(DEADLINE_S)
            assert self.process.stderr is not None
            raise AssertionError(f"no READY but {first!r}: {self.process.stderr.read().decode()}")
        threading.Thread(target=self._read, daemon=True).start()

    def ask(self, op: str, **arguments: Any) -> dict[str, Any]:
        """The result of a request. Raises ProtocolError as the agent sent it."""
        self._number += 1
        return self.send({"id": self._number, "op": op, **arguments})

    def send(self, message: dict[str, Any]) -> dict[str, Any]:
        return self.send_raw(json.dumps(message).encode() + b"\n")

    def send_raw(self, line: bytes) -> dict[str, Any]:
        reply = self.exchange(line)
        if reply is None:
            raise EOFError("the agent closed the connection")
        if reply.error is not None:
            raise reply.error
        return dict(reply.result)

    def exchange(self, line: bytes) -> Reply | None:
        """The next reply after sending ``line``; None when the connection was closed instead."""
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.write(line)
            self.process.stdin.flush()
        return self._replies.get(timeout=DEADLINE_S)

    def submit(self, run_id: str, *trials: dict[str, Any]) -> dict[str, Any]:
        return self.ask("submit", run_id=run_id, device="here", trials=list(trials))

    def follow(self, run_id: str, from_seq: int = 1) -> dict[str, Any]:
        return self.ask("events", run_id=run_id, device="here", from_seq=from_seq)

    def wait_for(self, event: str, trial_id: str, deadline_s: float = DEADLINE_S) -> Event:
        """The first event of that kind of that trial."""
        wait_until(
            lambda: any(e.event == event and e.trial_id == trial_id for e in self.events),
            f"{event} of {trial_id}; came: {[(e.seq, e.event, e.trial_id) for e in self.events]}",
            deadline_s,
        )
        return next(e for e in self.events if e.event == event and e.trial_id == trial_id)

    def run_trial(self, trial: dict[str, Any], run_id: str = "run") -> dict[str, Any]:
        """Submit, follow, and return the fields of ``finished``."""
        self.submit(run_id, trial)
        with contextlib.suppress(ProtocolError):  # followed already
            self.follow(run_id)
        return dict(self.wait_for("finished", trial["trial_id"]).fields)

    def farewell(self) -> ProtocolError:
        """What the agent says, unasked, when it cannot go on."""
        reply = self._replies.get(timeout=DEADLINE_S)
        assert reply is not None and reply.id is None and reply.error is not None
        return reply.error

    def drop(self) -> None:
        """The connection is gone, as when the controller dies."""
        self.process.kill()
        self.process.wait()

    def close(self) -> int:
        """End it as a controller does: by closing stdin. Returns the relay's exit code."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        return self.process.wait(DEADLINE_S)

    def _read(self) -> None:
        for line in self._lines():
            if not line.endswith(b"\n"):
                break  # the relay was killed in the middle of it
            answer = protocol.parse_answer(protocol.decode(line))
            if isinstance(answer, Event):
                self.events.append(answer)
            else:
                self._replies.put(answer)
        self._replies.put(None)

    def _lines(self) -> Iterator[bytes]:
        assert self.process.stdout is not None
        with contextlib.suppress(ValueError):  # closed under us at the test's end
            yield from self.process.stdout


def trial(trial_id: str, *argv: str, **more: Any) -> dict[str, Any]:
    """A trial request. Not exclusive: tests must not wait for other users of this machine."""
    return {
        "trial_id": trial_id,
        "argv": list(argv),
        "env": {},
        "timeout_s": 30,
        "blobs": [],
        "cpus": None,
        "exclusive": False,
        **more,
    }


def shell(trial_id: str, script: str, **more: Any) -> dict[str, Any]:
    return trial(trial_id, "/bin/sh", "-c", script, **more)


def is_alive(pid: int) -> bool:
    """Whether ``pid`` runs (a zombie does not)."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return text.rpartition(")")[2].split()[0] not in "ZX"
