"""One controller and more and more devices: what each costs it, from 1 to 200.

``python -m benchmarks.fleet_size [DEVICES …]`` (default 1 10 50 100 200) runs the real command
against so many devices: agents in processes and homes of their own, behind one OpenSSH server as it
is configured by default. Trials are simulated: SECONDS of sleep, then what a measuring child once
said. Prints for each size, of the controller alone: wall time, peak of memory, threads, CPU time in
all and for each trial; then what a further device costs. The agents share this machine with the
controller, so the wall time is theirs as well.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks import simulated
from tests.sshd import Sshd, generate_key

SIZES = (1, 10, 50, 100, 200)
SECONDS = 5.0
MODELS = Path(__file__).resolve().parents[1] / "tests" / "data" / "zoo"
SCHEMES = ("float32", "full_int8")
SUITE = """\
models: [{{name: tiny, variants: {{float32: {folder}/float32.tflite,
  full_int8: {folder}/full_int8.tflite}}}}]
protocol:
  {{blocks: 6, precision: 0.0001, warmup: {{runs: 5, seconds: 0}}, steady: {{runs: 5, seconds: 0}},
   gate: {{load: 1}}}}
"""


@dataclass(frozen=True)
class Cost:
    """What a run with so many devices took of the controller."""

    devices: int
    trials: int
    wall_s: float
    cpu_s: float
    peak_mb: float
    threads: int


def main(sizes: list[int]) -> None:
    """Measure and print."""
    print("devices  trials  wall s  peak MB  threads   CPU s  CPU ms/trial", flush=True)
    costs = []
    for size in sizes:
        with tempfile.TemporaryDirectory() as name:
            cost = _measure(Path(name), size)
        costs.append(cost)
        each = f"{cost.cpu_s * 1e3 / cost.trials:>8.1f}"
        row = f"{cost.devices:>7} {cost.trials:>7} {cost.wall_s:>7.1f} {cost.peak_mb:>8.0f}"
        print(f"{row} {cost.threads:>8} {cost.cpu_s:>7.1f} {each}", flush=True)
    first, last = costs[0], costs[-1]
    if last.devices > first.devices:
        more = last.devices - first.devices
        memory, cpu = (last.peak_mb - first.peak_mb) / more, (last.cpu_s - first.cpu_s) / more
        threads = (last.threads - first.threads) / more
        print(f"a further device: {memory:.2f} MB, {threads:.1f} threads, {cpu:.2f} s of CPU")


def _measure(folder: Path, size: int) -> Cost:
    files = [MODELS / f"{scheme}.tflite" for scheme in SCHEMES]
    models = {hashlib.sha256(path.read_bytes()).hexdigest(): path for path in files}
    python = simulated.interpreter(folder, models, SECONDS)
    suite = folder / "simulated.yaml"
    suite.write_text(SUITE.format(folder=MODELS))
    # its default bounds how many may be about to log in: 10, beyond which it drops some at random
    server = Sshd(folder / "sshd", generate_key(folder / "key"), options=["MaxStartups 10:30:100"])
    known_hosts = folder / "known_hosts"
    known_hosts.write_text(server.known_hosts_line())
    with server:
        devices: list[dict[str, object]] = [
            {
                "name": f"d{number}",
                "transport": "ssh",
                "host": server.address,
                "port": server.port,
                "user": "root",
                "key_file": str(server.client_key),
                "known_hosts": str(known_hosts),
                "workdir": str(server.home / f"agent-{number}"),
                "python": str(python),
                "exclusive": False,
            }
            for number in range(size)
        ]
        inventory = simulated.inventory(folder, devices)
        try:
            return _run(folder, inventory, suite, size)
        finally:
            simulated.stop_agents(inventory)


def _run(folder: Path, inventory: Path, suite: Path, size: int) -> Cost:
    run = [sys.executable, "-m", "orchestrator", "run", "--inventory", str(inventory)]
    folders = ["--results", str(folder / "results"), "--models", str(folder / "models")]
    start = time.monotonic()
    with (folder / "run.log").open("wb") as log:
        process = subprocess.Popen([*run, "--suite", str(suite), *folders], stdout=log, stderr=log)
        peak_kb, threads = 0, 0
        while os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
            status = _status(process.pid)
            peak_kb = max(peak_kb, status.get("VmHWM", 0))
            threads = max(threads, status.get("Threads", 0))
            time.sleep(0.2)
        _, status_word, usage = os.wait4(process.pid, 0)
    wall_s = time.monotonic() - start
    log_text = (folder / "run.log").read_text(errors="replace")
    assert os.waitstatus_to_exitcode(status_word) == 0, log_text[-4000:]
    (journal,) = (folder / "results").glob("*/journal.jsonl")
    events = [json.loads(line) for line in journal.read_text().splitlines()]
    finished = [event for event in events if event["event"] == "finished"]
    assert len({event["device"] for event in finished}) == size, log_text[-4000:]
    assert all(event["outcome"] == "ok" for event in finished), "a trial failed"
    cpu_s = usage.ru_utime + usage.ru_stime
    return Cost(size, len(finished), wall_s, cpu_s, peak_kb / 1e3 * 1.024, threads)


def _status(pid: int) -> dict[str, int]:
    words = [line.split() for line in Path(f"/proc/{pid}/status").read_text().splitlines()]
    return {w[0].rstrip(":"): int(w[1]) for w in words if len(w) > 1 and w[1].isdigit()}


if __name__ == "__main__":
    main([int(size) for size in sys.argv[1:]] or list(SIZES))
