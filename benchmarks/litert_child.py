"""The litert runner's child, as benchmarks start it without an agent."""

from __future__ import annotations

import json
import statistics
import sys
from pathlib import Path

from orchestrator.frameworks.reading.child_output import RESULT

_STEADY = "--threads 1 --warmup-runs 20 --warmup-seconds 0 --steady-runs 200 --steady-seconds 0 "
_STEADY += "--max-seconds 60 --delegate xnnpack"


def command(archive: Path, model: Path) -> list[str]:
    """What runs ``model`` out of the agent's ``archive``: on one thread, a few seconds at most."""
    return [sys.executable, str(archive), "litert", "--model", str(model), *_STEADY.split()]


def steady_median(stdout: str) -> float:
    """Of the inferences of the steady phase, in microseconds."""
    (line,) = (line for line in stdout.splitlines() if line.startswith(RESULT))
    return float(statistics.median(json.loads(line.removeprefix(RESULT))["steady_us"]))
