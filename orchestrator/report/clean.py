"""Makes text from devices and logs safe to show. What an agent says may be hostile."""

from __future__ import annotations

import re

from orchestrator.printable import printable

_LONGEST = 400

_MARKDOWN = str.maketrans(
    {"&": "&amp;", "<": "&lt;", ">": "&gt;"} | {c: f"\\{c}" for c in "\\`*[]|~"}
)

_LATEX = str.maketrans(
    {c: f"\\{c}" for c in "&%$#_{}"}
    | {
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "<": r"\textless{}",
        ">": r"\textgreater{}",
        "|": r"\textbar{}",
        '"': r"\textquotedbl{}",
        "`": r"\textasciigrave{}",
        "'": r"\textquotesingle{}",
        "×": r"$\times$",
        "÷": r"$\div$",
        "→": r"$\to$",
        "±": r"$\pm$",
        "–": r"\textendash{}",
        "…": r"\ldots{}",
        "µ": r"$\mu$",
        "−": "$-$",
        "₂": "$_2$",
        "▲": r"$\blacktriangle$",
        "▼": r"$\blacktriangledown$",
        "✗": r"$\times$",
    }
)

#: A spreadsheet takes a cell that begins so for a formula.
_FORMULA = ("=", "+", "-", "@")


def clean(text: str) -> str:
    """``text`` made printable and cut at 400 characters: for what a device says."""
    line = printable(text)
    return line if len(line) <= _LONGEST else line[: _LONGEST - 1] + "…"


def markdown(text: str) -> str:
    """``text`` made printable and escaped: no markup, no HTML, no end of a table's cell."""
    return printable(text).translate(_MARKDOWN)


def latex(text: str) -> str:
    """``text`` made printable and escaped; what pdfLaTeX has no glyph for becomes its code."""
    escaped = "".join(
        c.translate(_LATEX) if ord(c) in _LATEX or " " <= c <= "ÿ" else f"[U+{ord(c):04X}]"
        for c in printable(text)
    )
    return re.sub("-(?=-)", "-{}", escaped)  # two dashes of an option stay two


def csv_cell(text: str) -> str:
    """``text`` made printable, with an apostrophe before what a spreadsheet would compute."""
    cell = printable(text)
    return f"'{cell}" if cell.startswith(_FORMULA) else cell
