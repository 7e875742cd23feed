"""``transport: exec``: a device behind a command that gives stdin and stdout there."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.errors import PermanentDeviceError, TransientDeviceError
from orchestrator.fleet.carried import CarriedTransport
from tests import stand_in
from tests.lab import Lab, every_planned_trial_finished_once


@pytest.fixture
def container() -> Iterator[int]:
    """A process with mounts, processes and a host name of its own, which nsenter leads into."""
    if os.geteuid() != 0 or shutil.which("unshare") is None or shutil.which("nsenter") is None:
        pytest.skip("namespaces need root, unshare and nsenter")
    script = "hostname boxed; echo ready; exec sleep 600"
    with subprocess.Popen(
        [
            "unshare",
            "--mount",
            "--uts",
            "--pid",
            "--fork",
            "--kill-child",
            "--mount-proc",
            "sh",
            "-c",
            script,
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as outer:
        try:
            if outer.stdout is None or outer.stdout.readline() != "ready\n":
                pytest.skip("namespaces are not permitted here")
            children = Path(f"/proc/{outer.pid}/task/{outer.pid}/children").read_text()
            inner = int(children.split()[0])
            yield inner
        finally:
            outer.kill()  # its first process, and with that all of them, go with it


def test_a_run_in_a_container_whose_daemon_outlives_every_command(lab: Lab, container: int) -> None:
    device = lab.here("boxed")
    device |= {"transport": "exec", "exec": f"nsenter -t {container} -m -u -p"}
    device |= {"python": lab.command()[0]}
    inventory = lab.inventory(device)
    ended = lab.run("run", "--inventory", inventory, "--suite", lab.suite(["float32", "full_int8"]))
    assert ended.code == 0, ended.stderr
    (ready,) = lab.events("device_ready")
    assert ready["facts"]["hostname"] == "boxed"
    finished = lab.events("finished")
    assert finished and {event["outcome"] for event in finished} == {"ok"}
    status = lab.run("agents", "status", "--inventory", inventory)
    assert status.code == 0 and "boxed" in status.stdout


def test_a_run_carried_by_a_plain_shell(lab: Lab, tmp_path: Path) -> None:
    reason = stand_in.why_not()
    if reason is not None:
        pytest.skip(reason)
    device = lab.here("shell", benchmark_model=stand_in.build(tmp_path / "benchmark_model"))
    device |= {"transport": "exec", "exec": "sh -c {command}", "python": sys.executable}
    suite = lab.suite(["float32", "full_int8"])
    ended = lab.run("run", "--inventory", lab.inventory(device), "--suite", suite)
    assert ended.code == 0, ended.stderr
    assert {event["outcome"] for event in lab.events("finished")} == {"ok"}
    assert every_planned_trial_finished_once(lab.journal())


def test_a_program_that_is_not_there_is_for_good_and_a_refusal_may_pass(tmp_path: Path) -> None:
    with pytest.raises(PermanentDeviceError, match=r"no-such-carrier.*correct `exec:`"):
        CarriedTransport("a", ["no-such-carrier", "x"]).connect()
    refusing = ["sh", "-c", "echo 'container is restarting' >&2; exit 1", "{command}"]
    with pytest.raises(TransientDeviceError, match=r"exit code 1.*container is restarting"):
        CarriedTransport("a", refusing).connect()


def test_what_a_carrier_prints_itself_is_no_answer() -> None:
    with pytest.raises(TransientDeviceError, match="started no command there"):
        CarriedTransport("a", ["true"]).connect()


def test_a_device_goes_away_and_comes_back(lab: Lab, container: int) -> None:
    carrier = CarriedTransport("a", ["nsenter", "-t", str(container), "-m", "-u", "-p"])
    carrier.connect()
    channel = carrier.open(["cat"])
    channel.send(b"there\n")
    assert channel.readline(10) == b"there"
    os.kill(container, 9)
    with pytest.raises(TransientDeviceError):
        channel.readline(10)
    deadline = time.monotonic() + 10
    while Path(f"/proc/{container}").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    with pytest.raises(TransientDeviceError):
        carrier.connect()
    carrier.close()
