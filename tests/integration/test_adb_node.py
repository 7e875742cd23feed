"""What the agent does on an Android device, through a fake ``adb`` (see ``tests/fake_adb.py``)."""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrate_agent import home
from orchestrate_agent.android.adb import Adb, DeviceLostError
from orchestrate_agent.android.blobs import AdbBlobs, put
from orchestrate_agent.android.node import AdbNode
from orchestrate_agent.errors import EXIT_PASSING, EXIT_WRONG_BYTES, AgentError
from orchestrate_agent.files.blobs import DamagedBlobError
from orchestrate_agent.node import Command
from orchestrate_agent.process.trial import Ending
from orchestrator.fleet.agent_archive import build_agent_archive
from tests import fake_adb
from tests.fake_adb import FakeAdb
from tests.lab import wait_until

DATA = b"the bytes of a model"
SHA = hashlib.sha256(DATA).hexdigest()


@pytest.fixture
def adb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeAdb]:
    if reason := fake_adb.why_not():
        pytest.skip(reason)
    adb = FakeAdb(tmp_path / "adb")
    before = children()
    monkeypatch.setenv("PATH", f"{adb.bin}:{os.environ['PATH']}")
    yield adb
    adb.unplug()
    wait_until(lambda: all_ended(children() - before), "the end of what ran on the device")


def children() -> set[int]:
    """The processes whose parent this one is: other tests leave some that they go on using."""
    tasks = Path("/proc/self/task").iterdir()
    return {int(pid) for task in tasks for pid in (task / "children").read_text().split()}


def all_ended(adopted: set[int]) -> bool:
    """Having started a trial, this process adopts what the fake leaves; see
    ``orchestrate_agent.process.launch``."""
    for pid in adopted:
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)
    return not adopted


@pytest.fixture
def node(adb: FakeAdb, tmp_path: Path) -> AdbNode:
    archive = tmp_path / "agent.pyz"
    archive.write_bytes(build_agent_archive().data)
    return AdbNode(adb.serial, str(archive))


@pytest.fixture
def in_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)  # so that leaving the home is undone
    yield Path(home.enter(str(tmp_path / "home")))


def run(node: AdbNode, folder: Path, *argv: str, timeout_s: float = 60.0) -> Ending:
    folder.mkdir()
    command = Command(argv, {"OWN": "a b"}, timeout_s, (0,), exclusive=True, name="t-1")
    process = node.process(command, str(folder))
    return node.ended(process.run(), process, str(folder))


