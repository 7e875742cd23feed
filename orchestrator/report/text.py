"""The table for a terminal of 80 columns or more, readable without colour."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from dataclasses import replace

from rich.cells import cell_len
from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from orchestrator.analysis.table import AccuracyComparison, Speedup, SpeedupTable, Verdict
from orchestrator.printable import printable
from orchestrator.report import figures, published
from orchestrator.report.clean import clean
from orchestrator.report.figures import significant
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


#: A speed-up whose interval another column tells.
_BARE = replace(
    COLUMNS["speedup"],
    cell=lambda row: figures.NONE if row.speedup is None else f"{significant(row.speedup)}×",
    right=True,
)
#: What is read first.
_SHORT = (("speedup", "precision", "verdict", "accuracy"), ("speedup", "precision", "verdict"))
#: Small tables that tell nothing which the short table does not judge already.
_FOLDED = frozenset({"same-bytes", "sweep"})
#: Of what did not end well the first lines, and in each the first comparisons.
_MOST_LINES, _MOST_NAMED = 5, 3
_HOW = (
    "±: half of the 95 % interval. Faster or slower: beyond that and beyond the noise floor, what "
    "the baseline yields against itself."
)


def to_short_text(table: SpeedupTable, *, width: int, color: bool) -> str:
    """What is read first: each model and scheme with its speed-up and verdict; what else there is
    in a line each, and how to see it. Lines are at most ``width`` wide where the names allow."""
    out = io.StringIO()
    console = _console(out, width, color=color)
    view = view_of(table)
    _head(console, replace(view, weights=""))
    if len(set(map(column_of, table.rows))) > 1:
        _columns(console, view, table.rows)
    else:
        for section in view.sections:
            _short_section(console, section)
    for kind in view.grids:
        for grid in kind.grids if kind.name not in _FOLDED else ():
            _grid(console, replace(grid, notes=()))
    measured = [row for section in view.sections if section.measured for row in section.rows]
    for title, lines in (("Invalid", _invalid(measured)), *view.lists):
        rest = [f"and {len(lines) - _MOST_LINES} more"] if len(lines) > _MOST_LINES else []
        _list(console, title, (*lines[:_MOST_LINES], *rest))
    console.print()
    for line in _folded(table, view):
        _paragraph(console, "", line, "yellow" if line.startswith("Findings") else "")
    more = f"orchestrate report {clean(view.run_id)} --verbose"
    _paragraph(console, "", f"{_HOW} All of it: `{more}`", "dim")
    return _stripped(out)


def _columns(console: Console, view: View, rows: Sequence[Speedup]) -> None:
    """The devices, a line each, and the table across them."""
    console.print()
    of: dict[str, list[Section]] = {}
    for section in view.sections:
        of.setdefault(section.title, []).append(section)
    for title, sections in of.items():
        said = {section.setting for section in sections if section.measured}
        settings = said.pop() if len(said) == 1 else f"{len(said)} settings"
        if any(section.measured for section in sections):
            _paragraph(console, "", f"{title}: {settings}; {_control(sections)}")
    said_once = dict.fromkeys(line for each in view.sections for line in each.circumstances)
    for said_of_some in said_once:
        _paragraph(console, "", said_of_some)
    for section in view.sections:
        if not section.measured:
            _line(console, Text(section.title, "bold"))
            _unmeasured(console, section.rows)
    for block in pivots(rows, console.width, _STYLES, None):
        console.print()
        _paragraph(console, "", block.title, "bold")
        for line in block.lines:
            _line(console, line)


def _invalid(rows: Iterable[Speedup]) -> Sequence[str]:
    """Each reason once, with the comparisons that it forbids."""
    reasons: dict[str, list[str]] = {}
    for row in rows:
        if row.verdict is Verdict.INVALID:
            of = f"{column_of(row)} {row.model} {row.scheme}"
            reasons.setdefault(row.reason, []).append(of)
    return [
        clean(
            f"{', '.join(named[:_MOST_NAMED])}"
            + (f" and {len(named) - _MOST_NAMED} more" if len(named) > _MOST_NAMED else "")
            + f": {reason}"
        )
        for reason, named in reasons.items()
    ]


def _control(sections: Iterable[Section]) -> str:
    """``conditions uncontrolled``."""
    rows = [row for section in sections for row in section.rows]
    found = sorted({row.control.partition(":")[0] for row in rows if row.control})
    return f"conditions {clean(' and '.join(found))}" if found else "conditions unknown"


def _short_section(console: Console, section: Section) -> None:
    console.print()
    _line(console, Text(section.title, "bold"))
    if not section.measured:
        _unmeasured(console, section.rows)
        return
    _paragraph(console, "", f"{section.setting}; {_control([section])}")
    for line in section.circumstances:
        _paragraph(console, "", line)
    _table(console, section, short=True)


def _folded(table: SpeedupTable, view: View) -> Iterable[str]:
    """Why no more was measured; then what is left out, with its count."""
    stopped: dict[str, dict[str, None]] = {}
    for row in table.rows:
        if row.stopped:
            stopped.setdefault(row.stopped, {})[row.model] = None
    for why, models in stopped.items():
        yield f"stopped: {clean(why)} ({clean(', '.join(models))})"
    if view.explanations:
        rows: list[Speedup | AccuracyComparison] = [*table.rows, *table.accuracy]
        total = sum(len(codes(row)) for row in rows)
        some = sum(bool(row.findings) for row in rows)
        named = ", ".join(f"{each.code} {each.comparisons}" for each in view.explanations)
        compared = figures.counted(len(rows), "comparison")
        yield f"Findings: {total} on {some} of {compared} ({named})"
    counts = [
        *((kind.title, len(kind.grids)) for kind in view.grids if kind.name in _FOLDED),
        (published.TITLE, len(view.published)),
    ]
    left = [f"{title[:1].lower()}{title[1:]} ({count})" for title, count in counts if count]
    if left:
        yield f"Not shown: {', '.join(left)}"


def _console(out: io.StringIO, width: int, *, color: bool) -> Console:
    return Console(
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


def _stripped(out: io.StringIO) -> str:
    return "".join(line.rstrip() + "\n" for line in out.getvalue().splitlines())


def to_text(table: SpeedupTable, *, width: int, color: bool) -> str:
    """The whole report, lines at most ``width`` wide where the names in it allow that."""
    out = io.StringIO()
    console = _console(out, width, color=color)
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
    return _stripped(out)


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
    _table(console, section)
    for line in section.floors:
        _paragraph(console, "", line)


def _table(console: Console, section: Section, *, short: bool = False) -> None:
    widths, columns = _fit(section, console.width, _SHORT if short else _LAYOUTS)
    header = [_HEADERS.get(c.name, c.header) for c in columns]
    _line(console, Text(_join("", header, widths, columns), "dim"))
    for model, of_model in section.models.items():
        _line(console, Text(clean(model), "bold"))
        for row in of_model:
            _row(console, section, row, columns, widths, short=short)


def _unmeasured(console: Console, rows: Sequence[Speedup]) -> None:
    """Nothing reached the device: a line a model, and the reason once."""
    for model, of_model in by_model(rows).items():
        _paragraph(console, "  ", f"✗ {model}: {', '.join(row.scheme for row in of_model)}")
    for reason in dict.fromkeys(row.reason for row in rows):
        _paragraph(console, "    ", clean(reason))


def _cell(column: Column, row: Speedup) -> str:
    text = column.cell(row)
    return f"{SIGNS[row.verdict]} {text}" if column.name == "verdict" else text


def _fit(
    section: Section, width: int, layouts: Sequence[Sequence[str]]
) -> tuple[list[int], tuple[Column, ...]]:
    """The richest columns that fit, and their widths, the name's first."""
    rows = section.rows
    names = [clean(r.model) for r in rows] + ["  " + clean(r.scheme) for r in rows]
    name = max(map(cell_len, names))
    for layout in layouts:
        columns = section.columns(layout)
        if layouts is _SHORT:
            columns = tuple(_BARE if each.name == _BARE.name else each for each in columns)
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
    *,
    short: bool,
) -> None:
    cells = [_cell(column, row) for column in columns]
    line = Text(_join("  " + clean(row.scheme), cells, widths, columns))
    line.highlight_words([_cell(COLUMNS["verdict"], row)], _STYLES[row.verdict])
    _line(console, line)
    if short:
        return
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
