"""Images in folders: a folder a class, a table of labels beside them, or no labels at all."""

from __future__ import annotations

import csv
import io
import os
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from orchestrator.config.accuracy import AGREEMENT, Accuracy
from orchestrator.config.text import hint, listed, shown
from orchestrator.config.values import in_home
from orchestrator.datasets.dataset import Dataset, Item, digest_of
from orchestrator.datasets.labels import Numbering, by_name, from_file, read_lines
from orchestrator.errors import UsageError
from orchestrator.plain_files import read_named

#: The endings of files that are taken for images.
SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".webp")
#: The table of labels of a folder that has one.
TABLE = "labels.csv"

_SPLITS = frozenset({"train", "training", "val", "valid", "validation", "test"})
_NUMBER = re.compile(r"[0-9]{1,7}", re.ASCII)
_MOST_TABLE_BYTES = 256 * 2**20


def find_images(section: Accuracy, root: Path) -> Dataset:
    """Return the images of a folder, with their labels where the task has any.

    Raises UsageError naming the place and the next step.
    """
    folder = _split_of(section, root)
    if section.task == AGREEMENT:
        items = tuple(Item(_key(path, folder), path=path) for path in _images_below(folder))
        if not items:
            raise UsageError(f"{folder}: holds no image ({', '.join(SUFFIXES)}); check the path")
        return _dataset(items, (), folder)
    offset = section.class_offset
    table = folder / TABLE
    if table.is_file():
        named = _from_table(table)
        if all(_NUMBER.fullmatch(text) for _, _, text in named):
            return _numbered(named, section, folder)
    else:
        named = [
            (_key(path, folder), path, each.name)
            for each in _class_folders(folder)
            for path in _images_of(each)
        ]
    names = list(dict.fromkeys(text for _, _, text in named))
    numbering: Numbering = (
        by_name(names, str(folder), offset)
        if section.labels is None
        else from_file(names, section.labels, offset)
    )
    items = tuple(Item(key, numbering.numbers[text], path) for key, path, text in named)
    return _dataset(items, numbering.classes, folder)


def _numbered(named: list[tuple[str, Path, str]], section: Accuracy, folder: Path) -> Dataset:
    """A table whose labels are numbers of outputs, which a labels file gives names."""
    offset = section.class_offset
    items = tuple(Item(key, int(text) + offset, path) for key, path, text in named)
    if section.labels is None:
        return _dataset(items, (), folder)
    classes = ("",) * offset + read_lines(section.labels)
    wrong = next((each for each in items if (each.label or 0) >= len(classes)), None)
    if wrong is not None:
        raise UsageError(
            f"{folder / TABLE}: {shown(wrong.key)} has the label {(wrong.label or 0) - offset}, "
            f"and {section.labels} has {len(classes) - offset} classes, counted from 0; give it a "
            "class a line"
        )
    return _dataset(items, classes, folder)


def _dataset(items: tuple[Item, ...], classes: tuple[str, ...], folder: Path) -> Dataset:
    sizes = (f"{each.key} {each.label} {_bytes_of(each.path)}" for each in items)
    return Dataset(items, classes, digest_of(sizes), in_home(str(folder)))


def _bytes_of(path: Path | None) -> int:
    try:
        return 0 if path is None else path.stat().st_size
    except OSError as exc:
        raise UsageError(f"{path}: {exc.strerror or exc}; restore it, or take it out") from exc


def _split_of(section: Accuracy, root: Path) -> Path:
    """The folder that the samples are in."""
    if not root.is_dir():
        what = (
            "this is a file; a data set is a folder or a .npz file"
            if root.exists()
            else (
                "there is no such folder; check `dataset` in the suite, whose head may say where "
                "the data come from"
            )
        )
        raise UsageError(f"data set {root}: {what}")
    below = [each.name for each in _folders(root)]
    if section.split is None:
        splits = [name for name in below if name.lower() in _SPLITS]
        if splits and not (root / TABLE).is_file():
            raise UsageError(
                f"data set {root}: holds {listed(splits)}; say which with `split: {splits[-1]}`"
            )
        return root
    folder = root / section.split
    if not folder.is_dir():
        raise UsageError(
            f"data set {root}: there is no folder {shown(section.split)}; "
            f"{hint(section.split, below, 'there are')}"
        )
    return folder


