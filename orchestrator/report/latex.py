"""LaTeX with booktabs: a table a device and setting, to \\input into a paper."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from orchestrator.analysis.table import Speedup, SpeedupTable, Verdict
from orchestrator.report.clean import clean
from orchestrator.report.clean import latex as safe
from orchestrator.report.notes import codes
from orchestrator.report.view import (
    Column,
    Grid,
    Section,
    view_of,
)

_LAYOUT = (
    "speedup", "verdict", "accuracy", "time", "size", "energy", "co2", "blocks", "findings",
)  # fmt: skip
#: Headers that are not the column's title.
_HEADERS = {
    "speedup": r"\multicolumn{1}{c}{Speed-up, 95\,\% interval}",
    "verdict": "",
    "blocks": "$n$",
    "findings": "Notes",
}

_SIGNS = {
    Verdict.FASTER: r"$\blacktriangle$",
    Verdict.SLOWER: r"$\blacktriangledown$",
    Verdict.INDISTINGUISHABLE: "$=$",
    Verdict.INVALID: r"$\times$",
}

_LEGEND = ", ".join(f"{sign} {verdict.value}" for verdict, sign in _SIGNS.items()) + "."


def to_latex(table: SpeedupTable) -> str:
    """One ``table`` a section, with what must be read with it in the caption and below it.

    Names and messages are escaped; a character that pdfLaTeX has no glyph for stands as its code.
    """
    view = view_of(table)
    lines = [
        f"% Speed-up over {_comment(view.baseline)}, run {_comment(view.run_id)}, "
        f"{_comment(view.totals)}.",
        r"% Needs \usepackage[T1]{fontenc}, \usepackage{booktabs} and \usepackage{amssymb}.",
    ]
    notes = {each.code: number for number, each in enumerate(view.explanations, 1)}
    for number, section in enumerate(view.sections, 1):
        setting, *conditions = section.lines
        columns = section.columns(_LAYOUT)
        header = ("Scheme", *(_HEADERS.get(c.name, safe(c.title)) for c in columns))
        lines += [
            *_begin(
                f"Speed-up over {safe(view.baseline)} on {safe(section.title)}: {safe(setting)}. "
                f"{_LEGEND}",
                rf"\label{{tab:speed-up-{number}}}  % {_comment(section.label)}",
                "".join(("l", *("r" if c.right else "l" for c in columns))),
            ),
            rf"{' & '.join(header)} \\",
            *_body(section, columns, notes),
            r"\bottomrule",
            r"\end{tabular}",
            *(rf"\par\footnotesize {safe(line)}." for line in (*conditions, *section.floors)),
            r"\end{table}",
        ]
    for kind in view.grids:
        for number, grid in enumerate(kind.grids, 1):
            lines += _grid(grid, rf"\label{{tab:{kind.name}-{number}}}")
        lines.append(rf"\par\noindent\footnotesize {safe(kind.method)}")
    if view.weights:
        lines.append(rf"\par\noindent\footnotesize Weights: {safe(view.weights)}.")
    lines += [
        rf"\par\noindent\footnotesize [{notes[each.code]}] \texttt{{{safe(each.code)}}}: "
        rf"{safe(each.message)}. Remedy: {safe(each.remedy)}."
        for each in view.explanations
    ]
    lines.append(rf"\par\noindent\footnotesize {safe(view.method)}\normalsize")
    return "\n".join(lines) + "\n"


def _begin(caption: str, label: str, columns: str) -> Iterable[str]:
    yield r"\begin{table}"
    yield r"\centering\footnotesize\setlength{\tabcolsep}{4pt}"
    yield rf"\caption{{{caption}}}"
    yield label
    yield rf"\begin{{tabular}}{{@{{}}{columns}@{{}}}}"
    yield r"\toprule"


def _grid(grid: Grid, label: str) -> Iterable[str]:
    yield from _begin(f"{safe(grid.title)}.", label, "l" * len(grid.header))
    yield rf"{' & '.join(map(safe, grid.header))} \\"
    yield r"\midrule"
    for cells in grid.cells:
        yield rf"{{}}{' & '.join(map(safe, cells))} \\"
    yield r"\bottomrule"
    yield r"\end{tabular}"
    for line in (*grid.problems, *grid.notes):
        yield rf"\par\footnotesize {safe(line)}."
    yield r"\end{table}"


def _body(section: Section, columns: Sequence[Column], notes: Mapping[str, int]) -> Iterable[str]:
    for model, of_model in section.models.items():
        yield r"\midrule"
        yield rf"\multicolumn{{{len(columns) + 1}}}{{@{{}}l}}{{\textbf{{{safe(model)}}}}} \\"
        for row in of_model:
            cells = (safe(row.scheme), *(_cell(column, row, notes) for column in columns))
            # a row that begins with a bracket would be taken for an option of the one before it
            yield rf"{{}}{' & '.join(cells)} \\"


def _cell(column: Column, row: Speedup, notes: Mapping[str, int]) -> str:
    if column.name == "verdict":
        return _SIGNS[row.verdict]
    if column.name == "findings":
        return ", ".join(f"[{notes[code]}]" for code in codes(row))
    return safe(column.cell(row))


def _comment(text: str) -> str:
    return clean(text).encode("ascii", "replace").decode()
