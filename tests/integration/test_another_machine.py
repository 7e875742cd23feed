"""A run that another machine answers for: after a new lease, or while its device is tried again."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

from tests.agent_client import is_alive
from tests.lab import Lab, every_planned_trial_finished_once, wait_until

SCHEMES = ["float32", "full_int8"]
#: An interpreter whose agent says, while FLAG exists, that its machine has another CPU.
PYTHON = """#!{python}
import os, re, subprocess, sys
argv = [{python!r}, *sys.argv[1:]]
if "attach" not in argv or not os.path.exists({flag!r}):
    os.execv(argv[0], argv)
child = subprocess.Popen(argv, stdout=subprocess.PIPE)
for line in child.stdout:
    sys.stdout.buffer.write(re.sub(rb'"logical_cpus": ?\\d+', b'"logical_cpus": 999', line))
    sys.stdout.buffer.flush()
"""


def interrupted(lab: Lab, inventory: Path) -> None:
    """A run that was stopped in its middle."""
    suite = lab.suite(SCHEMES)
    controller = lab.start("run", "--inventory", inventory, "--suite", suite)
    wait_until(lambda: len(lab.events("finished")) >= 4, "four finished trials")
    controller.send_signal(signal.SIGINT)
    assert controller.wait(60) == 130


def pretend(lab: Lab, **cpu: object) -> None:
    """Have the journal say that the run began on a machine with another CPU."""
    (run,) = lab.runs()
    lines = [json.loads(line) for line in (run / "journal.jsonl").read_text().splitlines()]
    for line in lines:
        if line["event"] == "device_ready":
            line["facts"]["cpu"].update(cpu)
    (run / "journal.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def test_a_run_does_not_go_on_on_another_cpu(lab: Lab, stand_in: Path) -> None:
    inventory = lab.inventory(lab.here(benchmark_model=stand_in))
    interrupted(lab, inventory)
    pretend(lab, model_name="Another CPU", microarchitecture="haswell")
    before = lab.events("finished")
    refused = lab.run("run", "--resume", "last", "--inventory", inventory)
    assert refused.code == 1, refused.stderr
    assert "another machine answers" in refused.stderr
    assert "model_name was Another CPU" in refused.stderr
    assert "a device name of its own" in refused.stderr
    assert lab.events("finished") == before
    assert {row["microarchitecture"] for row in lab.table()} == {"haswell"}

    # the first one still goes on
    pretend(lab, **lab.events("device_ready")[0]["facts"]["cpu"] | own_cpu(lab, inventory))
    assert lab.run("run", "--resume", "last", "--inventory", inventory).code == 0
    assert every_planned_trial_finished_once(lab.journal())


def own_cpu(lab: Lab, inventory: Path) -> dict[str, object]:
    told = json.loads(lab.run("devices", "--inventory", inventory, "--json").stdout)
    cpu: dict[str, object] = told["devices"][0]["facts"]["cpu"]
    return cpu


def test_a_node_that_is_replaced_while_it_is_tried_again_is_refused(
    lab: Lab, stand_in: Path
) -> None:
    flag, python = lab.folder / "replaced", lab.folder / "python"
    python.write_text(PYTHON.format(python=sys.executable, flag=str(flag)))
    python.chmod(0o755)
    inventory = lab.inventory(lab.here(benchmark_model=stand_in, python=python))
    suite = lab.suite(SCHEMES)
    controller = lab.start("run", "--inventory", inventory, "--suite", suite)
    wait_until(lambda: len(lab.events("finished")) >= 4, "four finished trials")
    flag.touch()
    kill_agent(lab)
    said = controller.communicate(timeout=120)[1]
    assert controller.returncode == 1, said
    assert "another machine answers" in said
    assert "logical_cpus was" in said and "is 999" in said
    assert len(lab.events("device_ready")) == 1
    done = lab.events("finished")

    flag.unlink()
    assert lab.run("run", "--resume", "last", "--inventory", inventory).code == 0
    assert lab.events("finished")[: len(done)] == done
    assert every_planned_trial_finished_once(lab.journal())


def kill_agent(lab: Lab) -> None:
    """Kill the daemon of the lab's home, as a node that goes away does."""
    found = subprocess.run(
        ["pgrep", "-f", f"serve --home {lab.folder / 'agent-here'}"],
        capture_output=True, text=True, check=False,
    ).stdout.split()  # fmt: skip
    assert found
    for pid in map(int, found):
        subprocess.run(["kill", "-KILL", str(pid)], check=True)
    wait_until(lambda: not any(map(is_alive, map(int, found))), "the agent's end")
