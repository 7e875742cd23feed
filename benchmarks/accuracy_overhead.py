"""What measuring accuracy costs beside the inferences: the product's trials against a plain loop.

``python -m benchmarks.accuracy_overhead MODEL [SAMPLES] [ROUNDS]`` makes SAMPLES (default 10,000)
random images of 224 × 224 once, in the product's own shards, and has MODEL (a .tflite file that
takes them) answer all of them ROUNDS times (default 3) in two ways, in random order next to each
other, one thread each:

* as trials of accuracy under an agent, submitted at once as a run has them: a process a shard,
  whose answers the controller's reader reads and checks while the next one runs;
* in one process that opens the same interpreter once, reads the same shards, feeds the same values
  and keeps the five highest outputs of each: what somebody would write by hand.

Prints the ratio of the wall times with its 95 % interval where there are rounds enough, and the
peak resident set of a trial's process for the smallest and the largest shard.
"""

from __future__ import annotations

import json
import math
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.perturbation import UnderTheAgent
from benchmarks.ratios import ratio
from orchestrator.config.accuracy import Accuracy
from orchestrator.datasets import Shard, prepare_shards, resolve
from orchestrator.fleet.agent_archive import build_agent_archive
from orchestrator.fleet.local import LocalTransport
from orchestrator.fleet.provision import AgentPlace, reach
from orchestrator.frameworks.reading.answers import answers_of
from orchestrator.frameworks.reading.child_output import RESULT
from orchestrator.frameworks.runner import FedShard
from orchestrator.measures.accuracy.geometry import Geometry
from orchestrator.measures.accuracy.samples import WHOLE_VALUES

SIDE = 224
#: What the pixels become: from -1 to 1.
MEAN = STD = 127.5
_NO_PHASES = "--warmup-runs 0 --warmup-seconds 0 --steady-runs 0 --steady-seconds 0"
BY_HAND = """
import sys
import numpy as np
from ai_edge_litert.interpreter import Interpreter
interpreter = Interpreter(sys.argv[1], num_threads=1)
interpreter.allocate_tensors()
(given,), (told,) = interpreter.get_input_details(), interpreter.get_output_details()
scale, zero = given["quantization"]
best = []
for path in sys.argv[2:]:
    for row in np.load(path, mmap_mode="r"):
        values = (row[None].astype(np.float32) - np.float32(127.5)) / np.float32(127.5)
        if scale:
            values = np.clip(np.rint(values / scale) + zero, -128, 127).astype(given["dtype"])
        interpreter.set_tensor(given["index"], values)
        interpreter.invoke()
        best.append(np.argsort(interpreter.get_tensor(told["index"])[0])[::-1][:5])
print(len(best))
"""


class Ways:
    """Both ways of answering the samples of all shards; each returns its wall time in seconds."""

    def __init__(self, agent: UnderTheAgent, archive: Path, model: Path, shards: Sequence[Shard]):
        self._agent = agent
        self._archive = archive
        self._model = model
        self._shards = shards
        #: Peak resident set of every trial's process so far, in bytes, by its samples.
        self.peaks: dict[int, list[int]] = {}

    def trials(self) -> float:
        start = time.monotonic()
        outputs = self._agent.each([self._command(shard) for shard in self._shards])
        for shard, stdout in zip(self._shards, outputs, strict=True):
            (line,) = (each for each in stdout.splitlines() if each.startswith(RESULT))
            data = json.loads(line.removeprefix(RESULT))
            fed = FedShard(shard.sha256, shard.first, shard.count, (MEAN,), (STD,), 64)
            answers_of(stdout, data, fed)
            peak = data["memory"]["end"]["peak_bytes"]
            self.peaks.setdefault(shard.count, []).append(peak)
        return time.monotonic() - start

    def _command(self, shard: Shard) -> list[str]:
        return [
            *(sys.executable, str(self._archive), "litert", "--model", str(self._model)),
            *("--samples", str(shard.path), f"--mean={MEAN}", f"--std={STD}", "--threads", "1"),
            *("--whole", str(WHOLE_VALUES["classification"]), "--delegate", "xnnpack"),
            *("--max-seconds", "600", *_NO_PHASES.split()),
        ]

    def by_hand(self) -> float:
        paths = [str(shard.path) for shard in self._shards]
        command = [sys.executable, "-c", BY_HAND, str(self._model), *paths]
        start = time.monotonic()
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        took = time.monotonic() - start
        assert int(done.stdout) == sum(shard.count for shard in self._shards)
        return took


def main(model: Path, samples: int, rounds: int) -> None:
    """Measure and print."""
    archive = build_agent_archive()
    asked = Accuracy.model_validate({"task": "agreement", "samples": samples})
    _, dataset = resolve(asked, Path(), 0)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        geometry = Geometry(SIDE, SIDE, "stretch", "rgb")
        size = Accuracy.model_validate({"task": "classification", "dataset": name}).shard_size
        shards = prepare_shards(dataset, geometry, size, folder / "samples")
        place = AgentPlace(sys.executable, f"{name}/agent")
        node = reach(LocalTransport("here"), place, archive)
        try:
            path = folder / "agent.pyz"
            path.write_bytes(archive.data)
            ways = Ways(UnderTheAgent(node), path, model, shards)
            logs = [_round(ways) for _ in range(rounds)]
        finally:
            node.link.request("shutdown", force=True)
            node.close()
    print(f"{model.name}, {samples} images, {len(shards)} trials of {size}, {rounds} rounds")
    print(ratio("trials / by hand", logs))
    for count, peaks in sorted(ways.peaks.items()):
        print(f"  peak of a process, {count} images: {max(peaks) / 1e6:.1f} MB")


def _round(ways: Ways) -> float:
    """The logarithm of the ratio of both ways' times, in random order."""
    took = {}
    for way in random.sample([ways.trials, ways.by_hand], 2):
        took[way.__name__] = way()
    print(f"  {took['trials']:.1f} s as trials, {took['by_hand']:.1f} s by hand", flush=True)
    return math.log(took["trials"] / took["by_hand"])


if __name__ == "__main__":
    numbers = [int(each) for each in sys.argv[2:4]]
    main(Path(sys.argv[1]), *(numbers + [10_000, 3][len(numbers) :]))
