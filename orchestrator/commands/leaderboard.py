"""``orchestrate leaderboard``: its help, its options, what they become."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

from orchestrator.commands.shared import Arguments, becomes

HELP = "Make a static site of all runs in a folder: models × devices, to filter and sort."


@dataclass(frozen=True, kw_only=True)
class LeaderboardArguments(Arguments):
    """What ``orchestrate leaderboard`` was told."""

    ANSWERED_BY = "leaderboard:answer"

    folder: Path
    output: Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Give ``parser`` this command's options."""
    parser.add_argument(
        "folder", metavar="DIR", type=Path, nargs="?", default=Path("results"),
        help="the folder that holds the runs (default: results)",
    )  # fmt: skip
    parser.add_argument(
        "--output", metavar="DIR", type=Path, required=True, help="where the site goes"
    )
    becomes(parser, LeaderboardArguments)
