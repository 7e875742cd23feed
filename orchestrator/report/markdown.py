"""Writes speedup.md: a table to put into a paper or an issue, and what must be read with it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from orchestrator.analysis.table import Speedup, SpeedupTable
from orchestrator.report import figures, published
from orchestrator.report.clean import markdown as safe
from orchestrator.report.view import (
    Column,
    Grid,
    View,
    view_of,
)

_LAYOUT = (
    "speedup", "precision", "verdict", "accuracy", "time", "size", "memory", "energy", "co2",
    "blocks", "findings",
)  # fmt: skip
_RIGHT = frozenset({"±", "n"})


def to_markdown(table: SpeedupTable) -> str:
    """GitHub's Markdown: a table a device and setting of the factors, then the notes."""
    view = view_of(table)
    parts = [f"# Speed-up over {safe(view.baseline)}", f"Run {safe(view.run_id)}, {view.totals}."]
    parts += [f"Weights: {safe(view.weights)}."] if view.weights else []
    for section in view.sections:
        parts += [f"## {safe(section.title)}", *(f"{safe(line)}." for line in section.lines)]
        columns = section.columns(_LAYOUT)
        header = ("Model", "Scheme", *(column.title for column in columns))
        parts.append(_table(header, (_cells(row, columns) for row in section.rows)))
        parts.append("\n".join(f"- {safe(line)}" for line in section.floors))
    for kind in view.grids:
        for grid in kind.grids:
            parts += _grid(grid)
        parts.append(kind.method)
    parts += ["## Notes", view.method, *_notes(view)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _cells(row: Speedup, columns: Sequence[Column]) -> Sequence[str]:
    # what a column makes is our own text
    return (safe(row.model), safe(row.scheme), *(column.cell(row) for column in columns))


def _grid(grid: Grid) -> Iterable[str]:
    yield f"## {safe(grid.title)}"
    yield _table(grid.header, [[safe(cell) for cell in row] for row in grid.cells])
    yield "\n".join(f"- {safe(line)}" for line in (*grid.problems, *grid.notes))


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    rule = ["---:" if name in _RIGHT else "---" for name in header]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (header, rule, *rows))


def _notes(view: View) -> Iterable[str]:
    if view.published:
        yield from _list(f"{published.TITLE}:", [safe(line) for line in view.published])
        yield published.METHOD
    yield from _list(
        "Findings:",
        [
            f"**{safe(e.code)}** ({figures.counted(e.comparisons, 'comparison')}): "
            f"{safe(e.message)}. Remedy: {safe(e.remedy)}."
            for e in view.explanations
        ],
    )
    for title, lines in view.lists:
        yield from _list(f"{title}:", [safe(line) for line in lines])


def _list(title: str, items: Sequence[str]) -> Iterable[str]:
    if items:
        yield "\n".join([title, "", *(f"- {item}" for item in items)])
