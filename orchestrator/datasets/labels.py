"""What the name of a class is as the number of a model's output."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from orchestrator.config.text import hint, listed, shown
from orchestrator.errors import UsageError
from orchestrator.plain_files import read_named

#: Imagenette's ten classes: WordNet id → class of ImageNet's thousand, and its name there.
IMAGENETTE = {
    "n01440764": (0, "tench"),
    "n02102040": (217, "English springer"),
    "n02979186": (482, "cassette player"),
    "n03000684": (491, "chain saw"),
    "n03028079": (497, "church"),
    "n03394916": (566, "French horn"),
    "n03417042": (569, "garbage truck"),
    "n03425413": (571, "gas pump"),
    "n03445777": (574, "golf ball"),
    "n03888257": (701, "parachute"),
}
#: Classes of ImageNet, which is numbered by the order of its WordNet ids.
_IMAGENET = 1000

_NUMBER = re.compile(r"[0-9]{1,9}", re.ASCII)
_WORDNET_ID = re.compile(r"n[0-9]{8}", re.ASCII)
_MOST_BYTES = 64 * 2**20
_MOST_CLASSES = 1_000_000


@dataclass(frozen=True)
class Numbering:
    """Numbers of classes: ``of`` gives that of a name, ``classes`` the names by number."""

    numbers: dict[str, int]
    classes: tuple[str, ...]


def read_lines(path: Path) -> tuple[str, ...]:
    """The classes of a labels file, one a line. Raises UsageError."""
    try:
        text = read_named(path, most_bytes=_MOST_BYTES).decode("utf-8-sig")
    except OSError as exc:
        raise UsageError(f"labels {path}: {exc.strerror or exc}; check the path") from exc
    except UnicodeDecodeError as exc:
        raise UsageError(f"labels {path}: not UTF-8 text; save the file as UTF-8") from exc
    lines = [line.strip() for line in text.rstrip().splitlines()]
    if not lines or not any(lines):
        raise UsageError(f"labels {path}: the file is empty; write one class a line")
    if len(lines) > _MOST_CLASSES:
        raise UsageError(f"labels {path}: has {len(lines)} lines; that is not a list of classes")
    for number, line in enumerate(lines, start=1):
        if not line:
            raise UsageError(
                f"labels {path}:{number}: the line is empty, and each line is a class; write "
                "its name, or `-` for an output that means nothing"
            )
    return tuple(lines)


def from_file(names: Iterable[str], path: Path, offset: int) -> Numbering:
    """Number classes by the lines of a file. Raises UsageError for a class that it has not.

    A line may be the name, or a WordNet id and a name; of several names with commas between them
    the first will do. Imagenette's WordNet ids are found by their names, too.
    """
    lines = read_lines(path)
    if offset and lines[0].lower() == "background":
        raise UsageError(
            f"labels {path}: has `background` as its first class, so that every class is counted "
            "right already; delete `class_offset`"
        )
    places: dict[str, set[int]] = {}
    for number, line in enumerate(lines):
        for form in _forms(line):
            places.setdefault(form, set()).add(number)
    numbers = {name: _find(name, places, path) + offset for name in names}
    return Numbering(numbers, ("",) * offset + lines)


def _forms(line: str) -> set[str]:
    """Every way in which a folder can be called that means the class of this line."""
    first, _, rest = line.partition(" ")
    every = {line, line.partition(",")[0].strip()}
    if _WORDNET_ID.fullmatch(first):
        every |= {first, rest.strip(), rest.partition(",")[0].strip()}
    return every - {""}


def _find(name: str, places: dict[str, set[int]], path: Path) -> int:
    called = name if name in places else IMAGENETTE.get(name, (0, name))[1]
    found = places.get(called, set())
    if len(found) == 1:
        return next(iter(found))
    if found:
        lines = ", ".join(str(number + 1) for number in sorted(found)[:5])
        raise UsageError(
            f"labels {path}: {shown(called)} stands in lines {lines}; name its class by something "
            "that only one line has, such as a WordNet id"
        )
    raise UsageError(
        f"labels {path}: no line is the class {shown(called)} of the data set; "
        f"{hint(called, list(places), 'its classes are')}"
    )


def by_name(names: Sequence[str], where: str, offset: int) -> Numbering:
    """Number classes without a file: Imagenette's as ImageNet has them, others in the order of
    their names. Raises UsageError where that order would be wrong."""
    ordered = sorted(set(names))
    if all(name in IMAGENETTE for name in ordered):
        classes = [""] * (_IMAGENET + offset)
        numbers = {name: IMAGENETTE[name][0] + offset for name in ordered}
        for name, number in numbers.items():
            classes[number] = IMAGENETTE[name][1]
        return Numbering(numbers, tuple(classes))
    if all(map(_WORDNET_ID.fullmatch, ordered)) and len(ordered) != _IMAGENET:
        raise UsageError(
            f"{where}: its classes are {len(ordered)} WordNet ids, neither Imagenette's ten nor "
            "ImageNet's thousand; give `labels:` a file with a WordNet id a line, in the order of "
            "the model's outputs"
        )
    if all(map(_NUMBER.fullmatch, ordered)) and list(map(int, ordered)) != list(
        range(len(ordered))
    ):
        raise UsageError(
            f"{where}: its classes are numbers ({listed(ordered[:3])} …), which as text have "
            "another order than as numbers; give `labels:` a file with one of them a line, in the "
            "order of the model's outputs (torchvision and Keras train in the order of the text)"
        )
    numbers = {name: number + offset for number, name in enumerate(ordered)}
    return Numbering(numbers, ("",) * offset + tuple(ordered))
