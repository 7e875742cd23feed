"""LaTeX with booktabs: a table a device and setting, to \\input into a paper.

A table stands in one column of a two-column page where it fits, else over both (``table*``).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from orchestrator.analysis.table import Speedup, SpeedupTable, Verdict
from orchestrator.report import figures
from orchestrator.report.clean import clean
from orchestrator.report.clean import latex as safe
from orchestrator.report.notes import Explanation, codes
from orchestrator.report.view import (
    Column,
    Grid,
    Section,
    View,
    view_of,
)

_LAYOUT = ("speedup", "verdict", "accuracy", "time", "size", "energy", "co2", "blocks")
#: Headers that are not the column's.
_HEADERS = {"speedup": "Speed-up", "verdict": "", "blocks": "$n$"}
#: What the baseline has too: it stands beside the model's name, and a row has the scheme's alone.
_BASELINES: Mapping[str, Callable[[Speedup], tuple[float | None, float | None]]] = {
    "time": lambda row: (row.baseline_ms, row.treatment_ms),
    "size": lambda row: (row.baseline_size_mb, row.treatment_size_mb),
    "energy": lambda row: (row.baseline_energy_mj, row.treatment_energy_mj),
    "co2": lambda row: (row.baseline_co2_ug, row.treatment_co2_ug),
}

#: Points. One column of the IEEE's, the ACM's and most other pages of two.
_COLUMN_PT = 240.0
#: Between two columns of the table, twice ``\\tabcolsep``.
_GAP_PT = 6.0
#: Widths of Computer Modern Roman at 8 points, which ``\\footnotesize`` is: of each character in
#: these words, else of a digit. The next font is as wide to a few percent.
_WIDTHS_PT = (
    ("mMW@%×→", 7.6), ("ABCDEFGHKNOPQRSTUVXYZw+±−", 6.4), ("bdhnpquLJ", 4.8), ("cesvxyz", 4.0),
    ("filrtjI()[]'|", 3.1), (" .,;:-!", 2.7),
)  # fmt: skip
_WIDTH_PT = {char: width for chars, width in _WIDTHS_PT for char in chars}
_DIGIT_PT = 4.4

#: Signs of LaTeX's own.
_UNSEEN = {ord(char): None for char in "${}^\\\\"}

_SIGNS = {
    Verdict.FASTER: r"\blacktriangle",
    Verdict.SLOWER: r"\blacktriangledown",
    Verdict.INDISTINGUISHABLE: "=",
    Verdict.INVALID: r"\times",
}

_LEGEND = ", ".join(f"${sign}$ {verdict.value}" for verdict, sign in _SIGNS.items()) + "."


#: What stands below a table: what must be read with it, or nothing.
NOTES = ("below", "none")


@dataclass(frozen=True)
class Typesetting:
    """What an author says of the tables. ``label`` is that of the first one, the others' are
    numbered from 2; ``caption`` is LaTeX and is taken as it is. None: what we would write."""

    notes: str = "below"
    label: str | None = None
    caption: str | None = None


def to_latex(table: SpeedupTable, typesetting: Typesetting | None = None) -> str:
    """One ``table`` a section, with what must be read with it in the caption and below it.

    Names and messages are escaped; a character that pdfLaTeX has no glyph for stands as its code.
    Without notes the findings stand in comments of the source.
    """
    typeset = typesetting or Typesetting()
    view = view_of(table)
    below = typeset.notes != "none"
    lines = [
        f"% Speed-up over {_comment(view.baseline)}, run {_comment(view.run_id)}, "
        f"{_comment(view.totals)}.",
        r"% Needs \usepackage[T1]{fontenc}, \usepackage{booktabs} and \usepackage{amssymb}.",
    ]
    notes = {each.code: number for number, each in enumerate(view.explanations, 1)}
    if not below:
        lines += [
            f"% {_comment(each.code)} ({each.comparisons}): {_comment(each.message)}"
            for each in view.explanations
        ]
    number = 0
    for section in view.sections:
        number += 1
        lines += _section(view, section, notes if below else None, typeset, number)
    for kind in view.grids:
        for each, grid in enumerate(kind.grids, 1):
            number += 1
            label = _label(typeset, number) or f"tab:{kind.name}-{each}"
            lines += _grid(grid, label, below=below)
        if below:
            lines.append(rf"\par\noindent\footnotesize {safe(kind.method)}")
    if below:
        told = {code for row in table.rows for code in codes(row)}
        lines += [
            rf"\par\noindent\footnotesize {_explained(each, notes)}"
            for each in view.explanations
            if each.code not in told
        ]
    if below and view.weights:
        lines.append(rf"\par\noindent\footnotesize Weights: {safe(view.weights)}.")
    if below:
        lines.append(rf"\par\noindent\footnotesize {safe(view.method)}\normalsize")
    return "\n".join(lines) + "\n"


def _section(
    view: View,
    section: Section,
    notes: Mapping[str, int] | None,
    typeset: Typesetting,
    number: int,
) -> Iterable[str]:
    """A device under one setting, with its findings below where ``notes`` numbers them."""
    columns = section.columns(_LAYOUT)
    rows = [*_rows(section, columns, notes or {})]
    wide = _natural([row for row in rows if len(row) > 1]) > _COLUMN_PT
    label = _label(typeset, number) or f"tab:speed-up-{number}"
    yield from _begin(
        _caption(view, section, typeset),
        rf"\label{{{label}}}  % {_comment(section.label)}",
        "".join(("l", *("r" if c.right else "l" for c in columns))),
        wide=wide,
    )
    yield rf"Scheme & {' & '.join(_HEADERS.get(c.name, safe(c.header)) for c in columns)} \\"
    if any(column.unit for column in columns):
        yield rf" & {' & '.join(safe(column.unit) for column in columns)} \\"
    for cells in rows:
        if len(cells) == 1:
            yield r"\midrule"
            yield rf"\multicolumn{{{len(columns) + 1}}}{{@{{}}l}}{{{cells[0]}}} \\"
        else:
            # a row that begins with a bracket would be taken for an option of the one before it
            yield rf"{{}}{' & '.join(cells)} \\"
    yield r"\bottomrule"
    yield r"\end{tabular}"
    if notes is not None:
        used = {code for row in section.rows for code in codes(row)}
        yield from _below(
            (
                *(f"{safe(line)}." for line in (*section.lines[1:], *section.floors)),
                *(_explained(each, notes) for each in view.explanations if each.code in used),
            ),
            wide=wide,
        )
    yield _end(wide=wide)


def _explained(finding: Explanation, notes: Mapping[str, int]) -> str:
    return (
        rf"[{notes[finding.code]}] \texttt{{{safe(finding.code)}}}: {safe(finding.message)}. "
        f"Remedy: {safe(finding.remedy)}."
    )


def _caption(view: View, section: Section, typeset: Typesetting) -> str:
    where = f"{safe(section.title)}: {safe(section.setting)}"
    if typeset.caption is None:
        return (
            f"Speed-up over {safe(view.baseline)} with its 95\\,\\% interval on {where}. {_LEGEND}"
        )
    return typeset.caption if len(view.sections) == 1 else f"{typeset.caption} ({where}.)"


def _label(typeset: Typesetting, number: int) -> str | None:
    if typeset.label is None or number == 1:
        return typeset.label
    return f"{typeset.label}-{number}"


def _rows(
    section: Section, columns: Sequence[Column], notes: Mapping[str, int]
) -> Iterable[tuple[str, ...]]:
    """The rows of the table, set in type; of a model's heading its one cell."""
    for model, of_model in section.models.items():
        first = of_model[0]
        beside = [
            f"{figures.number(amount)} {column.unit}"
            for column in columns
            if column.name in _BASELINES
            for amount in _BASELINES[column.name](first)[:1]
            if amount is not None
        ]
        said = f" ({safe(first.baseline_scheme)}: {safe(', '.join(beside))})" if beside else ""
        yield (rf"\textbf{{{safe(model)}}}{said}",)
        for row in of_model:
            yield (safe(row.scheme), *(_cell(column, row, first, notes) for column in columns))


