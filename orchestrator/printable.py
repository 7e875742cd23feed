"""Text from devices, files and logs, made fit for a terminal. What an agent says may be hostile."""

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


def printable(text: str) -> str:
    """``text`` on one line, without terminal escapes or invisible characters."""
    visible = "".join(
        " " if c.isspace() else c
        for c in _ESCAPES.sub("", text)
        if c.isspace() or unicodedata.category(c) not in _INVISIBLE
    )
    return " ".join(visible.split())
