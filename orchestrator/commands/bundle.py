"""``orchestrate bundle``: its help, its options, what they become."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

from orchestrator.commands.shared import PlanningArguments, add_planning, becomes, completed

HELP = "Write one file that measures where nothing reaches, for `python3 FILE` there."


@dataclass(frozen=True, kw_only=True)
class BundleArguments(PlanningArguments):
    """What ``orchestrate bundle`` was told."""

    ANSWERED_BY = "bundle:answer"

    run: str | None
    trust: bool
    output: Path | None
    without_models: bool


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Give ``parser`` this command's options."""
    add_planning(parser)
    run = parser.add_argument(
        "--run", metavar="RUN", help="add the device to this run (`last`: the newest)"
    )
    completed(run, "runs")
    parser.add_argument(
        "--trust",
        action="store_true",
        help="with --run: let the bundle run the command of that run's suite, though no suite of "
        "yours has it",
    )
    parser.add_argument(
        "--output", metavar="FILE", type=Path, help="write there; default: bundle-DEVICE.pyz, here"
    )
    parser.add_argument(
        "--without-models",
        action="store_true",
        help="leave the model files out; the bundle fetches them from a folder or an address",
    )
    becomes(parser, BundleArguments)
