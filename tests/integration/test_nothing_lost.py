"""What happens to a run when what it needs goes away, and comes back or does not."""

from __future__ import annotations

import contextlib
import json
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests import small_disk as small_disks
from tests import stand_in
from tests.agent_client import is_alive
from tests.lab import PROTOCOL, Lab, every_planned_trial_finished_once, wait_until
from tests.small_disk import SmallDisk, failing_disk, small_disk
from tests.sshd import Sshd, generate_key

SCHEMES = ["float32", "full_int8"]
LONG = (
    "{blocks: 12, precision: 0.9, warmup: {runs: 5, seconds: 0}, steady: {runs: 5, seconds: 0}, "
    "gate: {load: 1}, timeout: 60}"
)


@pytest.fixture
def binary(tmp_path: Path) -> Path:
    """A ``benchmark_model`` whose trials take a fifth of a second."""
    reason = stand_in.why_not()
    if reason is not None:
        pytest.skip(reason)
    return stand_in.build(tmp_path / "benchmark_model", "-DTAKES_US=200000")


@pytest.fixture
def side(lab: Lab, tmp_path: Path) -> Iterator[Sshd]:
    """An SSH server that is not running yet."""
    server = Sshd(tmp_path / "side", generate_key(tmp_path / "client"))
    try:
        yield server
    finally:
        lab.close()
        server.stop()
        server.end_leftovers()


def over_ssh(server: Sshd, binary: Path, **fields: Any) -> dict[str, Any]:
    return server.device("side", benchmark_model=binary, **fields)


def small(folder: Path, megabytes: int) -> contextlib.AbstractContextManager[SmallDisk]:
    reason = small_disks.why_not()
    if reason is not None:
        pytest.skip(reason)
    return small_disk(folder, megabytes)


