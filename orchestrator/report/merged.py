"""Shows several runs in one table: on a terminal, as Markdown, csv, JSON and a page.

What is shown is put together once, as lines of plain text (:class:`MergedView`). Nothing is
computed here.
"""

from __future__ import annotations

import io
import json
import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from orchestrator import plain_files
from orchestrator.analysis.drift.comparison import SPEEDUP, ComparedRow
from orchestrator.analysis.drift.merged import (
    Column,
    Line,
    MergedTable,
    Origin,
    Repeat,
    Unlike,
)
from orchestrator.analysis.table import Speedup, SpeedupTable, Verdict
from orchestrator.errors import OrchestrateError, UsageError
from orchestrator.factors import factor_named
from orchestrator.frameworks.settings import title_of
from orchestrator.report import figures, flat
from orchestrator.report.clean import clean
from orchestrator.report.clean import markdown as safe
from orchestrator.report.drift import change_in_words
from orchestrator.report.grid import render_grid
from orchestrator.report.jsonable import jsonable
from orchestrator.report.markup import Markup, element, join
from orchestrator.report.notes import SIGNS, place_in_full
from orchestrator.report.page import PageSection, grid, page, row_of

FORMATS = ("text", "csv", "json", "markdown", "html")
#: What ``orchestrate merge`` writes.
FILES = {
    "csv": "merged.csv",
    "json": "merged.json",
    "markdown": "merged.md",
    "html": "merged.html",
}
#: Version of the JSON's shape. 1: the first.
JSON_FORMAT = 1
TITLE = "Speed-ups of several runs"

METHOD = (
    "Each column is one device in one run, and each figure that run's own: speed-up, interval, "
    "noise floor and Holm's correction are those of its table, and nothing is averaged over runs. "
    "On one line stand comparisons of the same two files, by SHA-256, at the same numbers of "
    "threads, batch and the like; others have a line of their own, and are not held against each "
    "other. What else the columns of a line do not share is listed: a difference between two such "
    "columns is not one of the hardware alone."
)
REPEATS_METHOD = (
    "Repeats: later run ÷ first run of one device, Hodges-Lehmann estimate and exact rank-sum 95 % "
    "interval over the blocks of both. Changed: the interval excludes 1, the change is beyond the "
    "noise floor of either run, and it passes Holm's correction over all figures of the two runs "
    "at 5 %."
)
#: How wide a column of the terminal's table is, at least.
_CELL_WIDTH = 26


@dataclass(frozen=True)
class ColumnHead:
    """A column: a short mark for the table, its device, and what its figures come from."""

    mark: str
    device: str
    run: str
    facts: tuple[str, ...]


@dataclass(frozen=True)
class RepeatView:
    """One device in two runs: rows of plain cells under ``REPEAT_HEADER``, and lines below."""

    title: str
    cells: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...]


REPEAT_HEADER = ("Model", "Scheme", "First", "Later", "Ratio, 95 % interval", "")


@dataclass(frozen=True)
class MergedView:
    """What every format shows. ``names`` has the model and the scheme of each line of the table,
    ``cells`` its cells as text, and ``notes`` what has to be read with which lines."""

    heads: tuple[ColumnHead, ...]
    names: tuple[tuple[str, str], ...]
    cells: tuple[tuple[str, ...], ...]
    verdicts: tuple[tuple[Verdict | None, ...], ...]
    notes: tuple[str, ...]
    repeats: tuple[RepeatView, ...]
    missing: tuple[str, ...]


def view_of(table: MergedTable) -> MergedView:
    """What is shown of ``table``, every text made fit to be shown."""
    several = len({line.baseline for line in table.lines}) > 1
    return MergedView(
        heads=tuple(
            _head(number, column, table.origins[column.origin], table)
            for number, column in enumerate(table.columns)
        ),
        names=tuple(
            (clean(_model(line, table.lines)), clean(_scheme(line, several=several)))
            for line in table.lines
        ),
        cells=tuple(tuple(map(_cell, line.cells)) for line in table.lines),
        verdicts=tuple(
            tuple(None if cell is None else cell.verdict for cell in line.cells)
            for line in table.lines
        ),
        notes=tuple(clean(each) for each in _notes(table, several=several)),
        repeats=tuple(_repeat(each, table) for each in table.repeats),
        missing=tuple(map(clean, table.missing)),
    )


def render(table: MergedTable, shape: str, *, width: int, color: bool = False) -> str:
    """Return the table in one of ``FORMATS``. Raises UsageError on another one."""
    if shape == "csv":
        return to_csv(table)
    if shape == "json":
        return to_json(table)
    view = view_of(table)
    if shape == "text":
        return to_text(view, width=width, color=color)
    if shape == "markdown":
        return to_markdown(view)
    if shape == "html":
        return to_html(view)
    raise UsageError(
        f"several runs have no format {shape!r}; choose one of: {', '.join(FORMATS)}, or name one "
        f"run"
    )


