"""Shows two runs next to each other, on a terminal and as JSON. Computes nothing."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import asdict

from orchestrator.analysis.drift.comparison import SPEEDUP, ComparedRow, Drift, RunComparison
from orchestrator.analysis.sides.recorded import Change
from orchestrator.factors import Factor, varying
from orchestrator.report import figures
from orchestrator.report.clean import clean
from orchestrator.report.grid import render_grid
from orchestrator.report.jsonable import jsonable
from orchestrator.report.notes import place_in_full

#: Version of the JSON's shape. 1: the first.
JSON_FORMAT = 1

METHOD = (
    "Ratio: second run ÷ first, Hodges-Lehmann estimate and exact rank-sum 95 % interval over the "
    "blocks of both. Changed: the interval excludes 1, the change is beyond the noise floor of "
    "either run, and it passes Holm's correction over all figures of the two runs at 5 %. What "
    "changed with it is not thereby its cause."
)
_MOST_OTHERS = 10


def to_text(comparison: RunComparison, *, width: int, color: bool) -> str:
    """The figures that changed first, then what changed with them, then the rest."""
    changed = [row for row in comparison.rows if row.changed]
    head = (
        f"{clean(comparison.second)} against {clean(comparison.first)}, over "
        f"{clean(comparison.baseline)}: {len(changed)} of "
        f"{figures.counted(len(comparison.rows), 'comparison')} changed\n\n"
    )
    parts = [head]
    varied = varying(row.factors for row in comparison.rows)
    if comparison.rows:
        parts.append(
            render_grid(_HEADER, _cells(comparison.rows, varied), width=width, color=color)
        )
    parts += [_told(row, varied) for row in comparison.rows if row.conditions or row.reason]
    for device, found in comparison.conditions.items():
        parts.append(_list(f"Conditions of {device} that changed", map(change_in_words, found)))
    parts.append(_others("Only in the first run", comparison.only_first))
    parts.append(_others("Only in the second run", comparison.only_second))
    return "".join(part for part in parts if part) + textwrap.fill(METHOD, width) + "\n"


def to_json(comparisons: Sequence[RunComparison]) -> str:
    """All there is, ASCII only."""
    document = {
        "format": JSON_FORMAT,
        "method": METHOD,
        "comparisons": [jsonable(asdict(each)) for each in comparisons],
    }
    return json.dumps(document, indent=1, allow_nan=False) + "\n"


_HEADER = ("device", "model", "scheme", "figure", "first", "second", "ratio", "")


def _cells(rows: Sequence[ComparedRow], varied: Sequence[Factor]) -> list[list[str]]:
    """The speed-up of each comparison; where anything changed, the times it is made of as well."""
    cells = []
    for row in rows:
        where = place_in_full(row.device, row.factors.isa)
        name = [where, _model(row, varied), row.scheme]
        if not row.drifts:
            cells.append([*name, "", "", "", "", "✗ not comparable"])
        for number, drift in enumerate(row.drifts if row.changed else row.drifts[:1]):
            cells.append([*(name if not number else [""] * 3), *_figures(drift)])
    return [[clean(cell) for cell in line] for line in cells]


def _model(row: ComparedRow, varied: Sequence[Factor]) -> str:
    """``mobilenet_v1 (threads 4)``: with the factors in which rows differ."""
    held = ", ".join(each.in_title(row.factors) for each in varied)
    return f"{row.model} ({held})" if held else row.model


def _figures(drift: Drift) -> list[str]:
    unit = "×" if drift.figure == SPEEDUP else " ms"
    return [
        drift.figure,
        *(figures.number(value) + unit for value in (drift.first, drift.second)),
        figures.ratio(drift.ratio, drift.low, drift.high, 4),
        f"{'▲' if drift.ratio > 1 else '▼'} changed" if drift.changed else "= not shown",
    ]


def _told(row: ComparedRow, varied: Sequence[Factor]) -> str:
    where = place_in_full(row.device, row.factors.isa)
    title = f"{where} {_model(row, varied)} {row.scheme}"
    verdicts = [each.value for each in row.verdicts]
    lines = [f"verdict: {verdicts[0]} → {verdicts[1]}"] if verdicts[0] != verdicts[1] else []
    lines += [row.reason] if row.reason else []
    return _list(title, [*lines, *map(change_in_words, row.conditions)])


def change_in_words(change: Change) -> str:
    """``governor: powersave → performance``."""
    return (
        f"{change.name}: {change.before or '(not recorded)'} → {change.after or '(not recorded)'}"
    )


def _others(title: str, names: Sequence[str]) -> str:
    shown = [*names[:_MOST_OTHERS]]
    if len(names) > _MOST_OTHERS:
        shown.append(f"and {len(names) - _MOST_OTHERS} more")
    return _list(title, shown)


def _list(title: str, lines: Iterable[str]) -> str:
    body = "".join(f"  {clean(line)}\n" for line in lines)
    return f"{clean(title)}\n{body}\n" if body else ""
