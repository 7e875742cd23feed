"""Agents that lie, flood and do not keep to the protocol, beside one that is honest."""

from __future__ import annotations

import json
import re
import subprocess
import tempfile
import time
from pathlib import Path

from tests.hostile_agent import MODES, program
from tests.lab import Lab

#: Of the controller at its peak. With honest devices alone it takes some 260 MB.
MOST_BYTES = 600e6

#: A lie that cannot be known for one: the agent says that it has every file, and every trial fails.
_BELIEVED = {"blobs_of_objects", "plain"}


def files_below(folder: Path) -> set[Path]:
    return {path for path in folder.rglob("*") if not path.is_dir()}


def test_hostile_agents_lose_their_devices_and_nothing_else(lab: Lab) -> None:
    modes = [*MODES, "plain"]
    devices = [
        {"name": mode.replace("_", "-"), "transport": "local", "python": program(lab.folder, mode)}
        for mode in modes
    ]
    inventory = lab.inventory(lab.here(), *devices)
    suite = lab.suite(["float32", "full_int8"])
    before = files_below(lab.folder)
    code, out, peak_bytes = measured(lab, "run", "--inventory", inventory, "--suite", suite)

    assert "Traceback" not in out, out
    assert code == 1, out
    print(f"peak {peak_bytes / 1e6:.0f} MB")
    assert peak_bytes < MOST_BYTES
    assert "owned" not in {path.name for path in Path.cwd().iterdir()} | {
        path.name for path in lab.folder.parent.rglob("*")
    }
    new = files_below(lab.folder) - before
    run = lab.runs()[0]
    state = lab.folder / ".local" / "state" / "orchestrate"  # which programs the user trusts
    own = {run, lab.folder / "agent-here", lab.models, state}
    strays = {p for p in new if not any(p.is_relative_to(folder) for folder in own)}
    assert all(p.name.endswith((".trials", ".new")) for p in strays), strays

    # Every liar is lost for what it did, in words that name it; the honest device has its table.
    lost = {event["device"]: event["reason"] for event in lab.events("device_lost")}
    for mode in modes:
        device = mode.replace("_", "-")
        if mode in _BELIEVED:
            assert device not in lost, lost[device]
        else:
            assert re.search(MODES[mode], lost.get(device, out)), (mode, lost.get(device))
            assert device in lost or device in out
    assert "here" not in lost
    verdicts = {row["device"]: row["verdict"] for row in lab.table()}
    assert verdicts["here"] in ("faster", "slower", "indistinguishable")
    assert verdicts["plain"] == "invalid"

    # Nothing of what they said reaches the terminal or the page as it is, or can be computed.
    assert "\x1b" not in out and "\x07" not in out
    page = (run / "report.html").read_text()
    assert "<script" not in page and "\x1b" not in page
    for name in ("speedup.csv", "speedup.json", "speedup.md"):
        assert "\x1b" not in (run / name).read_text(), name
    report = lab.run("report", run.name, "--format", "latex")
    assert report.code == 0, report.stderr
    assert "\x1b" not in report.stdout + report.stderr
    for event in lab.journal():
        assert event["event"] in {
            "planned", "queued", "finished", "device_ready", "device_prepared", "device_lost",
            "started", "stopped", "device_done",
        }  # fmt: skip


def measured(lab: Lab, *arguments: str | Path) -> tuple[int, str, float]:
    """(exit code, everything it printed, peak memory in bytes) of a command.

    The peak is the kernel's mark for its address space: rusage would count what this process had
    in memory when it forked.
    """
    peak_bytes = 0.0
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            lab.command(*arguments),
            cwd=lab.folder,
            env=lab.environment(),
            stdout=output,
            stderr=output,
        )
        while process.poll() is None:
            status = Path(f"/proc/{process.pid}/status").read_text()
            mark = re.search(r"^VmHWM:\s+(\d+) kB$", status, re.MULTILINE)
            peak_bytes = peak_bytes if mark is None else int(mark[1]) * 1024.0
            time.sleep(0.1)
        output.seek(0)
        text = output.read().decode(errors="surrogateescape")
    return process.returncode, text, peak_bytes


def test_the_devices_command_survives_them(lab: Lab) -> None:
    chosen = ("text_for_facts", "other_protocol", "plain")
    devices = [
        {"name": mode.replace("_", "-"), "transport": "local", "python": program(lab.folder, mode)}
        for mode in chosen
    ]
    inventory = lab.inventory(*devices)
    table = lab.run("devices", "--inventory", inventory)
    assert table.code == 1
    assert "\x1b" not in table.stdout
    assert "text-for-facts: sent a greeting that cannot be" in table.stdout
    assert "other-protocol: the agent s" in table.stdout
    asked = json.loads(lab.run("devices", "--inventory", inventory, "--json").stdout)
    errors = [device["error"] is None for device in asked["devices"]]
    assert errors == [False, False, True]
