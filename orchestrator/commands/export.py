"""``orchestrate export``: its help, its options, what they become."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

from orchestrator.commands.shared import Arguments, becomes, completed

HELP = "Pack a run into one file to be published, which `import` reads."


@dataclass(frozen=True, kw_only=True)
class ExportArguments(Arguments):
    """What ``orchestrate export`` was told."""

    ANSWERED_BY = "export:answer"

    run: str
    anonymous: bool
    output: Path
    results: Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Give ``parser`` this command's options."""
    run = parser.add_argument(
        "run", metavar="RUN", help="a run id, the beginning of one, or `last`"
    )
    completed(run, "runs")
    parser.add_argument(
        "--anonymous",
        action="store_true",
        help="replace names of hosts and users, paths, addresses and serials, each by the same "
        "stand-in in all files, and search for the originals afterwards",
    )
    parser.add_argument(
        "--output", metavar="FILE", type=Path, required=True, help="the file to write, a .zip"
    )
    parser.add_argument("--results", metavar="DIR", type=Path, default=Path("results"))
    becomes(parser, ExportArguments)
