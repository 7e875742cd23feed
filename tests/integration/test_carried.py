"""``transport: exec``: a device behind a command that gives stdin and stdout there."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.errors import PermanentDeviceError, TransientDeviceError
from orchestrator.fleet.carried import CarriedTransport
from tests import stand_in
from tests.lab import Lab, every_planned_trial_finished_once, wait_until


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


def test_a_received_run_goes_on_by_the_command_in_its_folder_once_it_is_trusted(
    lab: Lab, built: Path, tmp_path: Path
) -> None:
    """Whoever is sent an interrupted run reads what it would start, or nothing is started."""
    reason = stand_in.why_not()
    if reason is not None:
        pytest.skip(reason)
    started = tmp_path / "started"
    carrier = tmp_path / "carry"
    carrier.write_text(f'#!/bin/sh\necho "$1" >> {started}\nexec sh -c "$1"\n')
    carrier.chmod(0o755)
    slow = stand_in.build(tmp_path / "benchmark_model", "-DTAKES_US=200000")
    device = lab.here("boxed", benchmark_model=slow)
    device |= {"transport": "exec", "exec": f"{carrier} {{command}}", "python": sys.executable}
    suite = lab.suite(["float32", "full_int8"])
    sender = lab.start("run", "--inventory", lab.inventory(device), "--suite", suite)
    wait_until(lambda: lab.events("finished"), "the first trial's end")
    sender.send_signal(signal.SIGINT)
    sender.communicate(timeout=60)
    assert sender.returncode == 130
    before = len(lab.events("finished"))

    receiver = Lab(tmp_path / "receiver", built)
    receiver.results.mkdir()
    shutil.move(lab.runs()[0], receiver.results)
    (run,) = receiver.runs()
    started.unlink()
    files = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    resume: tuple[str | Path, ...] = ("run", "--resume", run, "--models", lab.models)
    for _ in range(2):
        refused = receiver.run(*resume)
        assert refused.code == 2
        assert f"boxed: exec: {carrier} '{{command}}'" in refused.stderr
        assert "then add --trust" in refused.stderr
    assert not started.exists()
    assert files == {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}

    done = receiver.run(*resume, "--trust")
    assert done.code == 0, done.stderr
    assert started.exists()
    assert every_planned_trial_finished_once(receiver.journal())
    assert len(receiver.events("finished")) > before
    (row,) = receiver.table()
    assert (row["device"], row["blocks"]) == ("boxed", "6")
    # what was trusted once is known from then on
    again = receiver.run(*resume)
    assert again.code == 0 and "nothing is left to do" in again.stderr


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
