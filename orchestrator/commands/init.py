"""``orchestrate init``: its help, its options, what they become."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

from orchestrator.commands.shared import Arguments, becomes, completed

HELP = "Write an inventory of this machine, or a suite to change; nothing is asked or overwritten."


@dataclass(frozen=True, kw_only=True)
class InitArguments(Arguments):
    """What ``orchestrate init`` was told."""

    ANSWERED_BY = "init:answer"

    suite: str | None
    source: str | None
    output: Path | None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Give ``parser`` this command's options."""
    parser.add_argument(
        "--suite", metavar="NAME", help="write suites/NAME.yaml instead, a suite of your own"
    )
    source = parser.add_argument(
        "--from",
        dest="source",
        metavar="NAME|FILE",
        help="with --suite: the suite to begin with (default: quick)",
    )
    completed(source, "suites")
    parser.add_argument(
        "--output",
        metavar="FILE",
        type=Path,
        help="write there (default: inventory.yaml, or suites/NAME.yaml)",
    )
    becomes(parser, InitArguments)
