"""speedup.md: a table to put into a paper or an issue, and what must be read with it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from orchestrator.analysis.table import Speedup, SpeedupTable
from orchestrator.report import figures, published
from orchestrator.report import sweep as sweeps
from orchestrator.report.clean import clean
from orchestrator.report.clean import markdown as safe
from orchestrator.report.figures import change, precision, speedup
from orchestrator.report.notes import (
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

_HEADER = (
    "Model",
    "Scheme",
    "Speed-up, 95 % interval",
    "±",
    "Verdict",
    "Time, ms",
    "Size, MB",
    "Memory, MB",
    "n",
    "Findings",
)
_RIGHT = frozenset({"±", "n"})


def to_markdown(table: SpeedupTable) -> str:
    """GitHub's Markdown: a table a device and setting of the factors, then the notes."""
    parts = [
        f"# Speed-up over {safe(table.baseline)}",
        f"Run {safe(table.run_id)}, {totals(table)}.",
    ]
    if sources := weights(table):
        parts.append(f"Weights: {safe(sources)}.")
    for key, rows in sections(table.rows).items():
        parts += [f"## {safe(device_title(rows))}", f"{safe(setting(rows))}."]
        parts += [f"{safe(line)}." for line in conditions(rows)]
        parts.append(_table(_HEADER, (_cells(row) for row in rows)))
        parts.append("\n".join(f"- {safe(line)}" for line in floors_of(table, key)))
    for sweep in table.sweeps:
        parts += [f"## {safe(sweeps.title(sweep))}"]
        rows_of = [[safe(cell) for cell in row] for row in sweeps.cells(sweep)]
        parts.append(_table(sweeps.header(sweep), rows_of))
        parts.append("\n".join(f"- {safe(line)}" for line in sweeps.problems(sweep)))
    parts += [sweeps.METHOD] if table.sweeps else []
    parts += ["## Notes", method(table), *_notes(table)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _cells(row: Speedup) -> Sequence[str]:
    return (
        safe(row.model),
        safe(row.scheme),
        speedup(row),
        precision(row),
        row.verdict.value,
        change(row.baseline_ms, row.treatment_ms),
        change(row.baseline_size_mb, row.treatment_size_mb),
        change(row.baseline_memory_mb, row.treatment_memory_mb),
        str(row.blocks),
        ", ".join(safe(code) for code in codes(row)),
    )


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    rule = ["---:" if name in _RIGHT else "---" for name in header]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (header, rule, *rows))


def _notes(table: SpeedupTable) -> Iterable[str]:
    if beside := published.lines(table.rows):
        yield from _list(f"{published.TITLE}:", [safe(line) for line in beside])
        yield published.METHOD
    yield from _list(
        "Findings:",
        [
            f"**{safe(e.code)}** ({figures.counted(e.comparisons, 'comparison')}): "
            f"{safe(e.message)}. Remedy: {safe(e.remedy)}."
            for e in explanations(table)
        ],
    )
    yield from _list("Trials that did not end ok:", [safe(problem(p)) for p in table.problems])
    yield from _list(
        "Devices lost:", [f"{safe(name)}: {safe(clean(why))}" for name, why in table.lost.items()]
    )


def _list(title: str, items: Sequence[str]) -> Iterable[str]:
    if items:
        yield "\n".join([title, "", *(f"- {item}" for item in items)])
