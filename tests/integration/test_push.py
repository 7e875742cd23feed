"""Pushing several blobs through one channel to a real agent."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.artifacts.blob import Blob
from orchestrator.errors import PermanentDeviceError, TransientDeviceError
from orchestrator.fleet.agent_archive import build_agent_archive
from orchestrator.fleet.local import LocalTransport
from orchestrator.fleet.provision import AgentPlace, ReachedDevice, push, reach


@pytest.fixture
def node(tmp_path: Path) -> Iterator[ReachedDevice]:
    place = AgentPlace(sys.executable, str(tmp_path / "agent"))
    node = reach(LocalTransport("here"), place, build_agent_archive())
    yield node
    node.link.request("shutdown", force=True)
    node.close()


def blob(folder: Path, name: str, size: int) -> Blob:
    path = folder / name
    path.write_bytes(os.urandom(size))
    return Blob(hashlib.sha256(path.read_bytes()).hexdigest(), path, size)


def landed(tmp_path: Path) -> set[str]:
    return {path.name for path in (tmp_path / "agent" / "blobs").iterdir()}


def test_each_blob_is_told_of_by_itself_and_sent_once(node: ReachedDevice, tmp_path: Path) -> None:
    blobs = [blob(tmp_path, f"b{size}", size) for size in (3_500_000, 0, 10, 2_000_000)]
    told: list[tuple[str, int]] = []
    total = push(node, blobs, lambda blob, sent: told.append((blob.path.name, sent)))
    assert total == 5_500_010
    assert landed(tmp_path) == {each.sha256 for each in blobs}
    assert [name for name, _ in told] == sorted(
        (name for name, _ in told), key=[each.path.name for each in blobs].index
    )
    assert {("b3500000", 3_500_000), ("b10", 10), ("b2000000", 2_000_000)} <= set(told)
    assert push(node, blobs, lambda blob, sent: pytest.fail("sent again")) == 0


def test_what_came_whole_stays_and_the_torn_one_is_named(
    node: ReachedDevice, tmp_path: Path
) -> None:
    first, torn, last = (blob(tmp_path, name, 1_500_000) for name in ("first", "torn", "last"))
    right = torn.path.read_bytes()
    torn.path.write_bytes(right[:-1] + b"?")
    with pytest.raises(TransientDeviceError, match=rf"^here: torn could.*{torn.sha256}.*again"):
        push(node, [first, torn, last], lambda blob, sent: None)
    assert landed(tmp_path) == {first.sha256}
    torn.path.write_bytes(right)
    assert push(node, [first, torn, last], lambda blob, sent: None) == 3_000_000
    assert landed(tmp_path) == {first.sha256, torn.sha256, last.sha256}


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk needs root")
def test_the_blob_that_finds_no_room_is_named_with_the_remedy(
    node: ReachedDevice, tmp_path: Path
) -> None:
    blobs = tmp_path / "agent" / "blobs"
    mount = ["mount", "-t", "tmpfs", "-o", "size=20M,mode=700", "tmpfs", str(blobs)]
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("no small disk can be mounted here")
    try:
        fits, large = blob(tmp_path, "fits", 2_000_000), blob(tmp_path, "large", 5_000_000)
        with pytest.raises(PermanentDeviceError, match=r"large could not be pushed.*make room"):
            push(node, [fits, large], lambda blob, sent: None)
        assert landed(tmp_path) == {fits.sha256}
    finally:
        subprocess.run(["umount", "-l", str(blobs)], check=True)