def running(word: str) -> list[int]:
    """The device's processes whose command line has this word."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if word.encode() in words and b"adb-trial" not in words:
            found.append(int(folder.name))
    return found


def test_a_command_ends_here_as_it_ended_there(node: AdbNode, tmp_path: Path) -> None:
    script = 'echo "to be read: $OWN"; printf wrong >&2; taskset -p $$; exit 7'
    ended = run(node, tmp_path / "one", "sh", "-c", script)
    assert (ended.exit_code, ended.signal, ended.timed_out) == (7, None, False)
    assert ended.stdout.startswith("to be read: a b\n")
    assert ended.stdout.rstrip().endswith("mask: 1")
    assert ended.stderr == "wrong"
    busy = "i=0; while [ $i -lt 60000 ]; do i=$((i+1)); done"
    assert run(node, tmp_path / "two", "sh", "-c", busy).rusage["user_s"] > 0
    ended = run(node, tmp_path / "three", "sh", "-c", "kill -SEGV $$")
    assert (ended.exit_code, ended.signal) == (None, signal.SIGSEGV)
    ended = run(node, tmp_path / "four", "no-such-tool")
    assert ended.exit_code == 127 and "no-such-tool" in ended.stderr


def test_a_timeout_ends_the_tool_on_the_device(node: AdbNode, tmp_path: Path) -> None:
    ended = run(node, tmp_path / "slow", "sleep", "86399.5", timeout_s=0.5)
    assert ended.timed_out and ended.exit_code is None
    assert not running("86399.5")


def test_a_connection_that_breaks_is_no_end_of_a_trial_and_leaves_nothing(
    adb: FakeAdb, node: AdbNode, tmp_path: Path
) -> None:
    def pull() -> None:
        wait_until(lambda: running("86399.25"), "the tool")
        adb.unplug("offline")

    pulling = threading.Thread(target=pull)
    pulling.start()
    with pytest.raises(DeviceLostError, match=r"is `offline`; plug it in again"):
        run(node, tmp_path / "cut", "sleep", "86399.25")
    pulling.join()
    # the device ends it by itself: nobody can tell it to
    wait_until(lambda: not running("86399.25"), "its end")
    adb.plug()
    assert run(node, tmp_path / "again", "true").exit_code == 0


def test_two_controllers_take_turns_and_what_one_left_is_ended(
    adb: FakeAdb, node: AdbNode, tmp_path: Path
) -> None:
    one, other = (node.lock(threading.Condition()) for _ in range(2))
    assert one.acquire(lambda: False) == "held"
    assert node.survey()["lock"]["held"]
    waited = threading.Thread(target=other.acquire, args=(lambda: False,))
    waited.start()
    # as an exclusive trial leaves it whose shell there was killed with it
    script = "export ORCHESTRATE_EXCLUSIVE=1; sleep 86399.75 >/dev/null 2>&1 & :"
    Adb(adb.serial).shell(script)
    assert running("86399.75")
    assert waited.is_alive()
    one.release()
    waited.join()
    assert not running("86399.75")
    other.release()
    changed = threading.Condition()
    given_up = node.lock(changed)
    assert given_up.acquire(lambda: True) is None
    adb.unplug()
    with pytest.raises(DeviceLostError):
        node.lock(changed).acquire(lambda: False)


def test_a_blob_is_pushed_once_and_checked_there(adb: FakeAdb, in_home: Path) -> None:
    device = Adb(adb.serial)
    device.prepare()
    assert put(device, SHA, len(DATA), io.BytesIO(DATA)) == "stored"
    assert put(device, SHA, len(DATA), io.BytesIO(DATA)) == "present"
    assert len(adb.calls("push")) == 1
    assert adb.blobs() == {SHA}
    assert not list((in_home / "blobs").iterdir())
    blobs = AdbBlobs(device)
    assert blobs.present([SHA, "0" * 64]) == {SHA}
    assert blobs.path(SHA) == f"/data/local/tmp/orchestrate/blobs/{SHA}"
    there = adb.there / "orchestrate" / "blobs" / SHA
    there.write_bytes(DATA + b"!")
    assert blobs.present([SHA]) == {SHA}  # it looks anew, and reads no bytes
    with pytest.raises(DamagedBlobError, match="damaged on the device"):
        blobs.executable(SHA)
    assert not there.exists()
    with pytest.raises(DamagedBlobError, match="not on the device any more"):
        blobs.path(SHA)


def test_bytes_that_were_damaged_on_their_way_never_land(adb: FakeAdb, in_home: Path) -> None:
    device = Adb(adb.serial)
    device.prepare()
    adb.damage_pushes()
    with pytest.raises(AgentError, match="send it again") as caught:
        put(device, SHA, len(DATA), io.BytesIO(DATA))
    assert caught.value.exit_code == EXIT_WRONG_BYTES
    assert not adb.blobs()


@pytest.mark.parametrize(
    ("state", "remedy"),
    [
        ("unauthorized", "accept this machine's key there"),
        ("offline", "adb reconnect"),
        ("no permissions (missing udev rules?); see [http://developer.android.com]", "udev"),
        ("recovery", "adb reboot"),
        (None, "does not list device FAKE0001.*USB debugging"),
    ],
)
def test_a_device_that_cannot_be_used_is_told_with_its_remedy(
    adb: FakeAdb, state: str | None, remedy: str
) -> None:
    adb.unplug(state)
    with pytest.raises(DeviceLostError, match=remedy) as caught:
        Adb(adb.serial).prepare()
    assert caught.value.exit_code == EXIT_PASSING


def test_what_cannot_tell_streams_apart_is_refused(adb: FakeAdb) -> None:
    (adb.folder / "features").write_text("cmd\n")
    with pytest.raises(AgentError, match="Android 7 or later"):
        Adb(adb.serial).prepare()


def test_a_machine_without_adb_is_told_where_it_comes_from(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(AgentError, match="platform-tools"):
        Adb("FAKE0001").prepare()


def test_facts_are_the_device_s_in_its_own_words(node: AdbNode) -> None:
    facts = node.facts()
    assert facts["board"] == {"vendor": "Example", "product": "Phone 8"}
    assert facts["system"]["distribution"] == "Android 14"
    assert facts["system"]["architecture"] == os.uname().machine
    assert facts["python"] is None
    assert facts["android"] == {
        "release": "14",
        "sdk": "34",
        "abi": "x86_64",
        "soc": "Example EX2400",
        "battery_percent": 87,
        "battery_c": 30.1,
        "battery": "charging",
    }
    # as far as the fake has this machine's
    assert facts["cpu"]["logical_cpus"] == os.cpu_count()
    assert facts["memory"]["total_bytes"] > 0
    before, after = node.health(), node.health()
    assert before["boot_id"] == facts["boot_id"]
    assert after["cpu_s"] is not None and after["running_processes"] >= 1
