"""The agent as one file."""

from __future__ import annotations

import io
import zipfile

import pytest

from orchestrate_agent.contents import MODULES
from orchestrator.fleet import agent_archive
from orchestrator.fleet.agent_archive import build_agent_archive


def test_it_is_the_same_bytes_each_time() -> None:
    assert build_agent_archive() == build_agent_archive()


def test_it_holds_the_package_and_knows_its_own_hash() -> None:
    built = build_agent_archive()
    with zipfile.ZipFile(io.BytesIO(built.data)) as archive:
        names = set(archive.namelist())
        assert {
            "__main__.py",
            "orchestrate_agent/__main__.py",
            "orchestrate_agent/protocol.py",
        } <= names
        assert not any("__pycache__" in name for name in names)
        assert archive.read("orchestrate_agent/SOURCE_SHA256").decode().strip() == built.sha256


def test_it_holds_the_modules_of_the_list_and_nothing_else() -> None:
    with zipfile.ZipFile(io.BytesIO(build_agent_archive().data)) as archive:
        held = {n for n in archive.namelist() if n.startswith("orchestrate_agent/")}
    assert held == {f"orchestrate_agent/{n}" for n in (*MODULES, "SOURCE_SHA256")}


def test_the_name_follows_the_sources(monkeypatch: pytest.MonkeyPatch) -> None:
    before = build_agent_archive()
    monkeypatch.setattr(agent_archive, "_sources", lambda: {"orchestrate_agent/a.py": b"x = 1\n"})
    one = build_agent_archive()
    monkeypatch.setattr(agent_archive, "_sources", lambda: {"orchestrate_agent/a.py": b"x = 2\n"})
    two = build_agent_archive()
    assert len({before.sha256, one.sha256, two.sha256}) == 3
