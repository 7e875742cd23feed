"""The table for a terminal of 80 columns or more, readable without colour."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence

from rich.cells import cell_len
from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from orchestrator.analysis.table import Speedup, SpeedupTable, Verdict
from orchestrator.printable import printable
from orchestrator.report import figures, published
from orchestrator.report.clean import clean
from orchestrator.report.notes import SIGNS, by_model, codes
from orchestrator.report.pivot import column_of, pivots, superscript
from orchestrator.report.view import (
    COLUMNS,
    Column,
    Grid,
    Section,
    View,
    view_of,
)

_GAP = "  "
_NARROWEST_NAME = 12

_STYLES = {
    Verdict.FASTER: "green",
    Verdict.SLOWER: "red",
    Verdict.INDISTINGUISHABLE: "yellow",
    Verdict.INVALID: "bold magenta",
}


#: From the richest to the barest; the first that fits is taken. What it leaves out of the line
#: stands below it.
_LAYOUTS = (
    (
        *("speedup", "precision", "verdict", "accuracy", "time", "size", "memory", "energy", "co2"),
        "blocks",
    ),
    ("speedup", "precision", "verdict", "accuracy", "time", "size", "memory", "blocks"),
    ("speedup", "precision", "verdict", "accuracy", "time", "blocks"),
    ("speedup", "precision", "verdict", "time", "blocks"),
    ("speedup", "verdict", "time", "blocks"),
)

#: How a column is headed where room is scarce.
_HEADERS = {
    "speedup": "speed-up",
    "verdict": "verdict",
    "accuracy": "accuracy %",
    "time": "ms",
    "size": "size MB",
    "memory": "memory MB",
    "energy": "mJ",
    "co2": "CO₂ µg",
}


def to_text(table: SpeedupTable, *, width: int, color: bool) -> str:
    """The whole report, lines at most ``width`` wide where the names in it allow that."""
    out = io.StringIO()
    console = Console(
        file=out,
        width=width,
        force_terminal=color,
        color_system="standard" if color else None,
        no_color=not color,
        highlight=False,
        markup=False,
        emoji=False,
        legacy_windows=False,
    )
    view = view_of(table)
    _head(console, view)
    for section in view.sections:
        _section(console, section)
    # last, beside its footnotes: a terminal shows the end
    several = len(set(map(column_of, table.rows))) > 1
    notes = {each.code: number for number, each in enumerate(view.explanations, 1)}
    for block in pivots(table.rows, width, _STYLES, notes):
        console.print()
        _paragraph(console, "", block.title, "bold")
        for line in block.lines:
            _line(console, line)
    if several:
        signs = ", ".join(f"{sign} {verdict.value}" for verdict, sign in SIGNS.items())
        _paragraph(console, "", f"{signs}; numbers: findings, below", "dim")
    for kind in view.grids:
        for grid in kind.grids:
            _grid(console, grid)
        console.print()
        _paragraph(console, "", kind.method, "dim")
    _notes(console, view, numbered=several)
    return "".join(line.rstrip() + "\n" for line in out.getvalue().splitlines())


def _head(console: Console, view: View) -> None:
    title = f"Speed-up over {clean(view.baseline)}, run {clean(view.run_id)}"
    _line(console, Text(title, "bold"))
    _line(console, Text(view.totals))
    if view.weights:
        _paragraph(console, "", f"weights: {view.weights}")
    if view.empty:
        _paragraph(console, "", view.empty)


def _section(console: Console, section: Section) -> None:
    console.print()
    _line(console, Text(section.title, "bold"))
    for line in section.lines:
        _paragraph(console, "", line)
    if not section.measured:
        _unmeasured(console, section.rows)
        return
    widths, columns = _fit(section, console.width)
    header = [_HEADERS.get(c.name, c.header) for c in columns]
    _line(console, Text(_join("", header, widths, columns), "dim"))
    for model, of_model in section.models.items():
        _line(console, Text(clean(model), "bold"))
        for row in of_model:
            _row(console, section, row, columns, widths)
    for line in section.floors:
        _paragraph(console, "", line)


def _unmeasured(console: Console, rows: Sequence[Speedup]) -> None:
    """Nothing reached the device: a line a model, and the reason once."""
    for model, of_model in by_model(rows).items():
        _paragraph(console, "  ", f"✗ {model}: {', '.join(row.scheme for row in of_model)}")
    for reason in dict.fromkeys(row.reason for row in rows):
        _paragraph(console, "    ", clean(reason))


def _cell(column: Column, row: Speedup) -> str:
    text = column.cell(row)
    return f"{SIGNS[row.verdict]} {text}" if column.name == "verdict" else text


def _fit(section: Section, width: int) -> tuple[list[int], tuple[Column, ...]]:
    """The richest columns that fit, and their widths, the name's first."""
    rows = section.rows
    names = [clean(r.model) for r in rows] + ["  " + clean(r.scheme) for r in rows]
    name = max(map(cell_len, names))
    for layout in _LAYOUTS:
        columns = section.columns(layout)
        widths = [
            max([cell_len(_HEADERS.get(c.name, c.header)), *(cell_len(_cell(c, r)) for r in rows)])
            for c in columns
        ]
        others = sum(widths) + len(_GAP) * len(widths)
        if name + others <= width:
            break
    else:
        name = max(_NARROWEST_NAME, width - others)
    return [name, *widths], columns


