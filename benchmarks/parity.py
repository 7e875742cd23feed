"""Whether a runner's child times what a plain loop of its runtime's own interface does.

``python -m benchmarks.parity onnxruntime MODEL [PAIRS]``: one process of each in turn, on one
thread, with inputs of one shape; prints the ratio of the medians of each pair (child ÷ loop), their
median, and the machine's load. Near 1 is right; a busy machine widens the pairs.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

from orchestrator.frameworks.reading.child_output import RESULT

ROOT = Path(__file__).resolve().parents[1]
_PHASES = "--threads 1 --warmup-runs 20 --warmup-seconds 0 --steady-runs 100 --steady-seconds 0 "
_PHASES += "--max-seconds 120"

#: A loop as the runtime's users write it, by the runner; prints the median in microseconds.
LOOPS = {
    "onnxruntime": """
import statistics, sys, time
import numpy, onnxruntime
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 1
session = onnxruntime.InferenceSession(sys.argv[1], options, providers=["CPUExecutionProvider"])
(taken,) = session.get_inputs()
shape = [size if isinstance(size, int) else 1 for size in taken.shape]
image = (numpy.random.RandomState(1).rand(*shape) - 0.5).astype("float32")
times = []
for _ in range(120):
    begun = time.perf_counter_ns()
    session.run(None, {taken.name: image})
    times.append(time.perf_counter_ns() - begun)
print(statistics.median(times[20:]) / 1000)
""",
}


def by_child(runner: str, model: Path) -> float:
    """The median of the child's steady phase, in microseconds."""
    command = [sys.executable, "-m", f"orchestrate_agent.children.{runner}", "--model", str(model)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "agents")}
    said = _output([*command, *_PHASES.split()], environment)
    (line,) = (line for line in said.splitlines() if line.startswith(RESULT))
    return float(statistics.median(json.loads(line.removeprefix(RESULT))["steady_us"]))


def by_loop(runner: str, model: Path) -> float:
    """The median of the plain loop, in microseconds."""
    return float(_output([sys.executable, "-c", LOOPS[runner], str(model)], dict(os.environ)))


def _output(command: list[str], environment: dict[str, str]) -> str:
    return subprocess.run(
        command, env=environment, stdout=subprocess.PIPE, text=True, check=True
    ).stdout


def main(runner: str, model: str, pairs: str = "10") -> None:
    """Measure and print."""
    ratios = []
    for number in range(int(pairs)):
        order = (by_child, by_loop) if number % 2 else (by_loop, by_child)
        found = {each: each(runner, Path(model)) for each in order}
        ratios.append(found[by_child] / found[by_loop])
        print(f"child {found[by_child]:.0f} us, loop {found[by_loop]:.0f} us: {ratios[-1]:.3f}")
    low, high = min(ratios), max(ratios)
    print(
        f"median of {len(ratios)} pairs: {statistics.median(ratios):.3f} ({low:.3f} to {high:.3f})"
    )
    print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} CPUs")


if __name__ == "__main__":
    main(*sys.argv[1:])
