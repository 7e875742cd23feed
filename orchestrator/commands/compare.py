"""``orchestrate compare``: its help, its options, what they become."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

from orchestrator.commands.shared import Arguments, add_results_folder, becomes, completed

HELP = "What changed between runs, beyond their noise floors, and what changed with it."


@dataclass(frozen=True, kw_only=True)
class CompareArguments(Arguments):
    """What ``orchestrate compare`` was told."""

    ANSWERED_BY = "compare:answer"

    run: tuple[str, ...]
    results: Path
    json: bool


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Give ``parser`` this command's options."""
    run = parser.add_argument(
        "run", metavar="RUN", nargs="+", help="two runs or more; each is held against the first"
    )
    completed(run, "runs")
    add_results_folder(parser)
    parser.add_argument("--json", action="store_true", help="print as JSON")
    becomes(parser, CompareArguments)
