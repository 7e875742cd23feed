"""``transport: adb``: whole runs on a fake device (see ``tests/fake_adb.py``), never on a phone."""

from __future__ import annotations

import json
import os
import signal
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests import fake_adb
from tests import stand_in as stand_ins
from tests.fake_adb import FakeAdb
from tests.lab import Lab, every_planned_trial_finished_once, wait_until

SCHEMES = ["float32", "full_int8"]


@pytest.fixture
def adb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeAdb:
    if reason := fake_adb.why_not() or stand_ins.why_not():
        pytest.skip(reason)
    adb = FakeAdb(tmp_path / "adb")
    monkeypatch.setenv("PATH", f"{adb.bin}:{os.environ['PATH']}")
    return adb


@pytest.fixture
def slow(tmp_path: Path) -> Path:
    """The stand-in: it keeps a diary and takes its time, so that it can be interrupted."""
    diary = tmp_path / "diary"
    return stand_ins.build(tmp_path / "slow", f'-DDIARY="{diary}"', "-DTAKES_US=200000")


def phone(lab: Lab, adb: FakeAdb, binary: Path, **fields: Any) -> dict[str, Any]:
    home = {"workdir": lab.folder / "agents", "benchmark_model": str(binary)}
    return {"name": "phone", "transport": "adb", "serial": adb.serial, **home, **fields}


def trials(adb: FakeAdb, what: str) -> Counter[str]:
    """How often each trial began, or ended, by the diary that the tool itself keeps."""
    lines = [line.split() for line in (adb.folder.parent / "diary").read_text().splitlines()]
    # RUN/DEVICE/TRIAL/RANDOM
    return Counter(mark.split("/")[2] for word, _, mark in lines if word == what)


def test_a_run_is_like_any_other_and_pushes_once(lab: Lab, adb: FakeAdb, stand_in: Path) -> None:
    suite = lab.suite(SCHEMES, factors="{threads: [1]}")
    inventory = lab.inventory(phone(lab, adb, stand_in, pin=True))
    done = lab.run("run", "--inventory", inventory, "--suite", suite)
    assert done.code == 0, done.stderr
    assert every_planned_trial_finished_once(lab.journal())
    (ready,) = lab.events("device_ready")
    assert ready["facts"]["android"]["soc"] == "Example EX2400"
    finished = lab.events("finished")
    for event in finished:
        assert (event["runner"], event["outcome"], event["exit_code"]) == (
            "benchmark_model",
            "ok",
            0,
        )
        assert event["machine_lock"] == "held"
        assert event["rusage"]["user_s"] is not None
        assert event["health"]["cpu_s"] is not None
        assert event["energy"] is None
        if event["kind"] == "timing":
            assert len(event["conditions"]["pinned"]) == 1
    (row,) = lab.table()
    assert float(row["speedup"]) > 1
    (binary,) = json.loads((lab.runs()[0] / "run.json").read_text())["binaries"]
    assert adb.blobs() == {binary["sha256"], *(event["artifact_sha256"] for event in finished)}
    assert len(adb.calls("push")) == 3
    # the memory is that of the tool, which touches 32 MiB, and not of whoever started it
    (memory, _) = (e["memory"]["overall_bytes"] for e in finished if e["kind"] == "memory")
    assert 32 * 2**20 <= memory < 36 * 2**20

    told = lab.run("devices", "--inventory", inventory, "--suite", suite, "--json")
    assert told.code == 0, told.stderr
    (device,) = json.loads(told.stdout)["devices"]
    assert device["runtimes"] == {} and device["to_push_bytes"] == 0
    assert device["use"]["lock"] == {"held": False, "holder": None}
    assert device["use"]["disk"]["free_bytes"] > 0
    assert lab.run("devices", "--inventory", inventory).code == 0
    status = lab.run("agents", "status", "--inventory", inventory)
    assert status.code == 0 and "pid" in status.stdout
    adb.unplug()
    # the agent is here, whatever becomes of the device
    assert "stopped" in lab.run("agents", "stop", "--inventory", inventory).stdout


def test_nothing_is_lost_by_a_cable_that_is_pulled_nor_by_the_controller_s_death(
    lab: Lab, adb: FakeAdb, slow: Path
) -> None:
    inventory = lab.inventory(phone(lab, adb, slow))
    with lab.start("run", "--inventory", inventory, "--suite", lab.suite(SCHEMES)) as process:
        wait_until(lambda: len(lab.events("finished")) >= 3, "three trials")
        before = sum(trials(adb, "begin").values())
        wait_until(lambda: sum(trials(adb, "begin").values()) > before, "one more")
        adb.unplug("offline")
        socket = lab.folder / "agents" / "adb" / adb.serial / "agent.sock"
        wait_until(lambda: not socket.exists(), "the end of the agent, which has no device")
        adb.plug()
        wait_until(lambda: len(lab.events("finished")) >= 6, "it goes on")
        os.killpg(process.pid, signal.SIGKILL)
    done = lab.run("run", "--resume", "last")
    assert done.code == 0, done.stderr
    assert every_planned_trial_finished_once(lab.journal())
    assert {event["outcome"] for event in lab.events("finished")} == {"ok"}
    (cut,) = lab.events("interrupted")
    assert "`offline`" in cut["reason"] or "broke" in cut["reason"]
    begun, ended = trials(adb, "begin"), trials(adb, "end")
    assert {trial: n for trial, n in begun.items() if n > 1} == {cut["trial_id"]: 2}
    assert begun.keys() == ended.keys() and set(ended.values()) == {1}


@pytest.mark.parametrize(
    ("state", "said"),
    [("unauthorized", "accept this machine's key"), ("offline", "plug it in again")],
)
def test_a_device_that_is_not_ready_is_named_with_its_remedy(
    lab: Lab, adb: FakeAdb, stand_in: Path, state: str, said: str
) -> None:
    adb.plug(state)
    inventory = lab.inventory(phone(lab, adb, stand_in))
    done = lab.run("run", "--inventory", inventory, "--suite", lab.suite(SCHEMES))
    assert done.code == 3
    assert f"`{state}`" in done.stderr and said in done.stderr
    assert not lab.runs()


def test_what_android_cannot_run_is_refused_before_anything_is_touched(
    lab: Lab, adb: FakeAdb, stand_in: Path
) -> None:
    inventory = lab.inventory(phone(lab, adb, stand_in))
    asked: list[tuple[Mapping[str, str], str]] = [
        ({"runner": "litert"}, "runner litert"),
        ({"factors": "{batch: [1, 2]}"}, "batches"),
        ({"factors": "{isa: [native, haswell]}"}, "varies `isa`"),
    ]
    for fields, said in asked:
        suite = lab.suite(SCHEMES, **fields)
        done = lab.run("plan", "--inventory", inventory, "--suite", suite)
        assert done.code == 2
        assert said in done.stderr and "phone" in done.stderr
    assert not (adb.folder / "calls").exists()
