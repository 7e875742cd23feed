"""``orchestrate explain``: its help, its options, what they become."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

from orchestrator.commands.shared import Arguments, add_results_folder, becomes, completed

HELP = "Which factor moves the speed-up of a run, and which flips its sign."


@dataclass(frozen=True, kw_only=True)
class ExplainArguments(Arguments):
    """What ``orchestrate explain`` was told."""

    ANSWERED_BY = "explain:answer"

    run: str
    format: str
    output: Path | None
    results: Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Give ``parser`` this command's options."""
    run = parser.add_argument(
        "run", metavar="RUN", help="a run id, the beginning of one, or `last`"
    )
    completed(run, "runs")
    formats = ("text", "json", "markdown", "html")
    parser.add_argument(
        "--format", choices=formats, default="text", help="how it is written (default: text)"
    )
    parser.add_argument("--output", metavar="FILE", type=Path, help="write there, not to stdout")
    add_results_folder(parser)
    becomes(parser, ExplainArguments)
