"""Plain tables for a terminal."""

from __future__ import annotations

import io
from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from orchestrator.printable import printable


def render_grid(
    header: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    width: int,
    color: bool,
    wrapped: int | None = None,
) -> str:
    """``rows`` under ``header``, ``width`` columns wide; cells may come from anywhere. ``wrapped``:
    how many columns, the last ones, may be wrapped; None: all."""
    table = Table(box=SIMPLE_HEAD, padding=(0, 1), pad_edge=False)
    whole = 0 if wrapped is None else len(header) - wrapped
    for place, name in enumerate(header):
        table.add_column(Text(name), overflow="fold", no_wrap=place < whole)
    for row in rows:
        table.add_row(*(Text(printable(cell)) for cell in row))
    stream = io.StringIO()
    console = Console(file=stream, width=width, no_color=not color, force_terminal=color)
    console.print(table)
    return "\n".join(line.rstrip() for line in stream.getvalue().splitlines()) + "\n"
