"""The table for a terminal of 80 columns or more, readable without colour."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from rich.cells import cell_len
from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from orchestrator.analysis.table import Speedup, SpeedupTable, Sweep, Verdict
from orchestrator.printable import printable
from orchestrator.report import figures, published
from orchestrator.report import sweep as sweeps
from orchestrator.report.clean import clean
from orchestrator.report.notes import (
    SIGNS,
    SectionKey,
    by_model,
    codes,
    conditions,
    device_title,
    explanations,
    floors_of,
    method,
    problem,
    sections,
    setting,
    totals,
    weights,
)
from orchestrator.report.pivot import column_of, pivots, superscript

_GAP = "  "
_NARROWEST_NAME = 12

_STYLES = {
    Verdict.FASTER: "green",
    Verdict.SLOWER: "red",
    Verdict.INDISTINGUISHABLE: "yellow",
    Verdict.INVALID: "bold magenta",
}


@dataclass(frozen=True)
class _Column:
    header: str
    cell: Callable[[Speedup], str]
    right: bool = False


_SPEEDUP = _Column("speed-up", figures.speedup)
_VERDICT = _Column("verdict", lambda row: f"{SIGNS[row.verdict]} {row.verdict.value}")
_PRECISION = _Column("±", figures.precision, right=True)
_TIME = _Column("ms", lambda row: figures.change(row.baseline_ms, row.treatment_ms))
_SIZE = _Column("size MB", lambda row: figures.change(row.baseline_size_mb, row.treatment_size_mb))
_MEMORY = _Column(
    "memory MB", lambda row: figures.change(row.baseline_memory_mb, row.treatment_memory_mb)
)
_BLOCKS = _Column("n", lambda row: str(row.blocks), right=True)

#: From the richest to the barest; the first that fits is taken. What it leaves out of the line
#: stands below it.
_LAYOUTS = (
    (_SPEEDUP, _PRECISION, _VERDICT, _TIME, _SIZE, _MEMORY, _BLOCKS),
    (_SPEEDUP, _PRECISION, _VERDICT, _TIME, _BLOCKS),
    (_SPEEDUP, _VERDICT, _TIME, _BLOCKS),
)


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
    _head(console, table)
    for key, rows in sections(table.rows).items():
        _section(console, table, key, rows)
    # last, beside its footnotes: a terminal shows the end
    several = len(set(map(column_of, table.rows))) > 1
    notes = {each.code: number for number, each in enumerate(explanations(table), 1)}
    for block in pivots(table.rows, width, _STYLES, notes):
        console.print()
        _paragraph(console, "", block.title, "bold")
        for line in block.lines:
            _line(console, line)
    if several:
        signs = ", ".join(f"{sign} {verdict.value}" for verdict, sign in SIGNS.items())
        _paragraph(console, "", f"{signs}; numbers: findings, below", "dim")
    for sweep in table.sweeps:
        _sweep(console, sweep)
    if table.sweeps:
        console.print()
        _paragraph(console, "", sweeps.METHOD, "dim")
    _notes(console, table, numbered=several)
    return "".join(line.rstrip() + "\n" for line in out.getvalue().splitlines())


def _head(console: Console, table: SpeedupTable) -> None:
    _line(
        console, Text(f"Speed-up over {clean(table.baseline)}, run {clean(table.run_id)}", "bold")
    )
    _line(console, Text(totals(table)))
    if sources := weights(table):
        _paragraph(console, "", f"weights: {sources}")
    if not table.rows:
        _paragraph(console, "", "Nothing was compared: no scheme beside the baseline was planned.")


def _section(
    console: Console, table: SpeedupTable, key: SectionKey, rows: Sequence[Speedup]
) -> None:
    rows = list(rows)
    console.print()
    _line(console, Text(clean(device_title(rows)), "bold"))
    for line in (setting(rows), *conditions(rows)):
        _paragraph(console, "", line)
    if key.factors is None:
        _unmeasured(console, rows)
        return
    widths, columns = _fit(rows, console.width)
    header = [c.header for c in columns]
    _line(console, Text(_join("", header, widths, columns), "dim"))
    for model, of_model in by_model(rows).items():
        _line(console, Text(clean(model), "bold"))
        for row in of_model:
            _row(console, row, columns, widths)
    for line in floors_of(table, key):
        _paragraph(console, "", line)


def _unmeasured(console: Console, rows: Sequence[Speedup]) -> None:
    """Nothing reached the device: a line a model, and the reason once."""
    for model, of_model in by_model(rows).items():
        _paragraph(console, "  ", f"✗ {model}: {', '.join(row.scheme for row in of_model)}")
    for reason in dict.fromkeys(row.reason for row in rows):
        _paragraph(console, "    ", clean(reason))


def _fit(rows: Sequence[Speedup], width: int) -> tuple[list[int], tuple[_Column, ...]]:
    """The richest columns that fit, and their widths, the name's first."""
    names = [clean(r.model) for r in rows] + ["  " + clean(r.scheme) for r in rows]
    name = max(map(cell_len, names))
    for columns in _LAYOUTS:
        widths = [max([cell_len(c.header), *(cell_len(c.cell(r)) for r in rows)]) for c in columns]
        others = sum(widths) + len(_GAP) * len(widths)
        if name + others <= width:
            break
    else:
        name = max(_NARROWEST_NAME, width - others)
    return [name, *widths], columns


