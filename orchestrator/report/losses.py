"""Where a scheme loses: class by class, and sample by sample with their pictures. For the page."""

from __future__ import annotations

import base64
import itertools
from collections.abc import Iterable, Mapping, Sequence

from orchestrator.analysis.table import AccuracyComparison, ChangedAnswer, ClassChange
from orchestrator.report import accuracy
from orchestrator.report.clean import clean
from orchestrator.report.figures import counted
from orchestrator.report.markup import Markup, element
from orchestrator.report.notes import SectionKey, section_label
from orchestrator.report.page import grid, row_of

#: Pictures on a page, their longer side in pixels, and the bytes of each: half a MB together.
MOST_PICTURES, PICTURE_SIDE, MOST_PICTURE_BYTES = 40, 96, 12_000

#: Samples that a page names, of all comparisons together, and of each where there are many.
_MOST_SAMPLES, _FEWEST_SAMPLES = 1500, 5

_CLASSES_HEADER = ("Class", "Samples", "Accuracy, %", "Lost", "Gained")
#: What the table of classes is, and what it is of a detector.
_ABOUT_CLASSES = (
    "The classes that changed, those that lost most first.",
    "The classes that changed, those that lost most first: average precision, and the objects that "
    "the baseline or the scheme alone finds at an IoU of 0.5.",
)
_CHANGED_HEADER = ("Sample", "Right", "Baseline's answer", "Answer")
_PICTURE_HEADER = ("", *_CHANGED_HEADER)


def pictured(rows: Sequence[AccuracyComparison]) -> tuple[tuple[int, str], ...]:
    """Which samples are to be shown, by the place of their row and their key: of every row as many
    as of the others, until there are enough."""
    keys = [[(place, each.key) for each in row.changed] for place, row in enumerate(rows)]
    rounds = itertools.chain.from_iterable(itertools.zip_longest(*keys))
    return tuple(itertools.islice((each for each in rounds if each is not None), MOST_PICTURES))


def details(
    rows: Sequence[AccuracyComparison], pictures: Mapping[str, bytes], missing: str
) -> Iterable[Markup]:
    """Every comparison that lost or changed something, folded. ``pictures`` are JPEG images by the
    samples' keys; ``missing`` says why some are not there."""
    shown = {(place, key) for place, key in pictured(rows) if key in pictures}
    losing = [(place, row) for place, row in enumerate(rows) if row.classes or row.changed]
    if not losing:
        return
    most = max(_FEWEST_SAMPLES, _MOST_SAMPLES // len(losing))
    told = [
        _of_row(row, {key: pictures[key] for at, key in shown if at == place}, most)
        for place, row in losing
    ]
    yield element("h3", "What was lost, class by class and sample by sample")
    yield from told
    if missing and any(row.changed for row in rows):
        yield element("p", f"Pictures are missing: {clean(missing)}.", class_="quiet")


def _of_row(row: AccuracyComparison, pictures: Mapping[str, bytes], most: int) -> Markup:
    where = section_label(SectionKey(row.device, row.factors))
    summary = f"{clean(row.model)} {clean(row.scheme)}, {where}: {_in_short(row)}"
    return element("details", element("summary", summary), *_tables(row, pictures, most))


def _in_short(row: AccuracyComparison) -> str:
    """``57 lost, 12 gained, 80 answers changed``."""
    said = [] if row.lost is None else [f"{row.lost} lost", f"{row.gained} gained"]
    changed = _count_changed(row)
    if changed:
        said.append(f"{counted(changed, 'answer')} changed")
    if row.lost is None and row.classes:
        said.append("another average precision in " + _counted_classes(len(row.classes)))
    return ", ".join(said) or "no answer changed"


def _counted_classes(count: int) -> str:
    """``1 class``, ``3 classes``."""
    return "1 class" if count == 1 else f"{count} classes"


def _count_changed(row: AccuracyComparison) -> int:
    """How many samples have another answer, shown or not: those that do not agree."""
    if row.changes is not None:
        return row.changes
    same = row.agreement[0].same_top1 if row.agreement else None
    if same is None or same.value is None:
        return len(row.changed)
    return max(len(row.changed), round((1 - same.value) * row.samples))


def _tables(row: AccuracyComparison, pictures: Mapping[str, bytes], most: int) -> Iterable[Markup]:
    if row.classes:
        yield grid(_CLASSES_HEADER, (_class(each) for each in row.classes))
        yield element("p", _ABOUT_CLASSES[row.lost is None], class_="quiet")
    if row.changed:
        header = _PICTURE_HEADER if pictures else _CHANGED_HEADER
        named = row.changed[:most]
        yield grid(header, (_changed(each, pictures) for each in named))
        left = _count_changed(row) - len(named)
        if left > 0:
            more = f"{counted(left, 'more sample')} changed too."
            yield element("p", more, class_="quiet")


def _class(each: ClassChange) -> Markup:
    shares = f"{accuracy.percent(each.baseline)} → {accuracy.percent(each.treatment)}"
    figures = (str(each.samples), shares, str(each.lost), str(each.gained))
    return row_of(clean(each.name), *(element("td", text, class_="number") for text in figures))


def _changed(each: ChangedAnswer, pictures: Mapping[str, bytes]) -> Markup:
    cells: list[str] = [_picture(each, pictures.get(each.key))] if pictures else []
    right = {True: "right", False: "wrong"}
    sides = [
        f"{clean(answer)} ({right[answer == each.label]})"
        for answer in (each.baseline, each.treatment)
    ]
    said = (clean(each.key), clean(each.label), *sides)
    return row_of(*cells, *(element("td", text, class_="number") for text in said))


def _picture(each: ChangedAnswer, data: bytes | None) -> Markup:
    if data is None:
        return element("td")
    source = f"data:image/jpeg;base64,{base64.b64encode(data).decode('ascii')}"
    return element("td", element("img", src=source, alt=clean(each.key)))
