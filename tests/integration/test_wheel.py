"""The installed wheel, without the development dependencies, away from the checkout."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def run(*argv: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [str(a) for a in argv], cwd=cwd, capture_output=True, text=True, check=False, timeout=280
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The ``bin`` folder of an environment that holds nothing but the wheel and what it needs."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"  # building leaves files behind, and finds those of an earlier one
    for name in ("orchestrator", "agents", "suites"):
        shutil.copytree(ROOT / name, source / name)
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, source)
    run(sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", folder, source, cwd=folder)
    (wheel,) = folder.glob("*.whl")
    run(sys.executable, "-m", "venv", folder / "env", cwd=folder)
    run(folder / "env" / "bin" / "pip", "install", "-q", wheel, cwd=folder)
    return folder / "env" / "bin"


def test_it_brings_the_command_the_agent_and_the_suites(installed: Path, tmp_path: Path) -> None:
    machine = f"devices: [{{name: here, transport: local, workdir: {tmp_path / 'agent'}}}]\n"
    (tmp_path / "inventory.yaml").write_text(f"suite: quick\n{machine}")
    (tmp_path / "machines.yaml").write_text(machine)  # held against no suite
    orchestrate = installed / "orchestrate"
    assert "orchestrate 0." in run(orchestrate, "--version", cwd=tmp_path).stdout
    inventory = ("--inventory", "inventory.yaml")
    plan = run(orchestrate, "plan", *inventory, cwd=tmp_path).stdout
    assert "mobilenet_v1 float32" in plan
    devices = run(orchestrate, "devices", "--inventory", "machines.yaml", cwd=tmp_path).stdout
    assert "here" in devices
    assert "none" in devices  # no runtime is installed beside it
    assert "stopped" in run(orchestrate, "agents", "stop", *inventory, cwd=tmp_path).stdout


def test_what_is_missing_for_building_is_said(installed: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [installed / "orchestrate", "models", "build", "mobilenet_v1"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 1
    assert "[models]" in done.stderr