def _row(console: Console, row: Speedup, columns: Sequence[_Column], widths: Sequence[int]) -> None:
    cells = [column.cell(row) for column in columns]
    line = Text(_join("  " + clean(row.scheme), cells, widths, columns))
    line.highlight_words([_VERDICT.cell(row)], _STYLES[row.verdict])
    _line(console, line)
    if below := _below(row, columns):
        _paragraph(console, "    ", below, "dim")
    if row.verdict is Verdict.INVALID:
        _paragraph(console, "    ", clean(row.reason))
    if row.findings:
        _paragraph(console, "    ", f"! {', '.join(codes(row))}", "yellow")


def _below(row: Speedup, columns: Sequence[_Column]) -> str:
    """``±21%, size 16.9 → 4.43 MB, memory 94.8 → 73.2 MB``: what has no column."""
    said = {
        _PRECISION: _PRECISION.cell(row),
        _SIZE: f"size {_SIZE.cell(row)} MB",
        _MEMORY: f"memory {_MEMORY.cell(row)} MB",
    }
    return ", ".join(text for column, text in said.items() if column not in columns)


def _join(
    name: str, cells: Sequence[str], widths: Sequence[int], columns: Sequence[_Column]
) -> str:
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


def _sweep(console: Console, sweep: Sweep) -> None:
    console.print()
    _paragraph(console, "", sweeps.title(sweep), "bold")
    header, rows = sweeps.header(sweep), sweeps.cells(sweep)
    widths = [max(map(cell_len, column)) for column in zip(header, *rows, strict=True)]
    for number, row in enumerate([header, *rows]):
        padded = [_pad(cell, width, right=False) for cell, width in zip(row, widths, strict=True)]
        _line(console, Text(_GAP.join(padded), "" if number else "dim"))
    for line in sweeps.problems(sweep):
        _paragraph(console, "  ", f"✗ {line}")


def _notes(console: Console, table: SpeedupTable, *, numbered: bool) -> None:
    beside = published.lines(table.rows)
    _list(console, published.TITLE, [*beside, published.METHOD] if beside else [])
    _list(
        console,
        "Findings",
        [
            (f"{superscript(number)} " if numbered else "")
            + f"{e.code} ({figures.counted(e.comparisons, 'comparison')}): {e.message}. "
            f"Remedy: {e.remedy}."
            for number, e in enumerate(explanations(table), 1)
        ],
    )
    _list(console, "Trials that did not end ok", [problem(p) for p in table.problems])
    _list(console, "Devices lost", [f"{name}: {clean(why)}" for name, why in table.lost.items()])
    console.print()
    _paragraph(console, "", method(table), "dim")


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
