"""Whose folder the agent works in, and its log."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrate_agent import home
from orchestrate_agent.errors import AgentError


@pytest.fixture(autouse=True)
def lax(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    umask = os.umask(0)
    yield
    os.umask(umask)


def test_a_new_home_is_closed_to_others_under_any_umask(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "home"
    assert home.enter(str(path)) == str(path)
    assert path.stat().st_mode & 0o777 == 0o700
    for folder in path.iterdir():
        assert folder.stat().st_mode & 0o777 == 0o700


def test_tilde_is_expanded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert home.enter("~/x") == str(tmp_path / "x")


def test_a_readable_home_is_closed(tmp_path: Path) -> None:
    path = tmp_path / "home"
    path.mkdir(0o755)
    home.enter(str(path))
    assert path.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("mode", [0o770, 0o707, 0o777])
def test_a_home_that_others_may_write_in_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "home"
    path.mkdir()
    path.chmod(mode)
    with pytest.raises(AgentError, match="chmod 700"):
        home.enter(str(path))


def test_a_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir(0o700)
    (tmp_path / "home").symlink_to("real")
    with pytest.raises(AgentError, match="no link"):
        home.enter(str(tmp_path / "home"))


def test_a_home_of_somebody_else_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "home").mkdir(0o700)
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    with pytest.raises(AgentError, match="belongs to"):
        home.enter(str(tmp_path / "home"))


def test_the_log_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home.enter(str(tmp_path / "home"))
    monkeypatch.setattr(home, "LOG_BYTES", 2000)
    saved = os.dup(1), os.dup(2)
    try:
        home.open_log()
        for number in range(200):
            home.log(f"line {number}")
    finally:
        os.dup2(saved[0], 1)
        os.dup2(saved[1], 2)
    sizes = [Path(name).stat().st_size for name in (home.LOG, home.OLD_LOG)]
    assert max(sizes) < 2200
    tail = home.read_log(1000)
    assert tail.endswith("line 199\n") and "line 198\n" in tail and len(tail) <= 1000
