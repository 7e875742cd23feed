"""What the tests of the runners share: a trial, its settings, and evidence from recorded logs."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from orchestrator.frameworks.runner import Command, Evidence, Files
from orchestrator.trial import Factors, PhaseSettings, RunSettings, Trial, TrialKind, Variant

ROOT = Path(__file__).parent.parent
LOGS = Path(__file__).parent / "data" / "benchmark_model"

MODEL_SHA, BINARY_SHA = "a" * 64, "b" * 64
FP32_SIZE = 16_862_748  # prints as 16.8627

SETTINGS = RunSettings(PhaseSettings(5, 0.5), PhaseSettings(30, 1.0), timeout_s=300.0)
SHORT = RunSettings(PhaseSettings(5, 0.0), PhaseSettings(12, 0.0), timeout_s=60.0)


def a_trial(
    *,
    kind: TrialKind = TrialKind.TIMING,
    runner: str = "benchmark_model",
    runtime: str = "",
    delegate: str = "xnnpack",
    threads: int = 1,
    batch: int = 1,
    isa: str = "native",
    engine: str = "default",
    processor: str = "cpu",
    input_size: int = 0,
    prompt: int = 0,
    generate: int = 0,
) -> Trial:
    factors = Factors(
        runner, runtime, delegate, threads, batch, isa, engine, processor, input_size,
        prompt=prompt, generate=generate,
    )  # fmt: skip
    return Trial("t-0001", "here", kind, Variant("mobilenet_v1", "float32"), factors, block=0)


def files(
    *,
    size: int = FP32_SIZE,
    python: str = "python3",
    binary: str | None = BINARY_SHA,
) -> Files:
    return Files(MODEL_SHA, size, python, binary)


def evidence(
    stdout: str = "",
    stderr: str = "",
    *,
    exit_code: int | None = 0,
    signal_number: int | None = None,
    timed_out: bool = False,
    oom_killed: bool = False,
    oom_memory: str | None = None,
    stdout_bytes: int | None = None,
) -> Evidence:
    return Evidence(
        exit_code=None if signal_number is not None else exit_code,
        signal=signal_number,
        timed_out=timed_out,
        oom_killed=oom_killed,
        wall_s=1.0,
        stdout=stdout,
        stderr=stderr,
        stdout_bytes=len(stdout.encode()) if stdout_bytes is None else stdout_bytes,
        stderr_bytes=len(stderr.encode()),
        oom_memory=oom_memory,
    )


def log_text(case: str) -> tuple[str, str]:
    """(stdout, stderr) of ``recorded/NAME`` or ``composed/NAME``."""
    path = LOGS / case
    return path.with_suffix(".out").read_text(), path.with_suffix(".err").read_text()


def recorded(case: str) -> Evidence:
    """The evidence that the agent would have reported of this case."""
    status = int((LOGS / case).with_suffix(".rc").read_text())
    killed_by = status - 128 if status > 128 else None
    return evidence(*log_text(case), exit_code=status, signal_number=killed_by)


def expectations() -> dict[str, dict[str, Any]]:
    """What each log holds, by ``recorded/NAME`` or ``composed/NAME``, in the units printed."""
    return {
        f"{folder}/{name}": expected
        for folder in ("recorded", "composed")
        for name, expected in json.loads((LOGS / f"{folder}.json").read_text()).items()
    }


def run_command(
    command: Command, replacements: Mapping[str, str], *, timeout_s: float = 60.0
) -> Evidence:
    """Run a command as the agent does, its placeholders replaced, and report what it did."""
    argv = list(command.argv)
    for placeholder, value in replacements.items():
        argv = [word.replace(placeholder, value) for word in argv]
    return run_argv(argv, timeout_s=timeout_s)


def run_argv(argv: Sequence[str], *, timeout_s: float = 60.0) -> Evidence:
    start = time.monotonic()
    timed_out = False
    # a child may run under a Python that has no installation of ours; a test's own path stays first
    path = [os.environ.get("PYTHONPATH", ""), str(ROOT / "agents")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, path))}
    with subprocess.Popen(
        argv, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        try:
            out, err = process.communicate(timeout=timeout_s)
        except subprocess.TimeoutExpired:
            timed_out = True
            process.send_signal(signal.SIGKILL)
            out, err = process.communicate()
    status = process.returncode
    return Evidence(
        exit_code=status if status >= 0 else None,
        signal=-status if status < 0 else None,
        timed_out=timed_out,
        oom_killed=False,
        wall_s=time.monotonic() - start,
        stdout=out.decode("utf-8", "replace"),
        stderr=err.decode("utf-8", "replace"),
        stdout_bytes=len(out),
        stderr_bytes=len(err),
    )
