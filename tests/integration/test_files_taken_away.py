"""What something on the node takes away from a run is put back, and no variant is blamed for it."""

from __future__ import annotations

import os
import shutil
import signal
import sys
from pathlib import Path

from tests import stand_in as stand_ins
from tests.lab import Lab, every_planned_trial_finished_once, wait_until

SCHEMES = ["float32", "full_int8"]


def slow(lab: Lab) -> Path:
    """A ``benchmark_model`` whose trials take a fifth of a second."""
    return stand_ins.build(lab.folder / "benchmark_model", "-DTAKES_US=200000")


def test_blobs_removed_under_a_run_are_pushed_again(lab: Lab, stand_in: Path) -> None:
    inventory = lab.inventory(lab.here(benchmark_model=slow(lab)))
    controller = lab.start("run", "--inventory", inventory, "--suite", lab.suite(SCHEMES))
    home = lab.folder / "agent-here"
    for count in (3, 7):
        wait_until(lambda: len(lab.events("finished")) >= count, "finished trials")  # noqa: B023 (at once)
        for path in (home / "blobs").iterdir():
            path.unlink()
    said = controller.communicate(timeout=120)[1]
    assert controller.returncode == 0, said
    assert "putting back what got lost there" in said or "blobs are not on this node" in said
    assert every_planned_trial_finished_once(lab.journal())
    assert {event["outcome"] for event in lab.events("finished")} == {"ok"}
    assert all(row["verdict"] != "invalid" for row in lab.table())


def test_the_agents_own_file_and_a_runtime_are_put_back(lab: Lab, kept: Path, both: None) -> None:
    shutil.copytree(kept, lab.models, dirs_exist_ok=True, copy_function=os.link)
    inventory = lab.inventory(lab.here())
    suite = lab.suite(SCHEMES, runner="litert", factors="{runtime: [ai-edge-litert==2.3.0]}")
    controller = lab.start("run", "--inventory", inventory, "--suite", suite)
    home = lab.folder / "agent-here"
    wait_until(lambda: len(lab.events("finished")) >= 3, "three finished trials")
    for path in (home / "agents").iterdir():
        path.unlink()
    wait_until(lambda: len(lab.events("finished")) >= 7, "seven finished trials")
    (site,) = (path for path in (home / "sites").iterdir() if path.name[0] != ".")
    shutil.rmtree(site / "numpy", ignore_errors=True)  # the agent may be quicker
    said = controller.communicate(timeout=180)[1]
    assert controller.returncode == 0, said
    assert said.count("putting back what got lost there") >= 2
    assert every_planned_trial_finished_once(lab.journal())
    assert {event["outcome"] for event in lab.events("finished")} == {"ok"}


def test_what_vanishes_again_and_again_loses_the_device_and_not_the_trials(lab: Lab) -> None:
    here = lab.here(benchmark_model=slow(lab), retry_for="3s")
    inventory = lab.inventory(here)
    controller = lab.start("run", "--inventory", inventory, "--suite", lab.suite(SCHEMES))
    blobs = lab.folder / "agent-here" / "blobs"
    wait_until(lambda: len(lab.events("finished")) >= 3, "three finished trials")
    while controller.poll() is None:
        for path in blobs.glob("[0-9a-f]*"):
            path.unlink(missing_ok=True)
    said = controller.communicate(timeout=120)[1]
    assert controller.returncode == 1, said
    reason = lab.events("device_lost")[-1]["reason"]  # whoever misses them first
    assert "vanishes again and again" in reason or "are not on this node" in reason
    assert {event["outcome"] for event in lab.events("finished")} == {"ok"}
    assert lab.run("run", "--resume", "last", "--inventory", inventory).code == 0
    assert every_planned_trial_finished_once(lab.journal())


def test_trials_that_cannot_be_started_are_not_held_against_their_variant(lab: Lab) -> None:
    python = lab.folder / "python"
    python.symlink_to(sys.executable)
    inventory = lab.inventory(lab.here(python=python))
    suite = lab.suite(SCHEMES, runner="litert")
    controller = lab.start("run", "--inventory", inventory, "--suite", suite)
    wait_until(lambda: len(lab.events("finished")) >= 3, "three finished trials")
    controller.send_signal(signal.SIGSTOP)
    python.rename(lab.folder / "elsewhere")
    controller.send_signal(signal.SIGCONT)
    said = controller.communicate(timeout=120)[1]
    assert controller.returncode == 1, said
    assert not lab.events("stopped")
    assert f"there is no {python} on this node" in lab.events("device_lost")[-1]["reason"]

    (lab.folder / "elsewhere").rename(python)
    assert lab.run("run", "--resume", "last", "--inventory", inventory).code == 1  # some failed
    assert every_planned_trial_finished_once(lab.journal())
    assert {event["reason"] for event in lab.events("stopped")} == {"maximum of 6 blocks"}
    last = lab.events("finished")[-8:]
    assert {event["scheme"] for event in last} == set(SCHEMES)
    assert {event["outcome"] for event in last} == {"ok"}
