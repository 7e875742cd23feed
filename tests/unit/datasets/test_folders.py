"""Images in folders: what is found, which label each has, and what is refused by name."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from orchestrator.datasets import Dataset, draw, find_dataset, resolve
from orchestrator.errors import UsageError
from tests.unit.datasets.making import classes, picture, section


def labels_of(dataset: Dataset) -> dict[str, int | None]:
    return {each.key: each.label for each in dataset.items}


def test_classes_are_numbered_in_the_order_of_their_folders(tmp_path: Path) -> None:
    classes(tmp_path, {"cat": 2, "ant": 1, "bee": 1})
    found = find_dataset(section(tmp_path), tmp_path)
    assert labels_of(found) == {"ant/0.png": 0, "bee/0.png": 1, "cat/0.png": 2, "cat/1.png": 2}
    assert found.classes == ("ant", "bee", "cat")


def test_imagenette_s_classes_are_imagenet_s(tmp_path: Path) -> None:
    classes(tmp_path / "val", {"n01440764": 1, "n03888257": 1})
    found = find_dataset(section(tmp_path, split="val"), tmp_path)
    assert labels_of(found) == {"n01440764/0.png": 0, "n03888257/0.png": 701}
    assert len(found.classes) == 1000
    assert (found.classes[0], found.classes[701]) == ("tench", "parachute")


def test_a_background_class_is_said_and_not_guessed(tmp_path: Path) -> None:
    classes(tmp_path, {"n01440764": 1, "n03888257": 1})
    found = find_dataset(section(tmp_path, class_offset=1), tmp_path)
    assert sorted(labels_of(found).values(), key=str) == [1, 702]
    assert (len(found.classes), found.classes[1]) == (1001, "tench")
    names = tmp_path / "names.txt"
    names.write_text("background\ntench, Tinca tinca\nparachute, chute\n")
    by_file = find_dataset(section(tmp_path, labels=str(names)), tmp_path)
    assert sorted(labels_of(by_file).values(), key=str) == [1, 2]
    with pytest.raises(UsageError, match=r"`background`.*delete `class_offset`"):
        find_dataset(section(tmp_path, labels=str(names), class_offset=1), tmp_path)


def test_other_wordnet_ids_need_the_order_of_the_model_s_outputs(tmp_path: Path) -> None:
    classes(tmp_path / "d", {"n01440764": 1, "n02086240": 1})
    with pytest.raises(UsageError, match=r"2 WordNet ids.*`labels:`"):
        find_dataset(section(tmp_path / "d"), tmp_path)
    names = tmp_path / "names.txt"
    names.write_text("n02086240 Shih-Tzu\nn01440764 tench\n")
    found = find_dataset(section(tmp_path / "d", labels=str(names)), tmp_path)
    assert labels_of(found) == {"n01440764/0.png": 1, "n02086240/0.png": 0}


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("ant\nbea\n", r"no line is the class `bee`.*did you mean `bea`"),
        ("ant\nbee\nbee\n", r"`bee` stands in lines 2, 3"),
        ("ant\n\nbee\n", r"names\.txt:2: the line is empty"),
        ("", r"the file is empty"),
    ],
)
def test_a_labels_file_that_does_not_fit_is_named(tmp_path: Path, lines: str, message: str) -> None:
    classes(tmp_path / "d", {"ant": 1, "bee": 1})
    names = tmp_path / "names.txt"
    names.write_text(lines)
    with pytest.raises(UsageError, match=message):
        find_dataset(section(tmp_path / "d", labels=str(names)), tmp_path)


def test_what_is_not_a_labelled_folder_is_said(tmp_path: Path) -> None:
    def refused(message: str, **keys: str) -> None:
        with pytest.raises(UsageError, match=message):
            find_dataset(section(tmp_path / "d", **keys), tmp_path)

    refused("there is no such folder; check `dataset`")
    (tmp_path / "d").mkdir()
    refused(r"holds no folder.*CLASS/IMAGE.*labels\.csv")
    classes(tmp_path / "d" / "val", {"ant": 1})
    (tmp_path / "d" / "train").mkdir()
    refused("holds train, val; say which with `split: val`")
    refused("there is no folder `vla`; did you mean `val`", split="vla")
    (tmp_path / "d" / "val" / "bee").mkdir()
    refused("bee: holds no image.*every folder is a class", split="val")


def test_files_that_are_no_images_and_those_of_a_mac_are_left_out(tmp_path: Path) -> None:
    classes(tmp_path, {"ant": 1})
    (tmp_path / "ant" / "._0.png").write_bytes(b"Mac OS X")
    (tmp_path / "ant" / "notes.txt").write_text("no image")
    (tmp_path / "__MACOSX").mkdir()
    picture(tmp_path / "ant" / "more" / "1.JPEG")
    found = find_dataset(section(tmp_path), tmp_path)
    assert [each.key for each in found.items] == ["ant/0.png", "ant/more/1.JPEG"]


def test_a_table_gives_names_or_numbers(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        picture(tmp_path / name)
    table = tmp_path / "labels.csv"
    table.write_text("file,label\na.png,7\nb.png,281\n")
    assert labels_of(find_dataset(section(tmp_path), tmp_path)) == {"a.png": 7, "b.png": 281}
    table.write_text("label,file,by\nwasp,a.png,me\nbee,b.png,me\n")
    named = find_dataset(section(tmp_path), tmp_path)
    assert (labels_of(named), named.classes) == ({"a.png": 1, "b.png": 0}, ("bee", "wasp"))


def test_a_table_of_numbers_may_have_names_for_them(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    (tmp_path / "labels.csv").write_text("file,label\na.png,1\n")
    names = tmp_path / "names.txt"
    names.write_text("ant\nbee\n")
    found = find_dataset(section(tmp_path, labels=str(names)), tmp_path)
    assert (found.items[0].label, found.classes[1]) == (1, "bee")
    names.write_text("ant\n")
    with pytest.raises(UsageError, match=r"`a\.png` has the label 1, and .* has 1 classes"):
        find_dataset(section(tmp_path, labels=str(names)), tmp_path)


def test_folders_of_numbers_have_two_orders_unless_they_are_the_outputs(tmp_path: Path) -> None:
    classes(tmp_path / "d", {"0": 1, "1": 1, "2": 1})
    found = find_dataset(section(tmp_path / "d"), tmp_path)
    assert labels_of(found) == {"0/0.png": 0, "1/0.png": 1, "2/0.png": 2}
    classes(tmp_path / "d", {"10": 1})
    with pytest.raises(UsageError, match="as text have another order than as numbers"):
        find_dataset(section(tmp_path / "d"), tmp_path)
    names = tmp_path / "names.txt"
    names.write_text("0\n1\n2\n10\n")
    by_file = find_dataset(section(tmp_path / "d", labels=str(names)), tmp_path)
    assert labels_of(by_file)["10/0.png"] == 3


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a.png,3\n", r"labels\.csv:1: .*write `file,label`"),
        ("file,label\na.png,3\na.png,4\n", r"labels\.csv:3: `a\.png` is listed twice.*line 2"),
        ("file,label\nc.png,3\n", r"labels\.csv:2: there is no file `c\.png`"),
        ("file,label\n../a.png,3\n", r"labels\.csv:2: .*does not lie in the table's folder"),
        ("file,label\na.png\n", r"labels\.csv:2: the file or the label is missing"),
        ("file,label\n", r"lists no file"),
    ],
)
def test_a_table_that_is_wrong_is_answered_with_its_line(
    tmp_path: Path, text: str, message: str
) -> None:
    picture(tmp_path / "a.png")
    (tmp_path / "labels.csv").write_text(text)
    with pytest.raises(UsageError, match=message):
        find_dataset(section(tmp_path), tmp_path)


def test_agreement_takes_any_images_and_none(tmp_path: Path) -> None:
    picture(tmp_path / "flat.jpg")
    classes(tmp_path, {"ant": 1})
    found = find_dataset(section(tmp_path, "agreement"), tmp_path)
    assert labels_of(found) == {"flat.jpg": None, "ant/0.png": None}
    generated = find_dataset(section(None, "agreement"), tmp_path, seed=3)
    assert (len(generated.items), generated.source) == (64, "generated(seed=3)")


def test_the_draw_is_the_seed_s_and_the_same_in_whatever_order_files_are_found(
    tmp_path: Path,
) -> None:
    classes(tmp_path, {"ant": 8, "bee": 8})
    found = find_dataset(section(tmp_path), tmp_path)
    first = [each.key for each in draw(found, 5, seed=1).items]
    assert len(set(first)) == 5
    assert [each.key for each in draw(found, 5, seed=1).items] == first
    assert [each.key for each in draw(found, 5, seed=2).items] != first
    backwards = Dataset(found.items[::-1], found.classes, found.digest, found.source)
    assert draw(backwards, 5, seed=1) == draw(found, 5, seed=1)
    assert [each.key for each in draw(found, 6, seed=1).items][:5] == first
    assert len(draw(found, 99, seed=1).items) == 16


def test_the_section_is_resolved_and_a_run_goes_on_with_the_same_samples_alone(
    tmp_path: Path,
) -> None:
    classes(tmp_path, {"ant": 3, "bee": 3})
    resolved, drawn = resolve(section(tmp_path), tmp_path, seed=5)
    assert (resolved.samples, resolved.shards) == (6, 1)
    assert resolved.digest == drawn.digest
    assert resolve(resolved, tmp_path, seed=5) == (resolved, drawn)
    changed = drawn.items[0].path
    assert changed is not None
    times, content = changed.stat(), changed.read_bytes()
    # of the same size and age, so that only the bytes tell
    changed.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    os.utime(changed, ns=(times.st_atime_ns, times.st_mtime_ns))
    with pytest.raises(UsageError, match="not those that this run began with"):
        resolve(resolved, tmp_path, seed=5)