def write(table: MergedTable, folder: Path) -> tuple[Path, ...]:
    """Write all of ``FILES`` into ``folder``, making it where it is not there, each all or
    nothing.

    Raises OrchestrateError where one cannot be written.
    """
    written = []
    for shape, name in FILES.items():
        path = folder / name
        try:
            folder.mkdir(parents=True, exist_ok=True)
            plain_files.write(folder, name, render(table, shape, width=100).encode())
        except OSError as exc:
            raise OrchestrateError(
                f"{path}: cannot be written ({exc.strerror or exc}); choose another --output"
            ) from exc
        written.append(path)
    return tuple(written)


# -- the view -------------------------------------------------------------------------------------


def mark(number: int) -> str:
    """``A`` … ``Z``, ``AA`` …: what a column is called in the table."""
    letters = ""
    number += 1
    while number:
        number, rest = divmod(number - 1, 26)
        letters = chr(ord("A") + rest) + letters
    return letters


def _head(number: int, column: Column, origin: Origin, table: MergedTable) -> ColumnHead:
    device = place_in_full(column.device, column.isa)
    if len({c.machine for c in table.columns if c.device == column.device}) > 1:
        device += f" (machine {column.machine})"
    own = [line.cells[number] for line in table.lines]
    ran = sorted({cell.runtime_version for cell in own if cell and cell.runtime_version})
    runners = sorted({str(cell.level("runner")) for cell in own if cell})
    versions = origin.versions.get("orchestrate")
    facts = (
        column.microarchitecture or "microarchitecture unknown",
        ", ".join(f"{name} {level}" for name, level in column.setting),
        f"begun {origin.created[:16].replace('T', ' ')} UTC",
        f"suite {origin.suite or 'unnamed'} ({origin.suite_sha256[:8]})",
        f"{'/'.join(runners)} ({'/'.join(ran) or 'version not recorded'})",
        f"orchestrate {versions}" if versions else "",
    )
    return ColumnHead(
        mark(number), clean(device), clean(origin.run_id), tuple(clean(f) for f in facts if f)
    )


def _model(line: Line, lines: Sequence[Line]) -> str:
    """``resnet50 (threads 4)``: with the numbers in which lines differ."""
    held = [
        factor_named(name).title.format(level)
        for name, level in line.numbers
        if len({dict(each.numbers).get(name, level) for each in lines}) > 1
    ]
    return f"{line.model} ({', '.join(held)})" if held else line.model


def _scheme(line: Line, *, several: bool) -> str:
    over = f" over {line.baseline}" if several else ""
    hashes = f" [files {_files(line)}]" if line.apart else ""
    return f"{line.scheme}{over}{hashes}"


def _files(line: Line) -> str:
    both = (line.files.treatment, line.files.baseline)
    return "/".join(each[:8] or "not recorded" for each in both)


def _cell(cell: Speedup | None) -> str:
    if cell is None:
        return figures.NONE
    if cell.speedup is None:
        return f"{SIGNS[cell.verdict]} {cell.verdict.value}"
    return f"{SIGNS[cell.verdict]} {figures.speedup(cell)}"


def _notes(table: MergedTable, *, several: bool) -> Iterable[str]:
    """What has to be read with the lines: each once, with the lines that it is of."""
    shared: dict[str, list[str]] = {}
    for line in table.lines:
        name = f"{_model(line, table.lines)} {_scheme(line, several=several)}"
        for unlike in line.unlike:
            shared.setdefault(_unlike(unlike), []).append(name)
        for why in line.apart:
            shared.setdefault(f"kept apart from another line of that name: {why}", []).append(name)
    for words, names in shared.items():
        some = ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
        lines = "all lines" if len(names) == len(table.lines) > 1 else some
        yield f"{lines}: {words}"
    yield from table.machines


def _unlike(unlike: Unlike) -> str:
    values = (
        f"{', '.join(mark(number) for number in numbers)}: {value}"
        for value, numbers in unlike.values
    )
    return f"{unlike.what} not the same: {'; '.join(values)}"


