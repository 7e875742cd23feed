"""Starts the build child, follows it, and says what went wrong when it ends badly.

The framework that builds lives and dies in the child, with its memory, its threads and its talk.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import orchestrator
from orchestrator.artifacts.files import make_folder, translated
from orchestrator.errors import ModelBuildError
from orchestrator.frameworks import registry
from orchestrator.frameworks.building import BuildRequest

_COMMAND = (sys.executable, "-m", "orchestrator.zoo.build")
_TAIL_LINES = 12


def run_build(
    request: BuildRequest,
    on_message: Callable[[Mapping[str, str]], None],
    command: Sequence[str] = _COMMAND,
    on_start: Callable[[subprocess.Popen[bytes]], None] = lambda _: None,
) -> None:
    """Build in a child and return when it is done; it is gone when this returns or raises.

    ``on_message`` gets every ``step`` and ``stored`` line, ``on_start`` the process, which another
    thread may kill. Raises ModelBuildError.
    """
    logs = request.models_dir / "build-logs"
    make_folder(logs)
    # one model's name may stand in several catalogues
    marked = request.framework != registry.default().name
    log = logs / f"{request.model}{f'-{request.framework}' * marked}.log"
    with translated(log):
        stderr = log.open("wb")
    with stderr:
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            env=_environment(),
            # ``-m`` looks for modules in the working folder first: one of ours, with no modules.
            cwd=logs,
            # An interrupt from the terminal is the parent's to handle: it ends the child.
            start_new_session=True,
        )
        try:
            on_start(process)
            error = _follow(process, request, on_message)
        finally:
            _end(process)
    if process.returncode != 0:
        raise ModelBuildError(f"{request.model}: {error or _death(process.returncode, log)}")


def _environment() -> dict[str, str]:
    """The child finds this package wherever it is, and its framework leaves a GPU alone."""
    package_parent = str(Path(orchestrator.__file__).resolve().parent.parent)
    paths = [package_parent, *filter(None, [os.environ.get("PYTHONPATH")])]
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(paths),
        "CUDA_VISIBLE_DEVICES": "-1",
        "KERAS_BACKEND": "tensorflow",
        "TF_CPP_MIN_LOG_LEVEL": "1",
    }


def _follow(
    process: subprocess.Popen[bytes],
    request: BuildRequest,
    on_message: Callable[[Mapping[str, str]], None],
) -> str | None:
    """Read the child's lines to the end. The error it reported, if any."""
    if process.stdin is None or process.stdout is None:
        raise AssertionError("both are pipes")
    error = None
    # A child that died already is told by its exit status, not by the broken pipe.
    with contextlib.suppress(BrokenPipeError):
        process.stdin.write(json.dumps(request.to_json()).encode() + b"\n")
        process.stdin.flush()
    for line in process.stdout:
        message = _message(line)
        if "error" in message:
            error = message["error"]
        elif message:
            on_message(message)
    process.wait()
    return error


def _message(line: bytes) -> dict[str, str]:
    """One of ours; empty for what an interpreter's start-up files may have printed before us."""
    try:
        message = json.loads(line)
    except ValueError:
        return {}
    return {str(k): str(v) for k, v in message.items()} if isinstance(message, dict) else {}


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with contextlib.suppress(BrokenPipeError):
                pipe.close()


def _death(code: int, log: Path) -> str:
    lines = log.read_text("utf-8", "replace").splitlines()
    tail = "\n".join(f"    {line}" for line in lines[-_TAIL_LINES:])
    return f"the build {_cause(code)}; the log {log} ends with\n{tail}"


def _cause(code: int) -> str:
    if code >= 0:
        return f"ended with exit code {code}"
    name = signal.Signals(-code).name
    if -code == signal.SIGKILL:
        return f"was killed by {name}, which is what Linux does when memory runs out"
    return f"was killed by {name}"
