"""Makes text from devices and logs safe to show. What an agent says may be hostile."""

from __future__ import annotations

import re
import unicodedata

_ESCAPES = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]"  # CSI: colours, cursor
    r"|(?:\x1b[\]PX^_]|[\x90\x98\x9d-\x9f]).*?(?:\x07|\x1b\\|\x9c|\Z)"  # OSC, DCS and the like
    r"|\x1b[ -/]*[0-~]",  # every other escape
    re.DOTALL,
)

#: Control, format (bidirectional overrides, zero width) and surrogate characters.
_INVISIBLE = frozenset({"Cc", "Cf", "Cs"})

_LONGEST = 400

_MARKDOWN = str.maketrans(
    {"&": "&amp;", "<": "&lt;", ">": "&gt;"} | {c: f"\\{c}" for c in "\\`*[]|~"}
)

#: A spreadsheet takes a cell that begins so for a formula.
_FORMULA = ("=", "+", "-", "@")


def printable(text: str) -> str:
    """``text`` on one line, without terminal escapes or invisible characters."""
    visible = "".join(
        " " if c.isspace() else c
        for c in _ESCAPES.sub("", text)
        if c.isspace() or unicodedata.category(c) not in _INVISIBLE
    )
    return " ".join(visible.split())


def clean(text: str) -> str:
    """The same, cut at 400 characters: for what a device says."""
    line = printable(text)
    return line if len(line) <= _LONGEST else line[: _LONGEST - 1] + "…"


def markdown(text: str) -> str:
    """``text`` made printable and escaped: no markup, no HTML, no end of a table's cell."""
    return printable(text).translate(_MARKDOWN)


def csv_cell(text: str) -> str:
    """``text`` made printable, with an apostrophe before what a spreadsheet would compute."""
    cell = printable(text)
    return f"'{cell}" if cell.startswith(_FORMULA) else cell
