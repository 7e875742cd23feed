"""Text from devices, files and logs, made fit for a terminal."""

from __future__ import annotations


def printable(text: str) -> str:
    """``text`` on one line, without anything a terminal would obey."""
    return "".join(c if c.isprintable() else " " for c in text)
