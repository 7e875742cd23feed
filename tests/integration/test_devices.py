"""`orchestrate devices` against real agents: what is wrong comes first, with its remedy."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from orchestrate_agent.protocol import TrialRequest
from orchestrator.config import Device
from orchestrator.errors import AgentError
from orchestrator.fleet import agent_archive
from orchestrator.fleet.local import LocalTransport
from orchestrator.fleet.provision import AgentPlace, reach
from orchestrator.fleet.survey import survey
from tests.lab import Lab, wait_until

SCHEMES = ["float32", "full_int8"]


def look(lab: Lab, *devices: dict[str, Any], suite: Path | None = None) -> list[dict[str, Any]]:
    asked: list[str | Path] = [] if suite is None else ["--suite", suite]
    done = lab.run("devices", "--inventory", lab.inventory(*devices), *asked, "--json")
    found: list[dict[str, Any]] = json.loads(done.stdout)["devices"]
    return found


def problems(device: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {problem["code"]: problem for problem in device["problems"]}


def test_every_problem_is_told_with_its_remedy_and_before_the_rest(lab: Lab) -> None:
    away = {"name": "away", "transport": "ssh", "host": "127.0.0.1", "port": 1}
    expect = {"microarchitecture": "z80", "kernel": "1.0", "board_revision": 7}
    inventory = lab.inventory(away, lab.here(expect=expect))
    done = lab.run("devices", "--inventory", inventory)
    assert done.code == 1
    lines = [line.strip() for line in done.stdout.splitlines()]
    assert lines[0] == "Problems"
    assert lines[1].startswith("away: not reached: ") and "check the port" in lines[1]
    assert "expects microarchitecture z80" in lines[2] and "Remedy: correct `expect:`" in lines[2]
    assert "expects kernel 1.0" in lines[3]
    assert lines.index("Warnings") < lines.index(next(x for x in lines if "board_revision" in x))
    away_told, here = json.loads(lab.run("devices", "--inventory", inventory, "--json").stdout)[
        "devices"
    ]
    assert away_told["error"] and "microarchitecture" in here["error"]
    assert here["unverified_expectations"] == ["board_revision"]
    assert abs(here["clock_skew_s"]) <= here["clock_error_s"] + 0.01
    assert here["use"]["disk"]["free_bytes"] > 0 and here["to_push_bytes"] is None
    assert all(p["remedy"] for p in here["problems"])


def test_what_the_plan_needs_is_held_against_what_is_there(lab: Lab) -> None:
    suite = lab.suite(SCHEMES)
    (fit,) = look(lab, lab.here(), suite=suite)
    sizes = [path.stat().st_size for path in lab.models.glob("**/*.tflite")]
    assert min(sizes) < fit["to_push_bytes"] < sum(sizes)
    assert fit["error"] is None
    (without,) = look(lab, lab.here(python="/usr/bin/python3"), suite=suite)
    assert (without["error"], without["runtimes"]) == (None, {})  # a run gives it one
    duets = lab.suite(SCHEMES, factors="{threads: [64]}", protocol="{duet: true}")
    (unfit,) = look(lab, lab.here(), suite=duets)
    assert "128 are needed" in problems(unfit)["unfit"]["message"]
    assert "duet" in problems(unfit)["unfit"]["remedy"]


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk needs root")
def test_a_disk_without_room_is_a_problem(lab: Lab) -> None:
    with small_disk(lab.folder / "small", "20M") as folder:
        device = lab.here(workdir=folder / "agent")
        (found,) = look(lab, device, suite=lab.suite(SCHEMES))
        told = problems(found)["no_room"]
        assert told["grave"] and "make room" in told["remedy"]
        lab.run("agents", "stop", "--force", "--inventory", lab.inventory(device))


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Path]:
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size},mode=700", "tmpfs", str(folder)]
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("no small disk can be mounted here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def test_whoever_holds_the_lock_of_the_machine_is_named(lab: Lab) -> None:
    lock = os.open("/tmp", os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        shared, alone = look(lab, lab.here("shared"), lab.here("alone", exclusive=True))
    finally:
        os.close(lock)
    assert f"pid {os.getpid()}" in problems(alone)["in_use"]["message"]
    assert not problems(alone)["in_use"]["grave"] and "in_use" not in problems(shared)
    assert len(alone["use"]["agents"]) >= 2  # one a name here; whoever they belong to


def test_who_computes_there_is_named(lab: Lab) -> None:
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(2)]
    try:
        (found,) = look(lab, lab.here())
    finally:
        for process in busy:
            process.kill()
            process.wait()
    message = problems(found)["load"]["message"]
    assert f"{found['use']['busy_share']:.0%}" in message
    # which ones they are is the machine's matter: others may compute more on it
    assert all(f"pid {process['pid']}" in message for process in found["use"]["busiest"])


def test_an_agent_that_measures_for_another_run_is_named_and_left_alone(lab: Lab) -> None:
    inventory = lab.inventory(lab.here())
    run = lab.start("run", "--inventory", inventory, "--suite", lab.suite(SCHEMES))
    wait_until(lambda: lab.events("started"), "the first trial")
    (found,) = look(lab, lab.here())
    _, stderr = run.communicate(timeout=120)
    assert run.returncode == 0, stderr
    if found["trial"] is not None:  # between two trials nothing runs
        assert lab.runs()[0].name in problems(found)["busy"]["message"]
        assert "load" not in problems(found)


def test_a_busy_agent_of_another_version_is_asked_and_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = AgentPlace(sys.executable, str(tmp_path / "agent"))
    ours = agent_archive.build_agent_archive()
    sources = agent_archive._sources()
    with monkeypatch.context() as patch:
        patch.setattr(
            agent_archive, "_sources", lambda: {**sources, "orchestrate_agent/more.py": b"#\n"}
        )
        other = agent_archive.build_agent_archive()
    owner = reach(LocalTransport("here"), place, other)
    trial = TrialRequest("t", ("sleep", "600"), timeout_s=600.0, exclusive=False)
    owner.link.request("submit", run_id="theirs", device="here", trials=[trial.to_json()])
    try:
        with pytest.raises(AgentError, match="another version is busy"):
            reach(LocalTransport("here"), place, ours)
        looking = reach(LocalTransport("here"), place, ours, only_look=True)
        assert looking.hello["agent_hash"] == other.sha256 != ours.sha256
        found = survey(looking, Device(name="here", transport="local"), None)
        assert found.trial == "t of run theirs"
        assert [problem.code for problem in found.problems] == ["busy"]
        looking.close()
        assert owner.link.request("status")["running"] is not None
    finally:
        owner.link.request("shutdown", force=True)
        owner.close()
