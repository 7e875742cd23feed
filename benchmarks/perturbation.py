"""What the agent does to what it measures: a runner under it against the same runner bare.

``python -m benchmarks.perturbation [PAIRS] [MODEL]`` runs the same command line PAIRS times
(default 60) by the agent and by nothing but a fork, in random order next to each other: first a
loop of hashing, which does nothing but compute, then, where a MODEL is named (a .tflite file), the
``litert`` child on it. Each process times itself and says the median of its iterations, as runners
do. Prints the ratio, agent over bare, with its 95 % interval over the pairs; and that of bare over
bare from the same session, which tells what this machine can resolve: where the interval is wider
than 0.5 %, the machine was too noisy to tell, and more pairs are needed. Of a MODEL it also prints
what looking at the outputs costs: the child as it is over the child that does not look, in the
median of the steady phase (which is over by then), and which share of the whole process's time the
look takes.
"""

from __future__ import annotations

import math
import random
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from benchmarks.litert_child import command, steady_median
from benchmarks.ratios import ratio
from orchestrate_agent.protocol import TrialRequest
from orchestrator.fleet.agent_archive import build_agent_archive
from orchestrator.fleet.local import LocalTransport
from orchestrator.fleet.provision import AgentPlace, ReachedDevice, reach

RUN, DEVICE = "perturbation", "here"
#: About a third of a second; each iteration some 0.3 ms, so that an interruption spoils only a few.
HASHING = """
import hashlib, statistics, time
data, times = bytes(500_000), []
for _ in range(1200):
    start = time.perf_counter()
    hashlib.sha256(data).digest()
    times.append(time.perf_counter() - start)
print(statistics.median(times[200:]))
"""

#: The child out of the archive, which looks at what the model answers or does not. Its last line
#: says which share of its time that took.
CHILD = """
import sys, time
began = time.perf_counter()
looks, archive, *arguments = sys.argv[1:]
sys.path.insert(0, archive)
from orchestrate_agent.children import litert
look, took = litert.checked, 0.0
def checked(answer):
    global took
    start = time.perf_counter()
    try:
        return look(answer) if looks == "yes" else {}
    finally:
        took = time.perf_counter() - start
litert.checked = checked
code = litert.main(arguments)
print(took / (time.perf_counter() - began), file=sys.stderr)
sys.exit(code)
"""

Run = Callable[[list[str]], str]


class UnderTheAgent:
    """Runs a command as a trial and gives its stdout."""

    def __init__(self, node: ReachedDevice) -> None:
        self._node = node
        self._count = 0
        node.link.follow(RUN, DEVICE, 1)

    def __call__(self, argv: list[str]) -> str:
        (stdout,) = self.each([argv])
        return stdout

    def each(self, commands: Sequence[list[str]]) -> Iterator[str]:
        """Submit all of them at once, as a run does, and give the stdout of each when it ends."""
        trials = []
        for argv in commands:
            self._count += 1
            trials.append(TrialRequest(f"t{self._count}", tuple(argv), timeout_s=600.0).to_json())
        self._node.link.request("submit", run_id=RUN, device=DEVICE, trials=trials)
        left = len(trials)
        while left:
            event = self._node.link.event(600.0)
            assert event is not None, "the agent says nothing"
            if event.event == "finished":
                assert event.fields["exit_code"] == 0, event.fields["stderr"]
                left -= 1
                yield str(event.fields["stdout"])


def bare(argv: list[str]) -> str:
    return subprocess.run(argv, check=True, capture_output=True, text=True).stdout


def main(pairs: int, model: Path | None) -> None:
    """Measure and print."""
    archive = build_agent_archive()
    with tempfile.TemporaryDirectory() as name:
        place = AgentPlace(sys.executable, f"{name}/agent")
        node = reach(LocalTransport(DEVICE), place, archive)
        agent = UnderTheAgent(node)
        try:
            python = sys.executable
            _compare("hashing", [python, "-I", "-c", HASHING], float, agent, pairs)
            if model is not None:
                path = Path(name) / "agent.pyz"
                path.write_bytes(archive.data)
                argv = command(path, model)
                _compare(f"litert {model.name}", argv, steady_median, agent, pairs)
                _look(model, argv, pairs)
        finally:
            node.link.request("shutdown", force=True)
            node.close()


def _compare(
    what: str, argv: list[str], reading: Callable[[str], float], agent: Run, pairs: int
) -> None:
    ways: dict[str, Run] = {"agent": agent, "bare": bare, "bare again": bare}
    logs: dict[str, list[float]] = {"agent": [], "bare again": []}
    for _ in range(pairs):
        took = {}
        for way in random.sample(list(ways), len(ways)):
            took[way] = reading(ways[way](argv))
        for way, found in logs.items():
            found.append(math.log(took[way] / took["bare"]))
    print(f"{what}, {pairs} pairs, ratio of medians")
    for way, found in logs.items():
        print(ratio(f"{way} / bare", found), flush=True)


def _look(model: Path, argv: list[str], pairs: int) -> None:
    """What it costs to look at the outputs once the times are taken."""
    python, archive, _, *arguments = argv
    logs, shares = [], []
    for _ in range(pairs):
        steady = {}
        for looks in random.sample(("yes", "no"), 2):
            command = [python, "-c", CHILD, looks, archive, *arguments]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            steady[looks] = steady_median(done.stdout)
            if looks == "yes":
                shares.append(float(done.stderr.splitlines()[-1]))
        logs.append(math.log(steady["yes"] / steady["no"]))
    print(f"looking at the outputs, {model.name}, {pairs} pairs")
    print(ratio("with / without", logs))
    print(f"  the look takes {statistics.median(shares):.2%} of the process's time", flush=True)


if __name__ == "__main__":
    main(int((sys.argv[1:2] or ["60"])[0]), Path(sys.argv[2]) if len(sys.argv) > 2 else None)
