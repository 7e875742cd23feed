"""How far a bundle has come: plain lines, and a bar on a terminal."""

from __future__ import annotations

import shutil
import sys
from typing import Optional

_BAR = 24


class Progress:
    """Writes to stdout until nobody reads it; measuring goes on then."""

    def __init__(self) -> None:
        self._bar = sys.stdout.isatty()
        self._broken = False

    def say(self, text: str) -> None:
        """Print one line."""
        # to the end of the line: there may be a longer bar
        self._write(f"\r\x1b[K{_printable(text)}\n" if self._bar else f"{_printable(text)}\n")

    def running(self, what: str, done: int, expected: int, left_s: Optional[float]) -> None:
        """Show that one begins after ``done`` of ``expected`` trials. On a terminal only."""
        if not self._bar:
            return
        full = _BAR * done // max(1, expected)
        line = f"[{'#' * full}{'.' * (_BAR - full)}] {_counts(done, expected, left_s)}  {what}"
        self._write("\r\x1b[K" + _printable(line)[: shutil.get_terminal_size().columns - 1])

    def ended(self, what: str, how: str, done: int, expected: int, left_s: Optional[float]) -> None:
        """Tell how a trial ended: ``how`` is empty where it went well, which a bar needs no line
        for."""
        if how or not self._bar:
            self.say(f"{_counts(done, expected, left_s)}  {what} {how or 'ok'}")

    def close(self) -> None:
        """Leave the line of the bar."""
        if self._bar:
            self._write("\r\x1b[K")

    def _write(self, text: str) -> None:
        if self._broken:
            return
        try:
            sys.stdout.write(text)
            sys.stdout.flush()
        except (OSError, ValueError):  # a closed window or pipe
            self._broken = True


def _counts(done: int, expected: int, left_s: Optional[float]) -> str:
    left = "" if left_s is None else f", about {_duration(left_s)} to go"
    return f"{done}/{expected}{left}"


def _duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    if minutes < 1:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in text).encode("ascii", "replace").decode()
