"""What the place that our answer goes to can show."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from orchestrator import plain_files
from orchestrator.answer import Answer
from orchestrator.errors import UsageError


def on_terminal() -> bool:
    """Whether somebody sees the answer while it comes."""
    return sys.stdout.isatty()


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
        if output.is_symlink():
            raise UsageError(
                f"{output}: is a link; name the file that is meant, or leave --output out and "
                f"send the answer on with `>`"
            )
        plain_files.write(output.parent, output.name, text.encode())
    except OSError as exc:
        raise UsageError(f"{output}: cannot be written ({exc.strerror})") from exc
    return Answer("")
