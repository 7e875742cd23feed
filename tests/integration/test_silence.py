"""What happens to a run when its agent says nothing: stopped, hung, held up, or not to be found."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import stand_in
from tests.agent_client import is_alive
from tests.lab import Lab, every_planned_trial_finished_once, wait_until
from tests.sshd import Sshd, generate_key

SCHEMES = ["float32", "full_int8"]
#: A trial takes a fifth of a second, so that after these every silence is noticed within seconds.
PROTOCOL = (
    "{blocks: 6, precision: 0.9, warmup: {runs: 5, seconds: 0}, steady: {runs: 5, seconds: 0}, "
    "check: {trials: 0}, gate: {load: 1}, timeout: 2}"
)
ANSWER_WITHIN = "2s"


@pytest.fixture
def binary(tmp_path: Path) -> Path:
    """A ``benchmark_model`` whose trials take a fifth of a second."""
    reason = stand_in.why_not()
    if reason is not None:
        pytest.skip(reason)
    return stand_in.build(tmp_path / "benchmark_model", "-DTAKES_US=200000")


@pytest.fixture(params=["local", "ssh"])
def device(
    request: pytest.FixtureRequest, lab: Lab, tmp_path: Path, binary: Path
) -> Iterator[dict[str, Any]]:
    """This machine, directly and as an SSH server; its agent's home is ``workdir``."""
    fields: dict[str, Any] = {"benchmark_model": binary, "answer_within": ANSWER_WITHIN}
    if request.param == "local":
        yield lab.here(**fields)
        lab.close()
        return
    server = Sshd(tmp_path / "side", generate_key(tmp_path / "client"))
    server.start()
    try:
        yield server.device("side", workdir=server.home / "agent", **fields)
    finally:
        lab.close()
        server.stop()
        server.end_leftovers()


def daemon_of(device: dict[str, Any]) -> int:
    pid: int = json.loads((device["workdir"] / "agent.lock").read_text())["pid"]
    return pid


def begun(lab: Lab, device: dict[str, Any], protocol: str = PROTOCOL) -> subprocess.Popen[str]:
    """A run that has finished two trials."""
    suite = lab.suite(SCHEMES, protocol)
    controller = lab.start("run", "--inventory", lab.inventory(device), "--suite", suite)
    wait_until(lambda: len(lab.events("finished")) >= 2, "two finished trials")
    return controller


def ended(lab: Lab, controller: subprocess.Popen[str], code: int = 0) -> str:
    """What the run said, which ends by itself and has lost nothing."""
    said = controller.communicate(timeout=90)[1]
    assert "Traceback" not in said, said
    assert controller.returncode == code, said
    assert every_planned_trial_finished_once(lab.journal())
    return said


def test_a_stopped_agent_is_replaced(lab: Lab, device: dict[str, Any]) -> None:
    controller = begun(lab, device)
    pid = daemon_of(device)
    os.kill(pid, signal.SIGSTOP)
    said = ended(lab, controller)
    assert "retrying" in said and "was it stopped, or does it hang?" in said
    assert not is_alive(pid)
    # what its end was not heard of counts for nothing, and is run again
    assert {event["outcome"] for event in lab.events("finished")} == {"ok"}


def test_an_agent_that_goes_on_in_time_is_forgiven(lab: Lab, device: dict[str, Any]) -> None:
    controller = begun(lab, device)
    pid = daemon_of(device)
    os.kill(pid, signal.SIGSTOP)
    time.sleep(2.5)  # beyond the trial's timeout, and within the bound of an answer
    os.kill(pid, signal.SIGCONT)
    assert "retrying" not in ended(lab, controller)
    assert {event["outcome"] for event in lab.events("finished")} == {"ok"}


def test_an_agent_whose_home_was_removed_says_so_and_another_begins(
    lab: Lab, device: dict[str, Any]
) -> None:
    controller = begun(lab, device)
    pid = daemon_of(device)
    shutil.rmtree(device["workdir"], ignore_errors=True)
    said = ended(lab, controller)
    assert not is_alive(pid)
    assert f"cannot write {device['workdir']}" in said
    assert {event["outcome"] for event in lab.events("finished")} == {"ok"}


def test_an_agent_whose_socket_was_removed_is_reached_and_stopped(
    lab: Lab, device: dict[str, Any]
) -> None:
    controller = begun(lab, device)
    pid = daemon_of(device)
    (device["workdir"] / "agent.sock").unlink()
    os.killpg(controller.pid, signal.SIGKILL)
    controller.communicate()
    inventory = lab.inventory(device)
    refused = lab.run("agents", "stop", "--inventory", inventory)
    if "busy" in refused.stdout:  # its last trials may have ended meanwhile
        assert refused.code == 1 and "--force" in refused.stdout
        assert is_alive(pid)
    (device["workdir"] / "agent.sock").unlink(missing_ok=True)
    ended(lab, lab.start("run", "--resume", "last"))
    stopped = lab.run("agents", "stop", "--force", "--inventory", inventory)
    assert stopped.code == 0 and "stopped" in stopped.stdout
    wait_until(lambda: not is_alive(pid), "the agent's end")


def test_whoever_holds_the_machines_lock_is_named(lab: Lab, device: dict[str, Any]) -> None:
    device["exclusive"] = True
    with subprocess.Popen(
        ["flock", "/tmp", "sh", "-c", "echo; exec sleep 300"], stdout=-1
    ) as holder:
        try:
            assert holder.stdout is not None and holder.stdout.readline()
            inventory = lab.inventory(device)
            suite = lab.suite(SCHEMES, PROTOCOL)
            controller = lab.start("run", "--inventory", inventory, "--suite", suite)
            name = device["name"]
            said = ""
            assert controller.stderr is not None
            waiting = f"[{name}] waiting 0/"
            while waiting not in said:
                line = controller.stderr.readline()
                assert line, said
                said += line
            assert f"which flock (pid {holder.pid}, user root) holds" in said
            looked = lab.run("devices", "--inventory", inventory)
            assert f"flock (pid {holder.pid}, user root) holds the lock" in looked.stdout
            status = lab.run("agents", "status", "--inventory", inventory).stdout
            assert "waits for" in status and f"pid {holder.pid}" in " ".join(status.split())
            busy = lab.run("agents", "stop", "--inventory", inventory)
            assert busy.code == 1 and "busy" in busy.stdout, busy
        finally:
            subprocess.run(["pkill", "-P", str(holder.pid)], check=False)
    said = ended(lab, controller)
    assert f"[{name}] running" in said


def test_an_agent_here_keeps_nothing_of_ours_that_it_does_not_need(
    lab: Lab, binary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = lab.environment()
    monkeypatch.setattr(lab, "environment", lambda: {**ours, "MY_TOKEN": "secret", "LC_ALL": "C"})
    device = lab.here(benchmark_model=binary)
    done = lab.run("devices", "--inventory", lab.inventory(device))
    assert done.code == 0, done.stderr
    names = {
        each.partition(b"=")[0].decode()
        for each in Path(f"/proc/{daemon_of(device)}/environ").read_bytes().split(b"\0")
        if each
    }
    assert {"PATH", "HOME", "LC_ALL"} <= names
    assert not names & {"MY_TOKEN", "PYTHONPATH", "ORCHESTRATE_TRACEBACK"}
    lab.close()