def _row(
    console: Console,
    section: Section,
    row: Speedup,
    columns: Sequence[Column],
    widths: Sequence[int],
) -> None:
    cells = [_cell(column, row) for column in columns]
    line = Text(_join("  " + clean(row.scheme), cells, widths, columns))
    line.highlight_words([_cell(COLUMNS["verdict"], row)], _STYLES[row.verdict])
    _line(console, line)
    if below := _below(section, row, columns):
        _paragraph(console, "    ", below, "dim")
    if row.verdict is Verdict.INVALID:
        _paragraph(console, "    ", clean(row.reason))
    if row.findings:
        _paragraph(console, "    ", f"! {', '.join(codes(row))}", "yellow")


def _below(section: Section, row: Speedup, columns: Sequence[Column]) -> str:
    """``±21%, size 16.9 → 4.43 MB, memory 94.8 → 73.2 MB``: what has no column."""
    left = (column for column in section.columns(_LAYOUTS[0]) if column not in columns)
    return ", ".join(
        f"{column.header[:1].lower()}{column.header[1:]} {column.cell(row)} {column.unit}"
        if column.unit
        else column.cell(row)
        for column in left
    )


def _join(name: str, cells: Sequence[str], widths: Sequence[int], columns: Sequence[Column]) -> str:
    first = Text(name)
    first.truncate(widths[0], overflow="ellipsis", pad=True)
    padded = [
        _pad(cell, width, right=column.right)
        for cell, width, column in zip(cells, widths[1:], columns, strict=True)
    ]
    return _GAP.join([first.plain, *padded])


def _pad(text: str, width: int, *, right: bool) -> str:
    space = " " * (width - cell_len(text))
    return space + text if right else text + space


def _grid(console: Console, grid: Grid) -> None:
    console.print()
    _paragraph(console, "", grid.title, "bold")
    widths = [max(map(cell_len, column)) for column in zip(grid.header, *grid.cells, strict=True)]
    for number, row in enumerate([grid.header, *grid.cells]):
        padded = [_pad(cell, width, right=False) for cell, width in zip(row, widths, strict=True)]
        _line(console, Text(_GAP.join(padded), "" if number else "dim"))
    for line in grid.problems:
        _paragraph(console, "  ", f"✗ {line}")
    for line in grid.notes:
        _paragraph(console, "  ", line)


def _notes(console: Console, view: View, *, numbered: bool) -> None:
    beside = [*view.published, published.METHOD] if view.published else []
    _list(console, published.TITLE, beside)
    _list(
        console,
        "Findings",
        [
            (f"{superscript(number)} " if numbered else "")
            + f"{e.code} ({figures.counted(e.comparisons, 'comparison')}): {e.message}. "
            f"Remedy: {e.remedy}."
            for number, e in enumerate(view.explanations, 1)
        ],
    )
    for title, lines in view.lists:
        _list(console, title, lines)
    console.print()
    _paragraph(console, "", view.method, "dim")


def _list(console: Console, title: str, items: Iterable[str]) -> None:
    items = list(items)
    if not items:
        return
    console.print()
    _line(console, Text(title, "bold"))
    for item in items:
        _paragraph(console, "  ", item)


def _line(console: Console, text: Text) -> None:
    console.print(text, no_wrap=True, overflow="ignore", crop=False)


def _paragraph(console: Console, indent: str, text: str, style: str = "") -> None:
    """Wrapped at the console's width, continued under its own indentation."""
    console.print(Padding(Text(printable(text), style), (0, 0, 0, len(indent))))
