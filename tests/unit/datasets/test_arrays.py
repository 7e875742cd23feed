"""Samples in a ``.npz`` file."""

from __future__ import annotations

import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from orchestrator.datasets import draw, find_dataset, prepare_shards
from orchestrator.errors import UsageError
from tests.unit.datasets.making import section


def saved(path: Path, **arrays: Any) -> Path:
    np.savez(path, **arrays)
    return path


X = np.arange(5 * 4, dtype=np.float32).reshape(5, 2, 2)
Y = np.array([3, 1, 4, 1, 5])


def test_rows_are_samples_and_y_their_classes(tmp_path: Path) -> None:
    found = find_dataset(section(saved(tmp_path / "d.npz", x=X, y=Y)), tmp_path)
    assert [(e.key, e.label) for e in found.items] == [(str(n), y) for n, y in enumerate(Y)]
    offset = section(tmp_path / "d.npz", class_offset=1)
    assert [e.label for e in find_dataset(offset, tmp_path).items] == [4, 2, 5, 2, 6]
    unlabelled = section(saved(tmp_path / "u.npz", x=X), "agreement")
    assert [e.label for e in find_dataset(unlabelled, tmp_path).items] == [None] * 5


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(
    ("dtype", "in_shard"),
    [("u1", "|u1"), ("?", "|u1"), ("i8", "<i8"), ("f8", "<f4"), (">f4", "<f4"), ("u2", "<i4")],
)
def test_shards_hold_the_drawn_rows_as_a_device_reads_them(
    tmp_path: Path, dtype: str, in_shard: str, packed: bool
) -> None:
    values = np.asfortranarray((X % 2).astype(dtype))
    (np.savez_compressed if packed else np.savez)(tmp_path / "d.npz", x=values, y=Y)
    drawn = draw(find_dataset(section(tmp_path / "d.npz"), tmp_path), 4, seed=0)
    shards = prepare_shards(drawn, None, 3, tmp_path / "cache")
    assert [(each.first, each.count) for each in shards] == [(0, 3), (3, 1)]
    rows = [np.load(each.path) for each in shards]
    assert {each.dtype.str for each in rows} == {in_shard}
    expected = values[[int(each.key) for each in drawn.items]]
    assert np.array_equal(np.concatenate(rows), expected)
    assert not list((tmp_path / "cache").rglob("*.partial"))


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x_test": X, "y_test": Y}, r"holds x_test, y_test, and no `x` alone.*numpy\.savez"),
        ({"x": X}, r"no `y` alone"),
        ({"x": X, "y": Y[:4]}, r"y has the shape \(4,\), and x has 5 samples"),
        ({"x": X, "y": np.eye(5)}, r"one-hot rows write `y\.argmax\(axis=1\)`"),
        ({"x": X, "y": Y + 0.5}, r"y holds `float64`; write whole numbers"),
        ({"x": X, "y": Y - 2}, r"y is -1 in row 1"),
        ({"x": np.array(["a"] * 5), "y": Y}, r"x holds `<U1`, which no model is fed"),
        ({"x": np.array([{}] * 5), "y": Y}, r"x holds `object`"),
        ({"x": X[:0], "y": Y[:0]}, r"the shape \(0, 2, 2\): no sample"),
    ],
)
def test_a_file_that_is_not_samples_and_classes_is_refused(
    tmp_path: Path, arrays: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        find_dataset(section(saved(tmp_path / "d.npz", **arrays)), tmp_path)


def test_a_label_beyond_the_classes_is_named_with_its_row(tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text("a\nb\nc\nd\n")
    data = saved(tmp_path / "d.npz", x=X, y=Y)
    with pytest.raises(UsageError, match=r"y is 4 in row 2, and .*names\.txt has 4 classes"):
        find_dataset(section(data, labels=str(tmp_path / "names.txt")), tmp_path)


def test_damaged_and_lying_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "d.npz"
    with pytest.raises(UsageError, match="there is no such file"):
        find_dataset(section(path), tmp_path)
    path.write_bytes(b"not a zip")
    with pytest.raises(UsageError, match=r"not a \.npz file"):
        find_dataset(section(path), tmp_path)
    saved(path, x=X, y=Y)
    with zipfile.ZipFile(path) as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:  # a shape of more than is there
        archive.writestr("y.npy", content["y.npy"])
        archive.writestr("x.npy", content["x.npy"].replace(b"(5, 2, 2)", b"(5, 2, 9)"))
    with pytest.raises(UsageError, match="not as many bytes as its shape"):
        find_dataset(section(path), tmp_path)


def test_a_value_that_is_not_a_number_is_named_with_its_row(tmp_path: Path) -> None:
    values = X.copy()
    values[3, 0, 0] = np.nan
    found = find_dataset(section(saved(tmp_path / "d.npz", x=values, y=Y)), tmp_path)
    with pytest.raises(UsageError, match="not finite in row 3"):
        prepare_shards(draw(found, None, 0), None, 2, tmp_path / "cache")


def test_a_file_that_unpacks_to_more_than_the_disk_has_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = draw(find_dataset(section(saved(tmp_path / "d.npz", x=X, y=Y)), tmp_path), None, 0)
    full = SimpleNamespace(free=10)
    monkeypatch.setattr("orchestrator.datasets.arrays.shutil.disk_usage", lambda _: full)
    with pytest.raises(UsageError, match=r"GB unpacked, and .* make room"):
        prepare_shards(drawn, None, 2, tmp_path / "cache")
