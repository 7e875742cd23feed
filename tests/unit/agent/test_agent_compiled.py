"""The copy of the agent's archive whose children need not be compiled."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from orchestrate_agent.children import CHILDREN
from orchestrate_agent.files.compiled import compiled
from orchestrator.fleet.agent_archive import build_agent_archive


@pytest.fixture
def archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    built = build_agent_archive()
    (tmp_path / "agents").mkdir()
    path = tmp_path / "agents" / f"{built.sha256}.pyz"
    path.write_bytes(built.data)
    return path


@pytest.mark.parametrize("child", CHILDREN)
def test_a_child_compiles_nothing(archive: Path, child: str) -> None:
    """Its help, which imports all modules of ours that it begins with."""
    argv = [sys.executable, "-I", "-v", compiled(str(archive)), child, "--help"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    loaded = [line for line in done.stderr.splitlines() if "import 'orchestrate_agent" in line]
    assert any(f".children.{child}'" in line for line in loaded)
    with zipfile.ZipFile(compiled(str(archive))) as copy:
        held = set(copy.namelist())
    for line in loaded:
        module = line.split("'")[1].replace(".", "/")
        assert {f"{module}.pyc", f"{module}/__init__.pyc"} & held, line


def test_the_code_is_taken_and_not_the_source(archive: Path) -> None:
    path = compiled(str(archive))
    with zipfile.ZipFile(path) as copy:
        files = {name: copy.read(name) for name in copy.namelist()}
    with zipfile.ZipFile(path, "w") as copy:
        for name, data in files.items():
            copy.writestr(name, b"raise SystemExit(9)" if name.endswith(".py") else data)
    argv = [sys.executable, "-I", path, "litert", "--help"]
    assert subprocess.run(argv, capture_output=True, check=False, timeout=60).returncode == 0


def test_it_is_the_same_bytes_each_time(archive: Path) -> None:
    first = Path(compiled(str(archive))).read_bytes()
    assert Path(compiled(str(archive))).read_bytes() == first
    assert {path.name.count(".part") for path in archive.parent.iterdir()} == {0}


def test_where_it_cannot_be_written_the_archive_does(
    archive: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    target = Path(compiled(str(archive)))
    target.unlink()
    target.mkdir()
    assert compiled(str(archive)) == str(archive)
    assert "children compile their modules themselves" in capfd.readouterr().err
    archive.write_bytes(b"no zip")
    assert compiled(str(archive)) == str(archive)
