"""The command as a user starts it: exit codes, stdout, messages."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
COMMANDS = (
    "init", "run", "plan", "devices", "models", "report", "runs", "bundle", "import", "agents",
    "doctor", "schema", "completion",
)  # fmt: skip


def orchestrate(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "orchestrator", *arguments],
        cwd=cwd,
        env={"PATH": "/usr/bin:/bin", "HOME": str(cwd), "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def inventory(folder: Path, text: str) -> Path:
    path = folder / "inventory.yaml"
    path.write_text(text, encoding="utf-8")
    return path


HERE = "suite: quick\ndevices: [{name: here, transport: local}]\n"


def test_help_needs_nothing_heavy(tmp_path: Path) -> None:
    script = (
        "import sys\nfrom orchestrator.cli import main\n"
        "try: main(['--help'])\nexcept SystemExit as end: assert end.code == 0\n"
        "heavy = {'numpy', 'scipy', 'pandas', 'pydantic', 'paramiko', 'rich', 'yaml', 'asyncio',\n"
        " 'argcomplete'}\n"
        "print(sorted(heavy & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.stderr.strip() == "[]"
    assert all(command in done.stdout for command in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_and_is_in_the_reference(command: str, tmp_path: Path) -> None:
    done = orchestrate(command, "--help", cwd=tmp_path)
    assert done.returncode == 0
    assert f"orchestrate {command}" in done.stdout
    page = ROOT / "docs" / "reference" / "command-line.md"
    assert f"orchestrate {command}" in page.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("run",), "which machines? name an inventory: --inventory inventory.yaml"),
        (("run", "--inventory", "no.yaml"), "no.yaml"),
        (("run", "--inventory", "inventory.yaml", "--suite", "quik"), "`quick`"),
        (("run", "--inventory", "inventory.yaml", "--device", "her"), "`here`"),
        (("run", "--inventory", "inventory.yaml", "--blocks", "3"), "write 6 or more"),
        (("run", "--resume", "last", "--blocks", "9"), "--blocks does not go with --resume"),
        (("report", "a", "b", "--tails"), "--tails reads one run's single times"),
        (("report", "nothing"), "nothing: no such run in results; results holds no run yet"),
        (("models", "build", "mobilenet"), "mobilenet_v1"),
    ],
)
def test_a_wrong_command_line_ends_with_2_and_touches_nothing(
    arguments: tuple[str, ...], said: str, tmp_path: Path
) -> None:
    inventory(tmp_path, HERE)
    done = orchestrate(*arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert said in done.stderr
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["inventory.yaml"]


def test_a_mistake_in_the_inventory_is_named_with_its_place(tmp_path: Path) -> None:
    inventory(tmp_path, "devices:\n  - name: here\n    transport: local\n    hots: x\n")
    done = orchestrate("run", "--inventory", "inventory.yaml", cwd=tmp_path)
    assert done.returncode == 2
    assert "inventory.yaml:4:5: unknown key `hots`; did you mean `host`?" in done.stderr


def test_no_device_reached_ends_with_3_and_leaves_no_run(tmp_path: Path) -> None:
    inventory(
        tmp_path,
        "suite: quick\ndevices: [{name: away, transport: ssh, host: 127.0.0.1, port: 1}]\n",
    )
    done = orchestrate("run", "--inventory", "inventory.yaml", cwd=tmp_path)
    assert done.returncode == 3
    assert "no device could be reached" in done.stderr
    assert "away: " in done.stderr
    assert "127.0.0.1" in done.stderr
    assert not (tmp_path / "results").exists()


def test_a_plan_touches_no_device_and_is_json_on_request(tmp_path: Path) -> None:
    inventory(tmp_path, HERE)
    shown = orchestrate("plan", "--inventory", "inventory.yaml", "--seed", "5", cwd=tmp_path)
    assert shown.returncode == 0
    assert re.search(r"here\s+litert\s+6\s+68 to 208", shown.stdout)
    assert "seed 5" in shown.stdout
    plan = orchestrate(
        "plan", "--inventory", "inventory.yaml", "--seed", "5", "--json", cwd=tmp_path
    )
    trials = json.loads(plan.stdout)["trials"]
    assert len(trials) == 208
    assert len({trial["trial_id"] for trial in trials}) == 208
    assert [path.name for path in tmp_path.iterdir()] == ["inventory.yaml"]


def test_devices_says_what_this_machine_is(tmp_path: Path) -> None:
    path = inventory(
        tmp_path, f"devices: [{{name: here, transport: local, workdir: {tmp_path / 'agent'}}}]\n"
    )
    try:
        done = orchestrate("devices", "--inventory", str(path), "--json", cwd=tmp_path)
        assert done.returncode == 0
        (device,) = json.loads(done.stdout)["devices"]
        assert device["facts"]["cpu"]["logical_cpus"] >= 1
        assert "ai-edge-litert" in device["runtimes"]
        status = orchestrate("agents", "status", "--inventory", str(path), cwd=tmp_path)
        assert re.search(r"here\s+pid \d+", status.stdout)
    finally:
        stopped = orchestrate("agents", "stop", "--inventory", str(path), cwd=tmp_path)
    assert "stopped" in stopped.stdout
    again = orchestrate("agents", "status", "--inventory", str(path), cwd=tmp_path)
    assert "not running" in again.stdout
    logs = orchestrate("agents", "logs", "--inventory", str(path), cwd=tmp_path)
    assert "listens in" in logs.stdout


def test_a_device_that_is_not_what_is_expected_is_refused(tmp_path: Path) -> None:
    path = inventory(
        tmp_path,
        "devices: [{name: here, transport: local, expect: {microarchitecture: z80}, "
        f"workdir: {tmp_path / 'agent'}}}]\n",
    )
    done = orchestrate("devices", "--inventory", str(path), cwd=tmp_path)
    orchestrate("agents", "stop", "--inventory", str(path), cwd=tmp_path)
    assert done.returncode == 1  # it was reached
    assert "the inventory expects microarchitecture z80, the device reports" in done.stdout
