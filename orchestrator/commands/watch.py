"""``orchestrate watch``: its help, its options, what they become."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

from orchestrator.commands.shared import Arguments, becomes, completed

HELP = "Show where a run stands while it goes on, from its folder alone."


@dataclass(frozen=True, kw_only=True)
class WatchArguments(Arguments):
    """What ``orchestrate watch`` was told."""

    ANSWERED_BY = "watch:answer"

    run: str
    once: bool
    results: Path
    json: bool


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Give ``parser`` this command's options."""
    run = parser.add_argument(
        "run",
        metavar="RUN",
        nargs="?",
        default="last",
        help="a run id, the beginning of one, a folder, or `last` (default: last)",
    )
    completed(run, "runs")
    parser.add_argument(
        "--once", action="store_true", help="show it once, as where there is no terminal"
    )
    parser.add_argument("--results", metavar="DIR", type=Path, default=Path("results"))
    parser.add_argument("--json", action="store_true", help="show it once, as JSON")
    becomes(parser, WatchArguments)
