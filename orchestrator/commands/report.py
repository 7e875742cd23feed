"""``orchestrate report``: its help, its options, what they become."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

from orchestrator.commands.shared import Arguments, add_results_folder, becomes, completed

HELP = "Make a run's table again from its journal, or one table of several runs."


@dataclass(frozen=True, kw_only=True)
class ReportArguments(Arguments):
    """What ``orchestrate report`` was told."""

    ANSWERED_BY = "report:answer"

    run: tuple[str, ...]
    format: str
    verbose: bool
    output: Path | None
    charts: Path | None
    notes: str | None
    label: str | None
    caption: str | None
    tails: bool
    results: Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Give ``parser`` this command's options."""
    run = parser.add_argument(
        "run",
        metavar="RUN",
        nargs="+",
        help="a run id, the beginning of one, `last`, or a folder; several make one table",
    )
    completed(run, "runs")
    formats = ("text", "csv", "json", "markdown", "latex", "html")
    parser.add_argument(
        "--format", choices=formats, default="text", help="how it is written (default: text)"
    )
    parser.add_argument(
        "--verbose",
        action="store_true",
        help="of text: intervals, noise floors, sizes, memory and every finding with its remedy, "
        "too",
    )
    parser.add_argument("--output", metavar="FILE", type=Path, help="write there, not to stdout")
    parser.add_argument(
        "--charts", metavar="DIR", type=Path, help="put every chart there, as SVG and PNG"
    )
    parser.add_argument(
        "--notes",
        choices=("below", "none"),
        help="of latex: conditions and findings below each table (default), or in comments alone",
    )
    parser.add_argument("--label", metavar="LABEL", help="of latex: the first table's")
    parser.add_argument("--caption", metavar="LATEX", help="of latex: taken as it is")
    parser.add_argument(
        "--tails",
        action="store_true",
        help="with p50, p90, p95, p99 and the worst of single inferences, out of every raw log; "
        "json and html have them unless the run is large, csv is a table of them alone",
    )
    add_results_folder(parser)
    becomes(parser, ReportArguments)
