"""``orchestrate merge``: its help, its options, what they become."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

from orchestrator.commands.shared import Arguments, becomes, completed

HELP = "Write one table of several runs: page, csv, JSON and Markdown."


@dataclass(frozen=True, kw_only=True)
class MergeArguments(Arguments):
    """What ``orchestrate merge`` was told."""

    ANSWERED_BY = "merge:answer"

    run: tuple[str, ...]
    output: Path
    results: Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Give ``parser`` this command's options."""
    run = parser.add_argument(
        "run", metavar="RUN", nargs="+", help="run ids, beginnings of them, or folders"
    )
    completed(run, "runs")
    parser.add_argument(
        "--output", metavar="DIR", type=Path, required=True, help="where the files go"
    )
    parser.add_argument("--results", metavar="DIR", type=Path, default=Path("results"))
    becomes(parser, MergeArguments)
