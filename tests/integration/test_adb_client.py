"""The agent and the real ``adb``, where it is installed, before an imitation of a device's end.

What the client itself does with streams, exit codes and the end of a connection is what the fake of
the other tests only claims.
"""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrate_agent import home
from orchestrate_agent.android.adb import Adb, DeviceLostError
from orchestrate_agent.android.blobs import put
from orchestrate_agent.android.node import AdbNode
from orchestrate_agent.node import Command
from orchestrate_agent.process.trial import Ending
from orchestrator.fleet.agent_archive import build_agent_archive
from tests import fake_adb
from tests.adbd import Adbd
from tests.lab import wait_until


@pytest.fixture
def adbd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Adbd]:
    if shutil.which("adb") is None:
        pytest.skip("there is no adb")
    if reason := fake_adb.why_not():
        pytest.skip(reason)
    with socket.create_server(("127.0.0.1", 0)) as free:  # a server of the test's own
        monkeypatch.setenv("ANDROID_ADB_SERVER_PORT", str(free.getsockname()[1]))
    monkeypatch.setenv("HOME", str(tmp_path))  # where it keeps its key
    there = tmp_path / "there"
    there.mkdir()
    adbd = Adbd(there, {"PATH": fake_adb.path_there()})
    subprocess.run(["adb", "connect", adbd.serial], check=True, capture_output=True)
    wait_until(lambda: Adb(adbd.serial).state() == "device", "the device")
    yield adbd
    adbd.close()
    subprocess.run(["adb", "kill-server"], check=True, capture_output=True)


def test_trials_on_a_device_behind_the_real_client(
    adbd: Adbd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = tmp_path / "agent.pyz"
    archive.write_bytes(build_agent_archive().data)
    node = AdbNode(adbd.serial, str(archive))

    def run(*argv: str, timeout_s: float = 60.0) -> Ending:
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        folder.mkdir()
        command = Command(argv, {}, timeout_s, (0,), exclusive=True, name="t-1")
        process = node.process(command, str(folder))
        return node.ended(process.run(), process, str(folder))

    def running(word: str) -> bool:
        found = node._adb.shell(f"grep -ls {word} /proc/[0-9]*/cmdline | wc -l")
        return int(found) > 0

    lock = node.lock(threading.Condition())
    assert lock.acquire(lambda: False) == "held"
    assert node.survey()["lock"]["held"]
    ended = run("sh", "-c", "echo out; echo wrong >&2; exit 7")
    assert (ended.exit_code, ended.stdout, ended.stderr) == (7, "out\n", "wrong\n")
    assert ended.rusage["user_s"] is not None
    assert run("sh", "-c", "kill -SEGV $$").signal == signal.SIGSEGV
    assert run("sleep", "86397.5", timeout_s=0.5).timed_out
    assert not running("8639[7].5")  # in brackets, so that the command line of grep does not match
    lock.release()
    wait_until(lambda: not node.survey()["lock"]["held"], "the lock's end")

    monkeypatch.chdir(tmp_path)
    home.enter(str(tmp_path / "home"))
    data = os.urandom(300_000)
    sha256 = hashlib.sha256(data).hexdigest()
    assert put(Adb(adbd.serial), sha256, len(data), io.BytesIO(data)) == "stored"
    assert node.blobs.present([sha256]) == {sha256}
    assert node.blobs.path(sha256).endswith(sha256)

    def pull() -> None:
        wait_until(lambda: running("8639[7].25"), "the tool")
        subprocess.run(["adb", "disconnect", adbd.serial], check=True, capture_output=True)

    pulling = threading.Thread(target=pull)
    pulling.start()
    with pytest.raises(DeviceLostError, match="does not list device"):
        run("sleep", "86397.25")
    pulling.join()
    subprocess.run(["adb", "connect", adbd.serial], check=True, capture_output=True)
    wait_until(lambda: not running("8639[7].25"), "its end by itself")
    assert run("true").exit_code == 0
