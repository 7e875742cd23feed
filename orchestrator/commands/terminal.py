"""What the place that our answer goes to can show."""

from __future__ import annotations

import os
import shutil
import sys


def answer_width() -> int:
    """Columns: the terminal's, or 120 where there is none."""
    return shutil.get_terminal_size((120, 40)).columns if sys.stdout.isatty() else 120


def colour_wanted() -> bool:
    """Whether to colour: on a terminal, unless NO_COLOR is set (https://no-color.org)."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR")