def _repeat(repeat: Repeat, table: MergedTable) -> RepeatView:
    first, later = (table.origins[n].run_id for n in (repeat.first, repeat.second))
    changed = sum(row.changed for row in repeat.rows)
    told = f"{changed} of {figures.counted(len(repeat.rows), 'comparison')} changed"
    notes = [repeat.why_not] if repeat.why_not else []
    if repeat.by_name_alone:
        notes.append("one machine by its name alone: not both runs recorded which one it was")
    for row in repeat.rows:
        name = f"{row.model} {row.scheme}"
        verdicts = [each.value for each in row.verdicts]
        notes += [f"{name}: verdict {' → '.join(verdicts)}"] if len({*verdicts}) > 1 else []
        notes += [f"{name}: {row.reason}"] if row.reason else []
        notes += [f"{name}: {change_in_words(each)}" for each in row.conditions]
    notes += [f"condition {change_in_words(each)}" for each in repeat.conditions]
    return RepeatView(
        clean(f"{repeat.device}, {later} against {first}: {told}"),
        tuple(_repeat_cells(row, repeat.rows) for row in repeat.rows if row.drifts),
        tuple(map(clean, dict.fromkeys(notes))),
    )


def _repeat_cells(row: ComparedRow, rows: Sequence[ComparedRow]) -> tuple[str, ...]:
    drift = next(each for each in row.drifts if each.figure == SPEEDUP)
    several = len({each.factors for each in rows}) > 1
    model = f"{row.model} ({title_of(row.factors)})" if several else row.model
    word = f"{'▲' if drift.ratio > 1 else '▼'} changed" if drift.changed else "= not shown"
    return (
        clean(model),
        clean(row.scheme),
        f"{figures.number(drift.first)}×",
        f"{figures.number(drift.second)}×",
        figures.ratio(drift.ratio, drift.low, drift.high, 4),
        word,
    )


# -- formats --------------------------------------------------------------------------------------


def to_text(view: MergedView, *, width: int, color: bool) -> str:
    """The table for a terminal, in as many parts as it takes to fit ``width``."""
    out = io.StringIO()
    out.write(f"{TITLE}\n\n")
    for head in view.heads:
        words = f"{head.mark}  {head.device}: run {head.run}, {', '.join(head.facts)}"
        out.write(textwrap.fill(words, width, subsequent_indent="   ") + "\n")
    out.write("\n")
    name = max((len(m) for names in view.names for m in names), default=0) + 2
    room = max(1, (width - name) // _CELL_WIDTH)
    for begin in range(0, len(view.heads), room):
        some = slice(begin, begin + room)
        header = ("model", "scheme", *(f"{h.mark} {h.device}" for h in view.heads[some]))
        rows = [[*names, *cells[some]] for names, cells in zip(view.names, view.cells, strict=True)]
        out.write(render_grid(header, rows, width=width, color=color) + "\n")
    _list(out, "To be read with it", view.notes, width)
    for each in view.repeats:
        out.write(f"Repeat: {each.title}\n")
        if each.cells:
            out.write(render_grid(REPEAT_HEADER, each.cells, width=width, color=color))
        _list(out, "", each.notes, width)
    _list(out, "Not measured", view.missing, width)
    methods = f"{METHOD} {REPEATS_METHOD}" if view.repeats else METHOD
    out.write(textwrap.fill(methods, width) + "\n")
    return out.getvalue()


def _list(out: io.StringIO, title: str, lines: Sequence[str], width: int) -> None:
    if not lines:
        return
    out.write(f"{title}\n" if title else "")
    for line in lines:
        out.write(textwrap.fill(line, width, initial_indent="  ", subsequent_indent="    ") + "\n")
    out.write("\n")


def to_markdown(view: MergedView) -> str:
    """The table for a paper's repository or an issue."""
    parts = [
        f"# {TITLE}",
        _table(
            ("", "Device", "Run", "What its figures come from"),
            [(h.mark, safe(h.device), safe(h.run), safe("; ".join(h.facts))) for h in view.heads],
        ),
        _table(
            ("Model", "Scheme", *(f"{h.mark} {safe(h.device)}" for h in view.heads)),
            [
                (*map(safe, names), *map(safe, cells))
                for names, cells in zip(view.names, view.cells, strict=True)
            ],
        ),
        _items("To be read with it", view.notes),
    ]
    for each in view.repeats:
        parts.append(f"## Repeat: {safe(each.title)}")
        parts += [_table(REPEAT_HEADER, [tuple(map(safe, c)) for c in each.cells])]
        parts.append("\n".join(f"- {safe(note)}" for note in each.notes))
    parts += [_items("Not measured", view.missing), METHOD]
    parts += [REPEATS_METHOD] if view.repeats else []
    return "\n\n".join(part for part in parts if part) + "\n"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = (header, ["---"] * len(header), *rows)
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines) if rows else ""


def _items(title: str, lines: Sequence[str]) -> str:
    return "\n".join([f"{title}:", "", *(f"- {safe(each)}" for each in lines)]) if lines else ""


def to_html(view: MergedView) -> str:
    """The page: in one file that loads nothing and runs nothing."""
    runs = list(dict.fromkeys(head.run for head in view.heads))
    lead = element("p", f"{figures.counted(len(runs), 'run')}: {', '.join(runs)}.", class_="quiet")
    return page(TITLE, ", ".join(runs), (lead,), _parts(view))


