"""Published figures beside ours, a line each."""

from __future__ import annotations

from collections.abc import Iterable

from orchestrator.analysis.table import PublishedFigure, Speedup
from orchestrator.frameworks.settings import unusual
from orchestrator.report import figures
from orchestrator.report.clean import clean
from orchestrator.report.notes import place_in_full

TITLE = "Published figures beside ours"

METHOD = (
    "A published figure is bounded by its spread over processes where that is given, else by how "
    "precisely it could be read. Contradicts: that interval and ours, noise floor included, have "
    "nothing in common; agrees: they overlap and say the same of 1."
)


def lines(rows: Iterable[Speedup]) -> list[str]:
    """``here mobilenet_v1 dynamic_range 1.34× […]; published 1.32× […], …: agrees``."""
    return [_line(row, each) for row in rows for each in row.published]


def _line(row: Speedup, each: PublishedFigure) -> str:
    name = " ".join(map(clean, (place_in_full(row.device, row.isa), row.model, row.scheme)))
    held = ", ".join(unusual(row.factors)) if row.factors else ""
    name += f" ({clean(held)})" if held else ""
    told = figures.ratio(each.speedup, each.low, each.high)
    if each.speedup is None:
        told = f"{each.direction}, by how much is not known"
    line = f"{name}: {figures.speedup(row)} ours; published {told} ({each.hardware}; {each.source})"
    return f"{line}: {each.agreement}" + (f"; {each.note}" if each.note else "")
