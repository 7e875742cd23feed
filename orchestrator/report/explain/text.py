"""An explanation for a terminal, readable without colour."""

from __future__ import annotations

import textwrap

from orchestrator.analysis.explain.explanation import Explanation
from orchestrator.report.clean import clean
from orchestrator.report.explain.parts import TITLE, parts
from orchestrator.report.grid import render_grid


def to_text(found: Explanation, *, width: int, color: bool) -> str:
    """Sentences first, the table below them, part by part."""
    blocks = [f"{TITLE}, run {clean(found.run_id)}\n"]
    for part in parts(found):
        lines = [f"\033[1m{part.title}\033[0m" if color else part.title]
        begin, go_on = ("  - ", "    ") if len(part.sentences) > 1 else ("  ", "  ")
        for sentence in part.sentences:
            lines += textwrap.wrap(
                sentence, width, initial_indent=begin, subsequent_indent=go_on,
                break_on_hyphens=False,
            )  # fmt: skip
        block = "\n".join(lines) + "\n"
        if part.table is not None:
            block += render_grid(
                part.table.header,
                part.table.rows,
                width=width,
                color=color,
                wrapped=part.table.wrapped,
            )
        blocks.append(block)
    return "\n".join(blocks)
