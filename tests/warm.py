"""The command in processes that need not import it first.

A controller's imports take longer than most commands of a test. So one process per worker of the
tests imports them once and forks for each command: a process of its own, with its own folder,
environment, output and exit code, which ends as Python ends. What a cold start does is tested where
the interpreter itself is started (``Lab.start``, ``test_cli``).
"""

from __future__ import annotations

import atexit
import contextlib
import importlib
import json
import os
import pkgutil
import random
import runpy
import select
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def run_warm(
    argv: Sequence[str], *, cwd: Path, env: Mapping[str, str], timeout: float
) -> subprocess.CompletedProcess[str]:
    """As ``subprocess.run`` of ``python -m orchestrator`` with captured output.

    Raises subprocess.TimeoutExpired.
    """
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(_server())
            connection.settimeout(timeout)
            request = {"argv": list(argv), "cwd": str(cwd), "env": dict(env)}
            data = json.dumps(request).encode()
            fds = [out.fileno(), err.fileno()]
            socket.send_fds(connection, [len(data).to_bytes(4, "big")], fds)
            connection.sendall(data)
            answers = connection.makefile("r")
            pid = int(answers.readline())
            try:
                code = int(answers.readline())
            except TimeoutError:
                os.kill(pid, signal.SIGKILL)
                raise subprocess.TimeoutExpired(argv, timeout) from None
        out.seek(0)
        err.seek(0)
        return subprocess.CompletedProcess(argv, code, out.read().decode(), err.read().decode())


@cache
def _server() -> str:
    """Start the process that forks, once; it ends with this one. The socket's address."""
    folder = Path(tempfile.mkdtemp(prefix="warm-"))
    address = folder / "socket"
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.warm", address],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)},
    )
    assert process.stdout is not None and process.stdout.readline() == b"ready\n"

    def end() -> None:
        process.kill()
        process.wait()
        with contextlib.suppress(OSError):
            address.unlink()
            folder.rmdir()

    atexit.register(end)
    return str(address)


# -- the process that forks


def _import_all() -> None:
    """Every command's code, but not what a command loads only when it needs it."""
    for package in ("orchestrator.commands", "orchestrator.answers"):
        for module in pkgutil.iter_modules(importlib.import_module(package).__path__):
            importlib.import_module(f"{package}.{module.name}")
    importlib.import_module("orchestrator.cli")


def _serve(address: str) -> list[str]:
    """Fork for each connection; returns in the command's own process, with its arguments."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(address)
    listener.listen()
    print("ready", flush=True)
    while True:
        # the other end of stdin is held by the tests' process: it ends with that
        ready, _, _ = select.select([listener.fileno(), 0], [], [])
        if 0 in ready:
            os._exit(0)
        connection, _ = listener.accept()
        if os.fork() == 0:
            listener.close()
            argv = _accompanied(connection)
            if argv is not None:
                return argv
            os._exit(0)
        connection.close()
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass


def _accompanied(connection: socket.socket) -> list[str] | None:
    """Fork the command and tell how it ended; in the command's process its arguments."""
    head, fds, _, _ = socket.recv_fds(connection, 4, 2)
    size = int.from_bytes(head, "big")
    data = b""
    while len(data) < size:
        data += connection.recv(size - len(data))
    request = json.loads(data)
    pid = os.fork()
    if pid == 0:
        connection.close()
        null = os.open(os.devnull, os.O_RDONLY)
        for number, fd in enumerate((null, *fds)):
            os.dup2(fd, number)
            os.close(fd)
        os.environ.clear()
        os.environ.update(request["env"])
        os.chdir(request["cwd"])
        random.seed()
        for folder in os.environ.get("PYTHONPATH", "").split(":"):
            # what a cold start would have read from there
            if (Path(folder) / "sitecustomize.py").exists():
                runpy.run_path(str(Path(folder) / "sitecustomize.py"))
        argv: list[str] = request["argv"]
        return argv
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        connection.sendall(f"{pid}\n".encode())
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        connection.sendall(f"{status}\n".encode())
    return None


if __name__ == "__main__":
    _import_all()
    arguments = _serve(sys.argv[1])
    sys.argv = ["orchestrate", *arguments]
    sys.exit(importlib.import_module("orchestrator.cli").main(arguments))
