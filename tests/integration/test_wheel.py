"""The installed wheel, without the development dependencies, away from the checkout."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from orchestrate_agent.contents import MODULES

ROOT = Path(__file__).resolve().parents[2]


def run(*argv: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [str(a) for a in argv], cwd=cwd, capture_output=True, text=True, check=False, timeout=280
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done


@pytest.fixture(scope="module")
def installed(wheel: Path) -> Path:
    """The ``bin`` folder of an environment that holds nothing but the wheel and what it needs."""
    folder = wheel.parent
    run(sys.executable, "-m", "venv", folder / "env", cwd=folder)
    run(folder / "env" / "bin" / "pip", "install", "-q", wheel, cwd=folder)
    return folder / "env" / "bin"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"  # building leaves files behind, and finds those of an earlier one
    for name in ("orchestrator", "agents", "schemas", "suites"):
        shutil.copytree(ROOT / name, source / name)
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, source)
    run(sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", folder, source, cwd=folder)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of another distribution, whose package ``agents`` has modules named like ours."""
    folder = tmp_path_factory.mktemp("stranger")
    source = folder / "source"
    (source / "agents").mkdir(parents=True)
    (source / "agents" / "__init__.py").write_text("WHOSE = 'the stranger'\n")
    for name in ("protocol.py", "errors.py", "large.py"):
        (source / "agents" / name).write_text("raise RuntimeError('this is the stranger')\n")
    (source / "pyproject.toml").write_text(
        "[build-system]\nrequires = ['setuptools>=77']\nbuild-backend = 'setuptools.build_meta'\n"
        "[project]\nname = 'strange-agents'\nversion = '1.0'\n"
        "[tool.setuptools]\npackages = ['agents']\n"
    )
    run(sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", folder, source, cwd=folder)
    (built,) = folder.glob("*.whl")
    return built


def pushed(bin_folder: Path, folder: Path) -> list[str]:
    """What the agent's archive holds on the device that a command reached."""
    folder.mkdir()
    machine = f"devices: [{{name: here, transport: local, workdir: {folder / 'agent'}}}]\n"
    (folder / "machines.yaml").write_text(machine)
    inventory = ("--inventory", "machines.yaml")
    assert "here" in run(bin_folder / "orchestrate", "devices", *inventory, cwd=folder).stdout
    run(bin_folder / "orchestrate", "agents", "status", *inventory, cwd=folder)
    (archive,) = (folder / "agent" / "agents").glob("*.pyz")
    with zipfile.ZipFile(archive) as opened:
        return sorted(opened.namelist())


#: The package, the line that starts it, and its hash.
EXPECTED = sorted(
    [
        "__main__.py",
        "orchestrate_agent/SOURCE_SHA256",
        *(f"orchestrate_agent/{name}" for name in MODULES),
    ]
)


def test_it_brings_the_command_the_agent_and_the_suites(installed: Path, tmp_path: Path) -> None:
    machine = f"devices: [{{name: here, transport: local, workdir: {tmp_path / 'agent'}}}]\n"
    (tmp_path / "inventory.yaml").write_text(f"suite: quick\n{machine}")
    (tmp_path / "machines.yaml").write_text(machine)  # held against no suite
    orchestrate = installed / "orchestrate"
    assert "orchestrate 0." in run(orchestrate, "--version", cwd=tmp_path).stdout
    run(orchestrate, "init", "--output", "begun.yaml", cwd=tmp_path)
    _, _, schema = (tmp_path / "begun.yaml").read_text().splitlines()[0].partition("$schema=")
    assert "devices" in json.loads((tmp_path / schema).read_text())["properties"]
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


@pytest.mark.parametrize("order", ["the stranger first", "the stranger last"])
def test_it_gets_on_with_a_distribution_that_has_a_package_agents(
    installed: Path, wheel: Path, stranger: Path, tmp_path: Path, order: str
) -> None:
    pip, python = installed / "pip", installed / "python"
    wheels = [stranger, wheel] if order == "the stranger first" else [wheel, stranger]
    run(pip, "uninstall", "-q", "-y", "orchestrate-quantized", "strange-agents", cwd=tmp_path)
    for each in wheels:
        run(pip, "install", "-q", "--no-deps", each, cwd=tmp_path)
    assert pushed(installed, tmp_path / "both") == EXPECTED
    whose = run(python, "-c", "import agents; print(agents.WHOSE)", cwd=tmp_path).stdout
    assert whose == "the stranger\n"
    run(pip, "uninstall", "-q", "-y", "strange-agents", cwd=tmp_path)
    assert pushed(installed, tmp_path / "alone") == EXPECTED  # it took nothing of ours along


def test_a_stray_file_in_the_agents_folder_does_not_travel(installed: Path, tmp_path: Path) -> None:
    find = "import orchestrate_agent; print(orchestrate_agent.__path__[0])"
    folder = Path(run(installed / "python", "-c", find, cwd=tmp_path).stdout.strip())
    strays = [folder / "notes.py", folder / "machine" / "mine.py", folder / "left" / "over.py"]
    strays[-1].parent.mkdir()
    try:
        for stray in strays:
            stray.write_text("password = 'of somebody'\n")
        assert pushed(installed, tmp_path / "device") == EXPECTED
    finally:
        for stray in strays:
            stray.unlink()
        strays[-1].parent.rmdir()


def test_a_module_that_is_missing_is_said_with_what_to_do(installed: Path, tmp_path: Path) -> None:
    find = "import orchestrate_agent; print(orchestrate_agent.__path__[0])"
    folder = Path(run(installed / "python", "-c", find, cwd=tmp_path).stdout.strip())
    missing = folder / "android" / "adb.py"
    missing.rename(tmp_path / "adb.py")
    try:
        (tmp_path / "machines.yaml").write_text("devices: [{name: here, transport: local}]\n")
        done = subprocess.run(
            [installed / "orchestrate", "devices", "--inventory", "machines.yaml"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
    finally:
        shutil.move(tmp_path / "adb.py", missing)
    assert done.returncode == 1
    assert f"{missing}: this module of the agent cannot be read" in done.stderr
    assert "install orchestrate again" in done.stderr
