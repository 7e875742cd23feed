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

from benchmarks import simulated
from orchestrator.plan import Variant
from orchestrator.zoo import ensure_artifacts

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
        files = {artifact.sha256: artifact.path for artifact in artifacts.values()}
        python = simulated.interpreter(folder, files, 1.0)
        inventory = simulated.inventory(folder, _devices(folder, devices, python))
        suite = folder / "seconds.yaml"
        suite.write_text(SUITE)
        command = [sys.executable, "-m", "orchestrator"]
        try:
            run = [*command, "run", "--inventory", str(inventory), "--suite", str(suite)]
            folders = ["--results", str(folder / "results"), "--models", str(models)]
            quiet = subprocess.DEVNULL
            subprocess.run([*run, *folders], check=True, stdout=quiet, stderr=quiet)
        finally:
            simulated.stop_agents(inventory)
        (journal,) = (folder / "results").glob("*/journal.jsonl")
        _print_ratios([json.loads(line) for line in journal.read_text().splitlines()])


def _devices(folder: Path, count: int, python: Path) -> list[dict[str, object]]:
    return [
        {
            "name": f"d{number}",
            "transport": "local",
            "workdir": str(folder / f"agent-{number}"),
            "python": str(python),
            "exclusive": False,
        }
        for number in range(count)
    ]


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