def _parts(view: MergedView) -> Iterable[PageSection]:
    yield PageSection("table", "Table", _page_table(view))
    yield PageSection("columns", "Where each column comes from", _page_columns(view))
    yield PageSection("unlike", "To be read with it", _page_list(view.notes))
    repeats = [part for each in view.repeats for part in _page_repeat(each)]
    if repeats:
        repeats.append(element("p", REPEATS_METHOD, class_="quiet"))
    yield PageSection("repeats", "The same device again", join(repeats))
    yield PageSection("missing", "Not measured", _page_list(view.missing))
    yield PageSection("method", "How to read this", element("p", METHOD))


def _page_table(view: MergedView) -> Markup:
    header = ("Model", "Scheme", *(f"{head.mark} {head.device}" for head in view.heads))
    rows, last = [], ""
    for (model, scheme), cells, verdicts in zip(view.names, view.cells, view.verdicts, strict=True):
        shown = (
            element("td", text, class_="number")
            if verdict is None
            else element("td", element("span", text, class_=verdict.value), class_="number")
            for text, verdict in zip(cells, verdicts, strict=True)
        )
        name = element("th", "" if model == last else model, scope="row")
        rows.append(row_of(name, scheme, *shown))
        last = model
    return grid(header, rows)


def _page_columns(view: MergedView) -> Markup:
    return grid(
        ("", "Device", "Run", "What its figures come from"),
        (row_of(h.mark, h.device, h.run, "; ".join(h.facts))
         for h in view.heads),
    )  # fmt: skip


def _page_list(lines: Sequence[str]) -> Markup:
    return element("ul", *(element("li", line) for line in lines)) if lines else Markup()


def _page_repeat(view: RepeatView) -> Iterable[Markup]:
    yield element("h3", view.title)
    if view.cells:
        yield grid(REPEAT_HEADER, (row_of(*cells) for cells in view.cells))
    yield _page_list(view.notes)


def to_csv(table: MergedTable) -> str:
    """A line a comparison of each column: the columns of speedup.csv, and behind them the run, the
    files by hash, and what the line's columns do not share."""
    placed = [
        (number, line, cell)
        for line in table.lines
        for number, cell in enumerate(line.cells)
        if cell is not None
    ]
    frame = flat.to_frame(_rows_alone([cell for _, _, cell in placed]))
    origins = [table.origins[table.columns[number].origin] for number, _, _ in placed]
    frame["column"] = [mark(number) for number, _, _ in placed]
    frame["machine"] = [str(table.columns[number].machine) for number, _, _ in placed]
    frame["run_created"] = [each.created for each in origins]
    frame["suite"] = [each.suite for each in origins]
    frame["suite_sha256"] = [each.suite_sha256 for each in origins]
    frame["orchestrate"] = [each.versions.get("orchestrate", "") for each in origins]
    frame["baseline_sha256"] = [line.files.baseline for _, line, _ in placed]
    frame["treatment_sha256"] = [line.files.treatment for _, line, _ in placed]
    frame["standing"] = [line.standing for _, line, _ in placed]
    frame["unlike"] = [";".join(each.what for each in line.unlike) for _, line, _ in placed]
    return flat.frame_to_csv(frame)


def _rows_alone(rows: Sequence[Speedup]) -> SpeedupTable:
    """A table of these rows and nothing else."""
    return SpeedupTable(
        run_id="", baseline="", devices=(), rows=tuple(rows), noise_floors=(), problems=(),
        lost={}, stopped={}, outcomes={}, unfinished=0, precision=0.0, min_blocks=0, max_blocks=0,
    )  # fmt: skip


def to_json(table: MergedTable) -> str:
    """All there is, ASCII only. Each cell is a comparison as speedup.json has it."""
    document = {
        "format": JSON_FORMAT,
        "method": f"{METHOD} {REPEATS_METHOD}",
        "runs": [jsonable(asdict(each)) for each in table.origins],
        "columns": [
            {"column": mark(number), **asdict(each), "run_id": table.origins[each.origin].run_id}
            for number, each in enumerate(table.columns)
        ],
        "lines": [_line_to_json(line) for line in table.lines],
        "repeats": [jsonable(asdict(each)) for each in table.repeats],
        "missing": list(table.missing),
        "machines": list(table.machines),
    }
    return json.dumps(document, indent=1, allow_nan=False) + "\n"


def _line_to_json(line: Line) -> dict[str, Any]:
    plain = {**asdict(replace(line, cells=())), "standing": line.standing}
    plain["cells"] = {
        mark(number): flat.row_to_json(cell)
        for number, cell in enumerate(line.cells)
        if cell is not None
    }
    return plain
