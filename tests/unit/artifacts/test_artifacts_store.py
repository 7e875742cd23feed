"""The store: whole files or none, one manifest for any number of writers, damage is seen."""

from __future__ import annotations

import json
import multiprocessing
from pathlib import Path

import pytest

from orchestrator.artifacts.files import write_atomically
from orchestrator.artifacts.store import ArtifactStore, Entry
from orchestrator.errors import ArtifactError

ENTRY = {
    "model": "m",
    "scheme": "s",
    "recipe_key": "k",
    "file": "m-s-0.tflite",
    "sha256": "0" * 64,
    "size_bytes": 1,
}


def add(store: ArtifactStore, data: bytes, scheme: str = "float32", **details: str) -> Entry:
    return store.add(
        data,
        model="mobilenet_v1",
        scheme=scheme,
        recipe_key="k",
        details=details,
        suffix=".tflite",
    )


def test_a_file_is_named_by_its_hash_and_described(tmp_path: Path) -> None:
    store = ArtifactStore(tmp_path / "models")
    entry = add(store, b"bytes", weights="imagenet")

    assert entry.file == f"mobilenet_v1-float32-{entry.sha256[:16]}.tflite"
    assert store.path(entry).read_bytes() == b"bytes"
    assert store.entries() == (entry,)
    assert store.entries()[0].details == {"weights": "imagenet"}
    assert store.damage(entry, verify=True) is None


def test_the_same_recipe_replaces_and_others_stay(tmp_path: Path) -> None:
    store = ArtifactStore(tmp_path)
    add(store, b"old")
    other = add(store, b"other", scheme="float16")
    new = add(store, b"new")
    assert store.entries() == (other, new)


def test_damage_is_told_by_size_and_by_hash(tmp_path: Path) -> None:
    store = ArtifactStore(tmp_path)
    entry = add(store, b"bytes")
    store.path(entry).write_bytes(b"bytez")
    assert store.damage(entry, verify=False) is None
    assert "SHA-256" in (store.damage(entry, verify=True) or "")
    store.path(entry).write_bytes(b"byte")
    assert "4 bytes where 5" in (store.damage(entry, verify=False) or "")
    store.path(entry).unlink()
    assert "No such file" in (store.damage(entry, verify=False) or "")


def _add_many(folder: Path, writer: int) -> None:
    for number in range(20):
        add(ArtifactStore(folder), f"{writer} {number}".encode(), scheme=f"s{writer}-{number}")


def test_writers_in_several_processes_lose_nothing(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=_add_many, args=(tmp_path, n)) for n in range(3)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
        assert writer.exitcode == 0
    store = ArtifactStore(tmp_path)
    assert len(store.entries()) == 60
    assert all(store.damage(entry, verify=True) is None for entry in store.entries())


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("", "not JSON"),
        ('{"format": 1, "artifacts": [', "not JSON"),
        ("[]", "no `format`"),
        ('{"artifacts": []}', "no `format`"),
        ('{"format": 1}', "no list `artifacts`"),
        ('{"format": 1, "artifacts": [3]}', "artifact 0 is not a mapping"),
        (json.dumps({"format": 1, "artifacts": [{**ENTRY, "sha256": "zz"}]}), "`sha256` is 'zz'"),
        (json.dumps({"format": 1, "artifacts": [{**ENTRY, "file": "../x"}]}), "`file` is"),
        (json.dumps({"format": 1, "artifacts": [{**ENTRY, "size_bytes": "1"}]}), "`size_bytes`"),
        ('{"format": 2, "artifacts": []}', "later version"),
    ],
)
def test_a_manifest_that_is_not_understood_is_kept(tmp_path: Path, content: str, why: str) -> None:
    store = ArtifactStore(tmp_path)
    store.manifest.write_text(content)
    with pytest.raises(ArtifactError, match=why) as caught:
        add(store, b"bytes")
    assert str(store.manifest) in str(caught.value)
    assert store.manifest.read_text() == content
    assert not list(tmp_path.glob("*.tflite"))


def test_what_a_later_version_adds_to_an_entry_is_kept(tmp_path: Path) -> None:
    store = ArtifactStore(tmp_path)
    novel = {**ENTRY, "novelty": [1]}
    store.manifest.write_text(json.dumps({"format": 1, "artifacts": [novel]}))
    add(store, b"bytes")
    assert json.loads(store.manifest.read_text())["artifacts"][0] == novel


def test_leftovers_of_a_killed_writer_are_removed(tmp_path: Path) -> None:
    left = tmp_path / ".mobilenet_v1-float32-00.tflite.4711.partial"
    left.write_bytes(b"half")
    store = ArtifactStore(tmp_path)
    assert store.entries() == ()
    add(store, b"bytes")
    assert not left.exists()


def test_a_write_that_fails_leaves_the_old_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def full_disk(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("orchestrator.artifacts.files._flush", full_disk)
    with pytest.raises(OSError, match="No space"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_a_full_disk_is_an_error_with_a_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full_disk(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("orchestrator.artifacts.files._flush", full_disk)
    with pytest.raises(ArtifactError, match=r"No space left on device; .*--models"):
        add(ArtifactStore(tmp_path), b"bytes")
    assert ArtifactStore(tmp_path).entries() == ()
