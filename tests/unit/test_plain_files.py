"""What is opened in a folder that somebody else may have filled: plain files, and no links."""

from __future__ import annotations

import ast
import os
import socket
from pathlib import Path

import pytest

from orchestrator import plain_files
from orchestrator.plain_files import NotPlainError

APPEND = os.O_RDWR | os.O_CREAT | os.O_APPEND


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    path = tmp_path / "outside"
    path.mkdir()
    (path / "file").write_text("mine")
    return path


@pytest.fixture
def folder(tmp_path: Path, outside: Path) -> Path:
    """One with everything in it that is not a plain file."""
    path = tmp_path / "received"
    (path / "logs").mkdir(parents=True)
    (path / "plain").write_bytes(b"text")
    (path / "link").symlink_to(outside / "file")
    (path / "dangling").symlink_to(outside / "absent")
    (path / "linked").symlink_to(outside)
    os.link(outside / "file", path / "second name")
    os.mkfifo(path / "pipe")
    with socket.socket(socket.AF_UNIX) as listening:
        here = Path.cwd()
        os.chdir(path)  # the name of a socket is short
        try:
            listening.bind("socket")
        finally:
            os.chdir(here)
    return path


SPECIAL = ["link", "dangling", "linked/file", "pipe", "socket", "logs"]


def test_a_plain_file_is_read_and_written(folder: Path) -> None:
    assert plain_files.read(folder, "plain", most_bytes=4) == b"text"
    plain_files.write(folder, "logs/new", b"bytes")
    assert (folder / "logs" / "new").read_bytes() == b"bytes"
    plain_files.write(folder, "plain", b"other")
    assert plain_files.read(folder, "plain", most_bytes=9) == b"other"
    assert [path.name for path in (folder / "logs").iterdir()] == ["new"]


@pytest.mark.parametrize("name", SPECIAL)
def test_nothing_else_is_read_or_waited_for(folder: Path, name: str) -> None:
    with pytest.raises(NotPlainError) as caught:
        plain_files.read(folder, name, most_bytes=100)
    assert caught.value.strerror


@pytest.mark.parametrize("name", [*SPECIAL, "second name"])
def test_nothing_else_is_written_into(folder: Path, outside: Path, name: str) -> None:
    with pytest.raises(NotPlainError):
        os.close(plain_files.descriptor(folder, name, APPEND))
    assert [(p.name, p.read_text()) for p in outside.iterdir()] == [("file", "mine")]


@pytest.mark.parametrize(
    "name", ["../outside/file", "/etc/passwd", "logs/../../x", "", "a\0b", "."]
)
def test_no_name_leads_out_of_the_folder(folder: Path, name: str) -> None:
    with pytest.raises(NotPlainError):
        plain_files.read(folder, name, most_bytes=100_000)
    with pytest.raises(NotPlainError):
        plain_files.write(folder, name, b"")


@pytest.mark.parametrize("name", ["link", "dangling", "second name"])
def test_a_link_is_replaced_and_not_followed(folder: Path, outside: Path, name: str) -> None:
    plain_files.write(folder, name, b"new")
    assert not (folder / name).is_symlink()
    assert (folder / name).read_bytes() == b"new"
    assert [(p.name, p.read_text()) for p in outside.iterdir()] == [("file", "mine")]


@pytest.mark.parametrize("name", ["pipe", "socket", "logs", "linked/new"])
def test_what_is_no_file_is_not_replaced(folder: Path, outside: Path, name: str) -> None:
    with pytest.raises(NotPlainError):
        plain_files.write(folder, name, b"new")
    assert [(p.name, p.read_text()) for p in outside.iterdir()] == [("file", "mine")]


def test_a_new_file_under_a_name_that_was_made_to_lead_elsewhere(
    folder: Path, outside: Path
) -> None:
    with plain_files.created(folder / "link") as file:
        file.write(b"new")
    assert (folder / "link").read_bytes() == b"new"
    assert (outside / "file").read_text() == "mine"


def test_the_folder_itself_may_be_reached_through_a_link(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "results").symlink_to(folder)
    assert plain_files.read(tmp_path / "results", "plain", most_bytes=4) == b"text"


def test_a_size_is_known_before_anything_is_read(folder: Path) -> None:
    with (folder / "sparse").open("wb") as file:
        file.truncate(2**42)
    with pytest.raises(NotPlainError, match="4398046511104 bytes"):
        plain_files.read(folder, "sparse", most_bytes=2**20)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_somebody_elses_file_is_read_and_not_written(folder: Path) -> None:
    os.chown(folder / "plain", 12345, 12345)
    assert plain_files.read(folder, "plain", most_bytes=4) == b"text"
    with pytest.raises(NotPlainError, match="another user"):
        os.close(plain_files.descriptor(folder, "plain", APPEND))
    os.close(plain_files.lock_descriptor(folder, "plain"))


def test_of_what_a_user_names_links_are_followed_and_pipes_are_not_waited_for(
    folder: Path,
) -> None:
    assert plain_files.read_named(folder / "link", most_bytes=100) == b"mine"
    with pytest.raises(NotPlainError, match="a pipe"):
        plain_files.read_named(folder / "pipe", most_bytes=100)


#: Who opens files in another way: a model by its hash, a stylesheet of ours, and a new file that
#: was not there (``x``).
OPENS = ("bundles/making.py", "report/page.py", "commands/inventory.py")
OPENERS = ("open", "read_text", "read_bytes", "write_text", "write_bytes", "touch")


def test_nobody_opens_a_file_of_a_run_in_another_way() -> None:
    root = Path(__file__).resolve().parents[2] / "orchestrator"
    for part in ("runs", "report", "bundles", "imports", "commands", "analysis"):
        for path in sorted((root / part).rglob("*.py")):
            if path.relative_to(root).as_posix() in OPENS:
                continue
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Call):
                    name = ast.unparse(node.func).rpartition(".")[2]
                    archive = ast.unparse(node.func) == "archive.open"  # a member of a zip
                    assert archive or name not in OPENERS, f"{path}:{node.lineno}"
