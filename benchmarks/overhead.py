"""What orchestration costs: trials of one second, wall time against the sum of the trials.

``python -m benchmarks.overhead [DEVICES] [MODELS]`` runs the real command on DEVICES (default 1)
agents of this machine at once, with models from the folder MODELS (default ``models``). Each trial
is a process that sleeps until it is one second old and prints what the real measuring child printed
once for that file, so that reading, journal, schedule and analysis do their full work while the
trial itself costs no CPU. Prints, per device, the ratio of the time from its first trial's start to
its last one's end to the sum of its trials; 1 is ideal. The gate is open: waiting for other
work to end is the device's matter, and costs some 10 ms on an idle one.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from datetime import datetime
from pathlib import Path

from orchestrator.fleet.agent_archive import build_agent_archive
from orchestrator.plan import Variant
from orchestrator.zoo import ModelArtifact, ensure_artifacts

SCHEMES = ("float32", "full_int8")
SUITE = """\
models: [mobilenet_v1]
schemes: [float32, full_int8]
protocol:
  {blocks: 12, precision: 0.0001, warmup: {runs: 5, seconds: 0}, steady: {runs: 5, seconds: 0},
   gate: {load: 1}}
"""


def main(devices: int, models: Path) -> None:
    """Measure and print."""
    artifacts = ensure_artifacts([Variant("mobilenet_v1", s) for s in SCHEMES], models)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        python = _one_second_python(folder, list(artifacts.values()))
        inventory = _inventory(folder, devices, python)
        suite = folder / "seconds.yaml"
        suite.write_text(SUITE)
        command = [sys.executable, "-m", "orchestrator"]
        try:
            run = [*command, "run", "--inventory", str(inventory), "--suite", str(suite)]
            folders = ["--results", str(folder / "results"), "--models", str(models)]
            quiet = subprocess.DEVNULL
            subprocess.run([*run, *folders], check=True, stdout=quiet, stderr=quiet)
        finally:
            subprocess.run(
                [*command, "agents", "stop", "--force", "--inventory", str(inventory)],
                check=True,
                stdout=subprocess.DEVNULL,
            )
        (journal,) = (folder / "results").glob("*/journal.jsonl")
        _print_ratios([json.loads(line) for line in journal.read_text().splitlines()])


def _one_second_python(folder: Path, artifacts: list[ModelArtifact]) -> Path:
    """An interpreter whose ``litert`` child sleeps for a second and says what the real one said."""
    archive = folder / "agent.pyz"
    archive.write_bytes(build_agent_archive().data)
    cases = []
    for artifact in artifacts:
        said = folder / f"{artifact.sha256}.out"
        options = "--threads 1 --warmup-runs 5 --warmup-seconds 0 --steady-runs 5 "
        options += "--steady-seconds 0 --max-seconds 60 --delegate xnnpack --runtime any --batch 1"
        paths = [sys.executable, str(archive), "litert", "--model", str(artifact.path)]
        argv = [*paths, *options.split()]
        said.write_bytes(subprocess.run(argv, check=True, capture_output=True).stdout)
        cases.append(f"  *litert*{artifact.sha256}*) sleep 0.995; exec cat {said} ;;")
    script = folder / "python"
    lines = ["#!/bin/sh", 'case "$*" in', *cases, "esac", f'exec {sys.executable} "$@"']
    script.write_text("\n".join(lines) + "\n")
    script.chmod(0o755)
    return script


def _inventory(folder: Path, devices: int, python: Path) -> Path:
    path = folder / "inventory.yaml"
    entries = [
        {
            "name": f"d{number}",
            "transport": "local",
            "workdir": str(folder / f"agent-{number}"),
            "python": str(python),
            "exclusive": False,
        }
        for number in range(devices)
    ]
    path.write_text(json.dumps({"devices": entries}))
    return path


def _print_ratios(events: list[dict[str, str]]) -> None:
    print("device  trials  sum of trials  wall time  ratio")
    for device in sorted({event["device"] for event in events}):
        mine = [event for event in events if event["device"] == device]
        finished = [event for event in mine if event["event"] == "finished"]
        assert all(event["outcome"] == "ok" for event in finished), "a trial failed"
        total = sum(float(event["wall_s"]) for event in finished)
        start = min(_time(event) for event in mine if event["event"] == "started")
        wall = max(_time(event) for event in finished) - start
        row = f"{device:<6} {len(finished):>7} {total:>12.2f} s {wall:>8.2f} s {wall / total:>6.4f}"
        print(row)


def _time(event: dict[str, str]) -> float:
    return datetime.fromisoformat(event["device_time"]).timestamp()


if __name__ == "__main__":
    main(int((sys.argv[1:2] or ["1"])[0]), Path((sys.argv[2:3] or ["models"])[0]))