def _folders(folder: Path) -> list[Path]:
    try:
        every = sorted(folder.iterdir(), key=lambda each: each.name)
    except OSError as exc:
        raise UsageError(f"{folder}: cannot be read ({exc.strerror or exc})") from exc
    return [e for e in every if e.is_dir() and not e.name.startswith((".", "__MACOSX"))]


def _class_folders(folder: Path) -> list[Path]:
    found = _folders(folder)
    if not found:
        raise UsageError(
            f"data set {folder}: holds no folder; labelled images lie in a folder a class, "
            f"CLASS/IMAGE, or are listed in {TABLE} beside them (`file,label`); "
            "`task: agreement` needs no labels"
        )
    return found


def _images_of(folder: Path) -> list[Path]:
    """The images of a class; without any, its number would be that of nothing."""
    found = list(_images_below(folder))
    if not found:
        raise UsageError(
            f"{folder}: holds no image ({', '.join(SUFFIXES)}), and every folder is a class; fill "
            "it, or take it away"
        )
    return found


def _images_below(folder: Path) -> Iterator[Path]:
    """Every image in a folder and in those below it, in the order of their names."""

    def refuse(exc: OSError) -> None:
        raise UsageError(f"{exc.filename}: cannot be read ({exc.strerror})") from exc

    for place, folders, names in os.walk(folder, onerror=refuse):
        folders[:] = sorted(n for n in folders if not n.startswith((".", "__MACOSX")))
        for name in sorted(names):
            # a Mac's archives have a ._IMAGE beside every IMAGE
            if name.lower().endswith(SUFFIXES) and not name.startswith("."):
                yield Path(place, name)


def _key(path: Path, folder: Path) -> str:
    return path.relative_to(folder).as_posix()


def _from_table(table: Path) -> list[tuple[str, Path, str]]:
    """Key, file and label of every line of a table. Raises UsageError with the line."""
    try:
        text = read_named(table, most_bytes=_MOST_TABLE_BYTES).decode("utf-8-sig")
    except OSError as exc:
        raise UsageError(f"{table}: cannot be read ({exc.strerror or exc})") from exc
    except UnicodeDecodeError as exc:
        raise UsageError(f"{table}: not UTF-8 text; save the file as UTF-8") from exc
    rows = csv.DictReader(io.StringIO(text, newline=""), skipinitialspace=True)
    try:
        if not {"file", "label"} <= set(rows.fieldnames or ()):
            raise UsageError(f"{table}:1: the first line names the columns; write `file,label`")
        found: dict[str, tuple[str, Path, str]] = {}
        lines: dict[str, int] = {}
        for row in rows:
            line = rows.line_num
            key, label = (row["file"] or "").strip(), (row["label"] or "").strip()
            path = _listed(table, line, key, label)
            if key in found:
                raise UsageError(
                    f"{table}:{line}: {shown(key)} is listed twice, first in line {lines[key]}"
                )
            found[key], lines[key] = (key, path, label), line
    except csv.Error as exc:
        raise UsageError(f"{table}:{rows.line_num}: not a table: {exc}") from exc
    if not found:
        raise UsageError(f"{table}: lists no file")
    return list(found.values())


def _listed(table: Path, line: int, key: str, label: str) -> Path:
    """The file of a line. Raises UsageError where it cannot be one."""
    inside = PurePosixPath(key)
    if not key or not label:
        raise UsageError(f"{table}:{line}: the file or the label is missing; write `file,label`")
    if inside.is_absolute() or ".." in inside.parts:
        raise UsageError(f"{table}:{line}: {shown(key)} does not lie in the table's folder")
    path = table.parent / inside
    if not path.is_file():
        raise UsageError(f"{table}:{line}: there is no file {shown(key)} beside the table")
    return path