def _cell(column: Column, row: Speedup, first: Speedup, notes: Mapping[str, int]) -> str:
    if column.name == "verdict":
        numbers = ",".join(str(notes[code]) for code in codes(row) if code in notes)
        return f"${_SIGNS[row.verdict]}{f'^{{{numbers}}}' if numbers else ''}$"
    if column.name == "speedup":  # whose sign stands in no paper's table
        return safe(column.cell(row).replace("×", ""))
    if column.name in _BASELINES:
        before, after = _BASELINES[column.name](row)
        if figures.number(before) == figures.number(_BASELINES[column.name](first)[0]):
            return safe(figures.number(after))
    return safe(column.cell(row))


def _natural(cells: Iterable[Sequence[str]]) -> float:
    """About how wide a table of these cells is, in points; its headings are narrower."""
    widths = [max(map(_points, column)) for column in zip(*cells, strict=True)]
    return sum(widths) + _GAP_PT * max(0, len(widths) - 1)


def _points(text: str) -> float:
    # what is set as one sign is written as a word: \\blacktriangle
    plain = re.sub(r"\\[A-Za-z]+", "m", text).translate(_UNSEEN)
    return sum(_WIDTH_PT.get(char, _DIGIT_PT) for char in plain)


def _begin(caption: str, label: str, columns: str, *, wide: bool) -> Iterable[str]:
    yield rf"\begin{{table{'*' if wide else ''}}}"
    yield r"\centering\footnotesize\setlength{\tabcolsep}{3pt}"
    yield rf"\caption{{{caption}}}"
    yield label
    yield rf"\begin{{tabular}}{{@{{}}{columns}@{{}}}}"
    yield r"\toprule"


def _below(lines: Iterable[str], *, wide: bool) -> Iterable[str]:
    """Notes below a table, as wide as what it stands in."""
    lines = [*lines]
    if lines:
        yield rf"\par\smallskip\parbox{{{_line_width(wide=wide)}}}{{\raggedright\footnotesize"
        yield from (rf"{line}\par" for line in lines)
        yield "}"


def _line_width(*, wide: bool) -> str:
    return r"\textwidth" if wide else r"\columnwidth"


def _end(*, wide: bool) -> str:
    return rf"\end{{table{'*' if wide else ''}}}"


def _grid(grid: Grid, label: str, *, below: bool) -> Iterable[str]:
    wide = _natural((grid.header, *grid.cells)) > _COLUMN_PT
    columns = "l" * len(grid.header)
    yield from _begin(f"{safe(grid.title)}.", rf"\label{{{label}}}", columns, wide=wide)
    yield rf"{' & '.join(map(safe, grid.header))} \\"
    yield r"\midrule"
    for cells in grid.cells:
        yield rf"{{}}{' & '.join(map(safe, cells))} \\"
    yield r"\bottomrule"
    yield r"\end{tabular}"
    if below:
        yield from _below((f"{safe(line)}." for line in (*grid.problems, *grid.notes)), wide=wide)
    yield _end(wide=wide)


def _comment(text: str) -> str:
    return clean(text).encode("ascii", "replace").decode()
