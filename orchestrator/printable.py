"""Text from devices, files and logs, made fit for a terminal. What an agent says may be hostile.

Whatever this program writes to a terminal goes through :func:`show`, so that no text of somebody
else's gets there as anything but text.
"""

from __future__ import annotations

import re
import unicodedata
from typing import TextIO

_ESCAPES = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]"  # CSI: colours, cursor
    r"|(?:\x1b[\]PX^_]|[\x90\x98\x9d-\x9f]).*?(?:\x07|\x1b\\|\x9c|\Z)"  # OSC, DCS and the like
    r"|\x1b[ -/]*[0-~]",  # every other escape
    re.DOTALL,
)

#: Control, format (bidirectional overrides, zero width) and surrogate characters.
_INVISIBLE = frozenset({"Cc", "Cf", "Cs"})

#: The same, and the two separators of lines and paragraphs, without tab and newline; spelt out,
#: because asking for each character of a large answer takes long.
_ODD = re.compile(
    "[\\x00-\\x08\\x0b-\\x1f\\x7f-\\x9f\\xad\\u0600-\\u0605\\u061c\\u06dd\\u070f\\u0890\\u0891"
    "\\u08e2\\u180e\\u200b-\\u200f\\u2028-\\u202e\\u2060-\\u2064\\u2066-\\u206f\\ud800-\\udfff"
    "\\ufeff\\ufff9-\\ufffb\\U000110bd\\U000110cd\\U00013430-\\U0001343f\\U0001bca0-\\U0001bca3"
    "\\U0001d173-\\U0001d17a\\U000e0001\\U000e0020-\\U000e007f]"
)
#: What our own tables are coloured with: reset, bold, dim, italics, underlined, and plain colours.
#: Nothing that hides text is among them.
_COLOUR = re.compile(r"(\x1b\[(?:0|[1-4]|3[0-7]|39|9[0-7])?(?:;(?:0|[1-4]|3[0-7]|39|9[0-7]))*m)")


def printable(text: str) -> str:
    """``text`` on one line, without terminal escapes or invisible characters."""
    visible = "".join(
        " " if c.isspace() else c
        for c in _ESCAPES.sub("", text)
        if c.isspace() or unicodedata.category(c) not in _INVISIBLE
    )
    return " ".join(visible.split())


def duration(seconds: float) -> str:
    """``90`` → ``1 min 30 s``; whole seconds, two units."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def show(stream: TextIO, text: str, *, colour: bool = False) -> None:
    """Write ``text`` to a terminal, or to what stands in its place, and flush it.

    Lines and tabs stay, escapes and invisible characters do not; with ``colour`` the colours of our
    own tables stay too. What the stream's encoding lacks is written as its code.
    """
    clean = _without_escapes(text, colour=colour)
    encoding = getattr(stream, "encoding", None) or "utf-8"
    if encoding.lower() not in ("utf-8", "utf8"):
        clean = clean.encode(encoding, "backslashreplace").decode(encoding)
    stream.write(clean)
    stream.flush()


def _without_escapes(text: str, *, colour: bool) -> str:
    if _ODD.search(text) is None:
        return text
    # line by line: an escape that nothing ends must not swallow the rest of a report
    return "\n".join(_clean_line(line, colour=colour) for line in text.split("\n"))


def _clean_line(line: str, *, colour: bool) -> str:
    parts = _COLOUR.split(line) if colour else [line]
    # every second part is a colour
    return "".join(
        part if number % 2 else _ODD.sub("", _ESCAPES.sub("", part))
        for number, part in enumerate(parts)
    )
