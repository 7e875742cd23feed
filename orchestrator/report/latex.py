"""LaTeX with booktabs: a table a device and setting, to \\input into a paper."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from orchestrator.analysis.table import Speedup, SpeedupTable, Verdict
from orchestrator.report import figures
from orchestrator.report.clean import clean
from orchestrator.report.clean import latex as safe
from orchestrator.report.notes import (
    by_model,
    codes,
    conditions,
    device_title,
    explanations,
    floors_of,
    method,
    section_labels,
    sections,
    setting,
    totals,
    weights,
)

_HEADER = (
    "Scheme",
    r"\multicolumn{1}{c}{Speed-up, 95\,\% interval}",
    "",
    "Time, ms",
    "Size, MB",
    "$n$",
    "Notes",
)

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
    lines = [
        f"% Speed-up over {_comment(table.baseline)}, run {_comment(table.run_id)}, "
        f"{_comment(totals(table))}.",
        r"% Needs \usepackage[T1]{fontenc}, \usepackage{booktabs} and \usepackage{amssymb}.",
    ]
    notes = {each.code: number for number, each in enumerate(explanations(table), 1)}
    labels = section_labels(table.rows)
    for number, (key, rows) in enumerate(sections(table.rows).items(), 1):
        lines += [
            r"\begin{table}",
            r"\centering\footnotesize\setlength{\tabcolsep}{4pt}",
            rf"\caption{{Speed-up over {safe(table.baseline)} on {safe(device_title(rows))}: "
            rf"{safe(setting(rows))}. {_LEGEND}}}",
            rf"\label{{tab:speed-up-{number}}}  % {_comment(labels[key])}",
            r"\begin{tabular}{@{}lllllrl@{}}",
            r"\toprule",
            rf"{' & '.join(_HEADER)} \\",
            *_body(rows, notes),
            r"\bottomrule",
            r"\end{tabular}",
            *(
                rf"\par\footnotesize {safe(line)}."
                for line in (*conditions(rows), *floors_of(table, key))
            ),
            r"\end{table}",
        ]
    if sources := weights(table):
        lines.append(rf"\par\noindent\footnotesize Weights: {safe(sources)}.")
    lines += [
        rf"\par\noindent\footnotesize [{notes[each.code]}] \texttt{{{safe(each.code)}}}: "
        rf"{safe(each.message)}. Remedy: {safe(each.remedy)}."
        for each in explanations(table)
    ]
    lines.append(rf"\par\noindent\footnotesize {safe(method(table))}\normalsize")
    return "\n".join(lines) + "\n"


def _body(rows: Sequence[Speedup], notes: dict[str, int]) -> Iterable[str]:
    for model, of_model in by_model(rows).items():
        yield r"\midrule"
        yield rf"\multicolumn{{{len(_HEADER)}}}{{@{{}}l}}{{\textbf{{{safe(model)}}}}} \\"
        for row in of_model:
            cells = (
                safe(row.scheme),
                safe(figures.speedup(row)),
                _SIGNS[row.verdict],
                safe(figures.change(row.baseline_ms, row.treatment_ms)),
                safe(figures.change(row.baseline_size_mb, row.treatment_size_mb)),
                str(row.blocks),
                ", ".join(f"[{notes[code]}]" for code in codes(row)),
            )
            # a row that begins with a bracket would be taken for an option of the one before it
            yield rf"{{}}{' & '.join(cells)} \\"


def _comment(text: str) -> str:
    return clean(text).encode("ascii", "replace").decode()
