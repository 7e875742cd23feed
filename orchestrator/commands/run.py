"""``orchestrate run``: its help, its options, what they become."""

from __future__ import annotations

import argparse
from dataclasses import dataclass

from orchestrator.commands.shared import PlanningArguments, add_planning, becomes, completed

HELP = "Measure a suite on the devices of an inventory and print the speed-up table."


@dataclass(frozen=True, kw_only=True)
class RunArguments(PlanningArguments):
    """What ``orchestrate run`` was told."""

    ANSWERED_BY = "run:answer"

    resume: str | None
    trust: bool
    engine: str
    scheduler: str | None
    verbose: bool
    on_end: str | None
    json: bool


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Give ``parser`` this command's options."""
    add_planning(parser)
    resume = parser.add_argument(
        "--resume", metavar="RUN", help="go on with this run (`last`: the newest)"
    )
    completed(resume, "runs")
    parser.add_argument(
        "--trust",
        action="store_true",
        help="with --resume: start what the run's folder says, for example the command of `exec:` "
        "here or that of its suite on the devices, though no inventory or suite of yours has it",
    )
    parser.add_argument(
        "--engine",
        choices=("threads", "dask"),
        default="threads",
        help="who holds the connections to the devices: this process, or the workers of a Dask "
        "cluster (default: threads)",
    )
    parser.add_argument(
        "--scheduler",
        metavar="ADDRESS",
        help="where the Dask cluster's scheduler is, for example tcp://HOST:8786",
    )
    parser.add_argument(
        "--on-end",
        metavar="COMMAND",
        help="start this program when the run has ended; its environment has ORCHESTRATE_RUN (the "
        "folder), ORCHESTRATE_RUN_ID, ORCHESTRATE_OUTCOME (ok, failed, incomplete, interrupted or "
        "error) and ORCHESTRATE_EXIT_CODE",
    )
    parser.add_argument(
        "--verbose",
        action="store_true",
        help="print intervals, noise floors, sizes, memory and every finding with its remedy, too",
    )
    parser.add_argument("--json", action="store_true", help="print the table as JSON")
    becomes(parser, RunArguments)
