"""Receiving and using blobs where the disk does not play along."""

from __future__ import annotations

import errno
import hashlib
import io
import os
from pathlib import Path

import pytest

from orchestrate_agent import home
from orchestrate_agent.errors import EXIT_FAILED, EXIT_NO_SPACE, AgentError
from orchestrate_agent.files import blobs
from orchestrate_agent.files.blobs import BlobStore, DamagedBlobError

DATA = b"some bytes"
SHA = hashlib.sha256(DATA).hexdigest()


@pytest.fixture(autouse=True)
def in_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    umask = os.umask(0o022)
    home.enter(str(tmp_path / "home"))
    os.umask(umask)
    return tmp_path / "home"


def put(data: bytes = DATA) -> str:
    return blobs.put(SHA, len(DATA), io.BytesIO(data))


@pytest.mark.parametrize(
    ("number", "exit_code"),
    [(errno.ENOSPC, EXIT_NO_SPACE), (errno.EDQUOT, EXIT_NO_SPACE), (errno.EIO, EXIT_FAILED)],
)
def test_a_disk_that_fails_in_the_middle(
    in_home: Path, monkeypatch: pytest.MonkeyPatch, number: int, exit_code: int
) -> None:
    def fail(_: int, __: object) -> int:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", fail)
        with pytest.raises(AgentError) as info:
            put()
    assert info.value.exit_code == exit_code
    assert list((in_home / "blobs").iterdir()) == []
    assert put() == "stored"


def test_a_blob_of_the_wrong_length_is_not_taken_for_present(in_home: Path) -> None:
    (in_home / "blobs" / SHA).write_bytes(DATA[:-1])
    assert put() == "stored"
    assert put(b"never kept") == "present"
    assert (in_home / "blobs" / SHA).read_bytes() == DATA


def test_a_blob_is_hashed_again_only_when_it_changed(
    in_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put()
    store = BlobStore(str(in_home))
    path = store.executable(SHA)
    hashed: list[str] = []
    monkeypatch.setattr(blobs, "_verify", lambda path, _: hashed.append(path))
    assert store.path(SHA) == store.executable(SHA) == path
    assert hashed == []
    Path(path).write_bytes(b"other bytes")
    store.path(SHA)
    assert hashed == [path]


def test_a_blob_that_is_gone_is_named(in_home: Path) -> None:
    with pytest.raises(DamagedBlobError, match=SHA):
        BlobStore(str(in_home)).path(SHA)
