"""Trials that cost no CPU and look real: what several benchmarks run instead of a model."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from orchestrator.fleet.agent_archive import build_agent_archive


def interpreter(folder: Path, models: Mapping[str, Path], seconds: float) -> Path:
    """An interpreter whose ``litert`` child sleeps until it is ``seconds`` old, then says what the
    real one said once for that model. ``models`` are files by SHA-256."""
    archive = folder / "agent.pyz"
    archive.write_bytes(build_agent_archive().data)
    cases = []
    for sha256, path in models.items():
        said = folder / f"{sha256}.out"
        options = "--threads 1 --warmup-runs 5 --warmup-seconds 0 --steady-runs 5 "
        options += "--steady-seconds 0 --max-seconds 60 --delegate xnnpack --runtime any --batch 1"
        argv = [sys.executable, str(archive), "litert", "--model", str(path), *options.split()]
        said.write_bytes(subprocess.run(argv, check=True, capture_output=True).stdout)
        # 5 ms are what the shell and `sleep` need to start
        cases.append(f"  *litert*{sha256}*) sleep {seconds - 0.005}; exec cat {said} ;;")
    script = folder / "python"
    lines = ["#!/bin/sh", 'case "$*" in', *cases, "esac", f'exec {sys.executable} "$@"']
    script.write_text("\n".join(lines) + "\n")
    script.chmod(0o755)
    return script


def inventory(folder: Path, devices: Sequence[Mapping[str, object]]) -> Path:
    """An inventory of these devices."""
    path = folder / "inventory.yaml"
    path.write_text(json.dumps({"devices": devices}))
    return path


def stop_agents(inventory: Path) -> None:
    """End every agent that a benchmark has started."""
    stop = [sys.executable, "-m", "orchestrator", "agents", "stop", "--force"]
    command = [*stop, "--inventory", str(inventory)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
