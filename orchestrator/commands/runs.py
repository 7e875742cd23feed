"""``orchestrate runs``: its help, its options, what they become."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

from orchestrator.commands.shared import Arguments, add_results_folder, becomes

HELP = "List what is in the results folder."


@dataclass(frozen=True, kw_only=True)
class RunsArguments(Arguments):
    """What ``orchestrate runs`` was told."""

    ANSWERED_BY = "runs:answer"

    results: Path
    json: bool


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Give ``parser`` this command's options."""
    add_results_folder(parser)
    parser.add_argument("--json", action="store_true", help="print as JSON")
    becomes(parser, RunsArguments)
