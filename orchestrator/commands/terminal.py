"""What the place that our answer goes to can show."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from orchestrator.answer import Answer
from orchestrator.errors import UsageError


def answer_width() -> int:
    """Columns: the terminal's, or 120 where there is none."""
    return shutil.get_terminal_size((120, 40)).columns if sys.stdout.isatty() else 120


def colour_wanted() -> bool:
    """Whether to colour: on a terminal, unless NO_COLOR is set (https://no-color.org)."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR")


def answered(text: str, output: Path | None) -> Answer:
    """``text`` as the answer, or in the file ``output``, where one was named.

    Raises UsageError where that cannot be written.
    """
    if output is None:
        return Answer(text)
    try:
        output.write_text(text, encoding="utf-8")
    except OSError as exc:
        raise UsageError(f"{output}: cannot be written ({exc.strerror})") from exc
    return Answer("")