class Said:
    """A command's stderr, as far as it has come."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self.text = ""

    def until(self, what: str) -> None:
        """Read on until it has said ``what``."""
        assert self._process.stderr is not None
        while what not in self.text:
            line = self._process.stderr.readline()
            assert line, f"it never said {what!r}:\n{self.text}"
            self.text += line

    def to_the_end(self) -> int:
        """Its exit code."""
        self.text += self._process.communicate(timeout=120)[1]
        assert "Traceback" not in self.text, self.text
        return self._process.returncode


def test_a_device_that_boots_when_the_run_begins_joins_it(
    lab: Lab, side: Sshd, binary: Path
) -> None:
    inventory = lab.inventory(lab.here(benchmark_model=binary), over_ssh(side, binary))
    suite = lab.suite(SCHEMES, LONG)
    controller = lab.start("run", "--inventory", inventory, "--suite", suite)
    said = Said(controller)
    said.until("[side] retrying")
    wait_until(lambda: lab.events("finished"), "a trial of the other device")
    side.start()
    assert said.to_the_end() == 0, said.text
    assert every_planned_trial_finished_once(lab.journal())
    assert {event["device"] for event in lab.events("finished")} == {"here", "side"}
    assert all(row["verdict"] != "invalid" for row in lab.table())
    # its binary was settled when it came, and resuming finds it in the manifest
    manifest = json.loads((lab.runs()[0] / "run.json").read_text())
    assert {each["device"] for each in manifest["binaries"]} == {"here", "side"}


def test_a_device_that_stays_away_is_given_up_and_comes_back_by_resuming(
    lab: Lab, side: Sshd, binary: Path
) -> None:
    here = lab.here(benchmark_model=binary)
    inventory = lab.inventory(here, over_ssh(side, binary, retry_for="24h"))
    done = lab.run("run", "--inventory", inventory, "--suite", lab.suite(SCHEMES))
    assert done.code == 1, done.stderr
    assert "the connection is refused" in lab.events("device_lost")[-1]["reason"]
    verdicts = {row["device"]: row["verdict"] for row in lab.table()}
    assert verdicts["here"] != "invalid"
    before = lab.events("finished")

    sooner = lab.inventory(here, over_ssh(side, binary, retry_for="2s"))
    nobody = lab.run("run", "--resume", "last", "--inventory", sooner)
    assert nobody.code == 3, nobody.stderr
    assert "no device could be reached" in nobody.stderr
    assert lab.events("finished") == before

    side.start()
    resumed = lab.run("run", "--resume", "last")
    assert resumed.code == 0, resumed.stderr
    assert every_planned_trial_finished_once(lab.journal())
    assert lab.events("finished")[: len(before)] == before
    assert {row["verdict"] for row in lab.table()} != {"invalid"}


def daemon_of(home: Path) -> int:
    pid: int = json.loads((home / "agent.lock").read_text())["pid"]
    return pid


def test_a_node_whose_disk_is_full_goes_on_once_there_is_room(lab: Lab, binary: Path) -> None:
    here = lab.here(benchmark_model=binary)
    with small(here["workdir"], 48) as disk:
        inventory = lab.inventory(here)
        controller = lab.start("run", "--inventory", inventory, "--suite", lab.suite(SCHEMES, LONG))
        wait_until(lambda: len(lab.events("finished")) >= 2, "two finished trials")
        disk.fill()
        said = Said(controller)
        said.until("make room on that disk")
        assert not is_alive(daemon_of(here["workdir"]))
        disk.make_room()
        assert said.to_the_end() == 0, said.text
        assert every_planned_trial_finished_once(lab.journal())
        # what could not be recorded was run again; it is not taken for a failure of the trial
        assert {event["outcome"] for event in lab.events("finished")} == {"ok"}
        lab.close()


def under_way(lab: Lab, known: int) -> bool:
    return len(lab.runs()) > known and len(lab.events("finished")) >= 2


def test_full_results_are_waited_for_and_then_resumed(lab: Lab, binary: Path) -> None:
    with small(lab.results, 8) as disk:
        for retry_for, ends_with in (("60s", 0), ("1s", 1)):
            inventory = lab.inventory(lab.here(benchmark_model=binary, retry_for=retry_for))
            suite = lab.suite(SCHEMES, LONG)
            known = len(lab.runs())
            controller = lab.start("run", "--inventory", inventory, "--suite", suite)
            said = Said(controller)
            said.until(" in results/")
            wait_until(
                partial(under_way, lab, known),
                "two finished trials",
            )
            disk.fill()
            said.until("cannot be written (No space left on device)")
            if ends_with == 0:
                disk.make_room()
            assert said.to_the_end() == ends_with, said.text
        assert "--resume" in said.text
        disk.make_room()
        before = lab.events("finished")
        resumed = lab.run("run", "--resume", "last")
        assert resumed.code == 0, resumed.stderr
        assert lab.events("finished")[: len(before)] == before
        for run in lab.runs():
            assert every_planned_trial_finished_once(lab.journal(run))
            for event in lab.events("finished", run):
                assert (run / event["log"]).stat().st_size > 0


def test_a_lease_that_ends_stops_in_time_and_a_later_one_goes_on(lab: Lab, binary: Path) -> None:
    ends = datetime.now(timezone.utc) + timedelta(seconds=60 + 12)
    here = lab.here(benchmark_model=binary)
    inventory = lab.inventory({**here, "lease_ends": ends.isoformat()})
    suite = lab.suite(SCHEMES, LONG.replace("blocks: 12", "blocks: 400"))
    done = lab.run("run", "--inventory", inventory, "--suite", suite)
    assert done.code == 1, done.stderr
    assert datetime.now(timezone.utc) < ends
    assert every_planned_trial_finished_once(lab.journal())
    (stopped,) = lab.events("stopped")
    assert f"the lease ends at {ends:%Y-%m-%d %H:%M:%S} UTC" in stopped["reason"]
    for text in (done.stdout, lab.run("report", "last").stdout):
        assert "stopped: the lease ends at" in " ".join(text.split())
    assert "--resume" in done.stderr
    assert "resumable" in lab.run("runs").stdout

    over = lab.inventory({**here, "lease_ends": "2026-01-01 00:00 UTC"})
    refused = lab.run("run", "--resume", "last", "--inventory", over)
    assert refused.code == 3
    assert "its lease ended at 2026-01-01 00:00:00 UTC" in refused.stderr

    before = len(lab.events("finished"))
    later = lab.inventory({**here, "lease_ends": "2036-01-01 00:00 UTC"})
    controller = lab.start("run", "--resume", "last", "--inventory", later)
    wait_until(lambda: len(lab.events("finished")) > before + 4, "trials in the new lease")
    controller.send_signal(signal.SIGINT)
    _, stderr = controller.communicate(timeout=120)
    assert controller.returncode == 130, stderr


def test_a_plan_says_which_lease_is_too_short(lab: Lab) -> None:
    soon = datetime.now(timezone.utc) + timedelta(minutes=10)
    inventory = lab.inventory(
        lab.here("short", lease_ends=soon.isoformat()),
        lab.here("long", lease_ends="2036-01-01 00:00 UTC"),
    )
    suite = lab.suite(SCHEMES, "{blocks: 30, steady: {runs: 30, seconds: 60}}")
    told = lab.run("plan", "--inventory", inventory, "--suite", suite)
    assert told.code == 0
    assert "short: its lease ends at" in told.stdout
    assert "long: its lease" not in told.stdout
    as_json = lab.run("plan", "--inventory", inventory, "--suite", suite, "--json").stdout
    assert len(json.loads(as_json)["leases_too_short"]) == 1


def interrupted(lab: Lab, said: Said, process: subprocess.Popen[str], times: int = 1) -> None:
    for _ in range(times):
        process.send_signal(signal.SIGINT)
    assert said.to_the_end() == 130, said.text


def test_ctrl_c_ends_at_once_while_a_host_does_not_answer(lab: Lab, binary: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:  # accepts, and never greets
        mute = {"name": "mute", "transport": "ssh", "host": "127.0.0.1", "connect_timeout": "90s"}
        inventory = lab.inventory(
            lab.here(benchmark_model=binary), {**mute, "port": silent.getsockname()[1]}
        )
        began = datetime.now(timezone.utc)
        controller = lab.start("run", "--inventory", inventory, "--suite", lab.suite(SCHEMES))
        said = Said(controller)
        said.until("[here] ready")
        interrupted(lab, said, controller)
        assert datetime.now(timezone.utc) - began < timedelta(seconds=60)
    assert not lab.runs()


@pytest.mark.parametrize("when", ["pushing", "retrying"])
def test_ctrl_c_while_nothing_is_measured_is_resumed(
    lab: Lab, side: Sshd, binary: Path, when: str
) -> None:
    side.start()
    inventory = lab.inventory(over_ssh(side, binary))
    controller = lab.start("run", "--inventory", inventory, "--suite", lab.suite(SCHEMES))
    said = Said(controller)
    if when == "retrying":
        wait_until(lambda: lab.events("finished"), "a finished trial")
        side.kill()
    said.until(f"[side] {when}")
    interrupted(lab, said, controller)
    assert "orchestrate run --resume" in said.text
    if when == "retrying":
        side.start()
    resumed = lab.run("run", "--resume", "last")
    assert resumed.code == 0, resumed.stderr
    assert every_planned_trial_finished_once(lab.journal())


def cut(journal: Path, *, keep_share: float) -> str:
    """Tear the last line; returns the event that it was."""
    data = journal.read_bytes()
    last = data.splitlines(keepends=True)[-1]
    journal.write_bytes(data[: len(data) - len(last) + int(len(last) * keep_share)])
    event: str = json.loads(last)["event"]
    return event


@pytest.mark.parametrize("kind", ["planned", "finished", "device_ready"])
def test_whatever_event_the_torn_line_was_the_run_goes_on(
    lab: Lab, binary: Path, kind: str
) -> None:
    """Also a ``planned`` one of a trial that the agent has already, as on a disk that lied."""
    suite, inventory = lab.suite(SCHEMES), lab.inventory(lab.here(benchmark_model=binary))
    controller = lab.start("run", "--inventory", inventory, "--suite", suite)
    wait_until(lambda: len(lab.events("finished")) >= 4, "four finished trials")
    controller.kill()
    controller.communicate()
    journal = lab.runs()[-1] / "journal.jsonl"
    lines = journal.read_bytes().splitlines(keepends=True)
    at = max(n for n, line in enumerate(lines) if json.loads(line)["event"] == kind)
    journal.write_bytes(b"".join(lines[: at + 1]))
    assert cut(journal, keep_share=0.6) == kind
    resumed = lab.run("run", "--resume", "last")
    assert resumed.code == 0, resumed.stderr
    assert "the last line was torn" in resumed.stderr
    assert every_planned_trial_finished_once(lab.journal())


def test_ctrl_c_while_models_are_built_leaves_no_run_and_no_child(lab: Lab) -> None:
    models = lab.folder / "none-yet"
    controller = lab.start(
        *("run", "--inventory", lab.inventory(lab.here()), "--suite", lab.suite(SCHEMES)),
        *("--models", models),
    )
    said = Said(controller)
    said.until("models 0/")
    interrupted(lab, said, controller)
    assert not lab.runs()
    assert not [p for p in Path("/proc").glob("[0-9]*/cwd") if _leads_to(p, models)]


def _leads_to(link: Path, folder: Path) -> bool:
    try:
        return link.readlink().is_relative_to(folder)
    except OSError:
        return False  # it ended meanwhile


def test_results_on_a_disk_with_errors_are_waited_for_and_then_resumed(
    lab: Lab, binary: Path, tmp_path: Path
) -> None:
    if small_disks.why_not() is not None:
        pytest.skip(f"{small_disks.why_not()}")
    with contextlib.ExitStack() as stack:
        try:
            disk = stack.enter_context(failing_disk(lab.results, tmp_path / "image"))
        except (OSError, subprocess.CalledProcessError) as exc:
            pytest.skip(f"no disk that fails can be made here: {exc}")
        inventory = lab.inventory(lab.here(benchmark_model=binary, retry_for="2s"))
        controller = lab.start("run", "--inventory", inventory, "--suite", lab.suite(SCHEMES, LONG))
        wait_until(lambda: len(lab.events("finished")) >= 2, "two finished trials")
        disk.fail()
        said = Said(controller)
        assert said.to_the_end() != 0
        assert "retrying" in said.text and "The file system is read-only" in said.text
        assert "Make room" not in said.text and "make room" not in said.text
        assert "unforeseen" not in said.text
        disk.mend()
        resumed = lab.run("run", "--resume", "last")
        assert resumed.code == 0, resumed.stderr
        assert every_planned_trial_finished_once(lab.journal())
        lab.close()


def test_a_runs_folder_that_was_removed_is_made_again(lab: Lab, binary: Path) -> None:
    inventory = lab.inventory(lab.here(benchmark_model=binary))
    controller = lab.start("run", "--inventory", inventory, "--suite", lab.suite(SCHEMES, LONG))
    wait_until(lambda: len(lab.events("finished")) >= 2, "two finished trials")
    run = lab.runs()[0]
    shutil.rmtree(run)
    said = Said(controller)
    assert said.to_the_end() == 0, said.text
    assert f"{run.name} was removed and is made again" in said.text
    assert every_planned_trial_finished_once(lab.journal(run))
    # two of memory, two that look at what the files compute, and the blocks
    assert len({event["trial_id"] for event in lab.events("finished", run)}) == 2 + 2 + 12 * 3
    assert lab.run("report", "last").code == 0


def test_models_that_are_read_only_are_enough_where_nothing_has_to_be_written(
    lab: Lab, binary: Path, tmp_path: Path
) -> None:
    reason = small_disks.why_not()
    if reason is not None:
        pytest.skip(reason)
    for model in lab.models.glob("*.tflite"):
        for scheme in SCHEMES:
            if f"-{scheme}-" in model.name:
                shutil.copy(model, lab.folder / f"own_{scheme}.tflite")
    own = lab.folder / "own.yaml"
    files = ", ".join(f"{{file: own_{scheme}.tflite}}" for scheme in SCHEMES)
    own.write_text(f"models: [{files}]\nprotocol: {PROTOCOL}\n")
    inventory = lab.inventory(lab.here(benchmark_model=binary))
    suites = [lab.suite(SCHEMES), own]
    for suite in suites:  # what is to be kept is kept once
        first = lab.run("run", "--inventory", inventory, "--suite", suite)
        assert first.code == 0, first.stderr
    subprocess.run(["mount", "--bind", lab.models, lab.models], check=True)
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", lab.models], check=True)
        for suite in suites:
            again = lab.run("run", "--inventory", inventory, "--suite", suite)
            assert again.code == 0, again.stderr
        assert lab.run("run", "--resume", "last").code == 0
    finally:
        subprocess.run(["umount", lab.models], check=True)
