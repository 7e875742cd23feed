"""How long a large journal takes to become a table, and how much memory: at most 10 s and 1 GB.

``python -m benchmarks.large_journal [TRIALS]`` (default 100,000) writes a journal of half as many
trials and one of all of them, with every line a real run leaves (planned, queued, started,
finished, each as long as real ones, health and all), and has the real command report on each in a
process of its own. Prints seconds and peak memory of both and their ratio: 2 is linear growth. Exit
code 1 where a bound is broken, or where twice the trials take more than 2.5 times as long.
"""

from __future__ import annotations

import json
import os
import random
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.runs.journal import FILE_NAME
from orchestrator.runs.manifest import Manifest, write_manifest
from orchestrator.runs.records import ArtifactRecord
from orchestrator.trial import Factors, Group, Trial, TrialKind, Variant

MOST_SECONDS = 10.0
MOST_BYTES = 1_000_000_000
LINEAR = 2.5

BLOCKS = 20
SPEEDUPS = {"float32": 1.0, "float16": 1.02, "dynamic_range": 2.4, "full_int8": 3.1}
TRIALS_OF_A_GROUP = BLOCKS * (len(SPEEDUPS) + 1)
MODELS = tuple(f"model{number:02d}" for number in range(10))
THREADS = (1, 2, 4, 8)

_HEALTH = {
    "time": "2026-11-20T18:35:00.233+00:00",
    "wall_clock_s": 1795199700.2334158,
    "monotonic_s": 4283.813607311,
    "boot_id": "b72aaca2-b5e6-4fbd-9e9c-28bc7bb35a95",
    "mhz": {"min": 2500.002, "mean": 2500.002, "max": 2500.002, "count": 2},
    "governor": None,
    "temperature_c": 51.2,
    "throttle": {"core_events": 0, "package_events": 0, "under_voltage": None},
    "load1": 1.01,
    "running_processes": 2,
    "context_switches": 4471628,
    "cpu_s": {"user": 3767.01, "nice": 188.88, "system": 565.84, "idle": 3888.91, "iowait": 111.26,
              "irq": 0.0, "softirq": 12.59, "steal": 17.89},
    "memory_available_bytes": 24580591616,
    "energy_uj": None,
    "pressure": {"cpu": 0.0, "memory": 0.0},
}  # fmt: skip


@dataclass(frozen=True)
class Cost:
    """What one report took: seconds of wall time, peak resident bytes, and the rows it has."""

    trials: int
    seconds: float
    peak_bytes: int
    rows: int


def groups(trials: int) -> list[Group]:
    """Enough comparison groups for ``trials``: devices × models × threads."""
    wanted = max(1, trials // TRIALS_OF_A_GROUP)
    made: list[Group] = []
    device = 0
    while len(made) < wanted:
        for model in MODELS:
            for threads in THREADS:
                factors = Factors("litert", "any", "xnnpack", threads, 1, "native")
                made.append(Group(f"node{device:02d}", model, factors, tuple(SPEEDUPS), "float32"))
        device += 1
    return made[:wanted]


def write_run(folder: Path, trials: int) -> int:
    """A run of about ``trials`` trials in ``folder``; returns how many it really has."""
    return write_groups(folder, groups(trials))


def write_groups(folder: Path, some: Sequence[Group]) -> int:
    """A run of these groups in ``folder``; returns how many trials it has."""
    (folder / "logs").mkdir(parents=True)
    devices = tuple(dict.fromkeys(group.device for group in some))
    write_manifest(folder, _manifest(folder.name, devices))
    rng = random.Random(1)
    count = 0
    with (folder / FILE_NAME).open("w", encoding="utf-8") as file:
        seq = dict.fromkeys(devices, 0)
        for group in some:
            for event in _events(group, rng):
                seq[group.device] += 1
                count += event["event"] == "finished"
                head = {
                    "format": 1,
                    "seq": seq[group.device],
                    "time": "2026-11-20T18:30:47.371173Z",
                }
                file.write(json.dumps(head | event, separators=(",", ":")) + "\n")
    return count


def _manifest(run_id: str, devices: tuple[str, ...]) -> Manifest:
    protocol = {"blocks": f"6:{BLOCKS}", "precision": 0.02}
    variants = [Variant(model, scheme) for model in MODELS for scheme in SPEEDUPS]
    return Manifest(
        run_id=run_id,
        created="2026-11-20T18:30:44.672138Z",
        seed=1,
        inventory={"devices": [{"name": name} for name in devices]},
        suite={"name": "large", "baseline": "float32", "protocol": protocol},
        devices=devices,
        versions={},
        artifacts=tuple(ArtifactRecord(v, _sha(v), 16_911_748, "random(seed=0)") for v in variants),
        facts={name: {"cpu": {"microarchitecture": "cascadelake"}} for name in devices},
    )


def _sha(variant: Variant) -> str:
    return f"{MODELS.index(variant.model):032x}{list(SPEEDUPS).index(variant.scheme):032x}"


def _events(group: Group, rng: random.Random) -> Iterator[dict[str, Any]]:
    for block in range(BLOCKS):
        for scheme, replicate in [*((scheme, 0) for scheme in SPEEDUPS), ("float32", 1)]:
            identity = f"{rng.getrandbits(40):010x}"
            trial = Trial(
                f"{group.device}.{group.model}.{scheme}.b{block:03d}.{identity}",
                group.device,
                TrialKind.TIMING,
                Variant(group.model, scheme),
                group.factors,
                block,
                replicate,
            )
            yield from _trial_events(
                trial, 100_000 / SPEEDUPS[scheme] * rng.lognormvariate(0, 0.02)
            )
    yield {"device": group.device, "event": "stopped", "group": group.key, "reason": "precise"}


def _trial_events(trial: Trial, us: float) -> Iterator[dict[str, Any]]:
    told = {"device": trial.device, "trial_id": trial.trial_id}
    yield {"event": "planned", **trial.to_json()}
    yield {**told, "event": "queued", "agent_seq": 292, "device_time": _HEALTH["time"]}
    mark = (
        f"20261120T182924Z-274654/{trial.device}/{trial.trial_id}/e6ea5ef94b1b4ea0a4301a221e65e73d"
    )
    process = {"pid": 28350, "pgid": 28349, "start_ticks": 428381, "mark": mark}
    yield {**told, "event": "started", "attempt": 1, "health": _HEALTH, "process": process}
    yield {
        "event": "finished",
        **trial.to_json(),
        "outcome": "ok",
        "reason": None,
        "init_us": 24663.904,
        "first_us": us * 1.1,
        "warmup": _phase(23, us * 1.01),
        "steady": _phase(45, us),
        "memory": {"init_bytes": 43855872, "overall_bytes": 45809664, "peak_bytes": 94949376},
        "model_size_bytes": 16911748,
        "delegation": {"name": "xnnpack", "delegated_nodes": 30, "total_nodes": 34},
        "runtime_name": "ai-edge-litert",
        "runtime_version": "2.3.0",
        "findings": [],
        "artifact_sha256": _sha(trial.variant),
        "binary_sha256": None,
        "log": f"logs/{trial.trial_id}.txt",
        "agent_seq": 294,
        "device_time": "2026-11-20T18:35:02.099+00:00",
        "wall_s": 1.8592329539997081,
        "attempt": 1,
        "rusage": {"maxrss_bytes": 94949376, "user_s": 1.889209, "sys_s": 0.076377, "nvcsw": 4},
        "machine_lock": "held",
        "health_before": _HEALTH,
        "health": _HEALTH,
        "exit_code": 0,
        "signal": None,
        "timed_out": False,
        "oom_killed": False,
        "stdout_bytes": 4519,
        "stderr_bytes": 76,
    }


def _phase(count: int, us: float) -> dict[str, Any]:
    spread = {"min_us": 0.97, "max_us": 1.03, "mean_us": 1.002, "p5_us": 0.98, "p95_us": 1.02}
    figures = {name: us * factor for name, factor in spread.items()}
    return {"count": count, "first_us": us, "std_us": us * 0.02, "median_us": us, **figures}


def report(run: Path) -> tuple[float, int, int]:
    """``orchestrate report RUN`` in a process of its own, as csv: seconds, peak bytes, rows."""
    output = run / "measured.csv"
    argv = [sys.executable, "-m", "orchestrator", "report", str(run), "--format", "csv"]
    argv += ["--output", str(output)]
    began = time.monotonic()
    child = os.posix_spawn(sys.executable, argv, os.environ)
    _, status, usage = os.wait4(child, 0)
    seconds = time.monotonic() - began
    if status:
        raise SystemExit(f"the report failed with status {status}")
    rows = output.read_bytes().count(b"\n") - 1
    return seconds, usage.ru_maxrss * 1024, rows


def measure(trials: int) -> Cost:
    """Write a run of ``trials`` and report on it twice; the quicker of the two counts, since a
    neighbour can only slow it down. Peak memory is the larger."""
    with tempfile.TemporaryDirectory() as name:
        run = Path(name) / "20261120T182924Z-274654"
        real = write_run(run, trials)
        took = [report(run) for _ in range(2)]
        return Cost(real, min(t[0] for t in took), max(t[1] for t in took), took[0][2])


def main(trials: int = 100_000) -> int:
    """Measure and print; returns the exit code."""
    half, whole = measure(trials // 2), measure(trials)
    for cost in (half, whole):
        print(
            f"{cost.trials:>7} trials: {cost.seconds:6.2f} s, {cost.peak_bytes / 1e6:6.0f} MB, "
            f"{cost.rows} rows"
        )
    growth = whole.seconds / half.seconds
    print(f"twice the trials take {growth:.2f} times as long")
    fits = whole.seconds <= MOST_SECONDS and whole.peak_bytes <= MOST_BYTES and growth <= LINEAR
    return 0 if fits else 1


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:])))
