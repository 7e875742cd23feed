"""``orchestrate plan``: its help, its options, what they become."""

from __future__ import annotations

import argparse
from dataclasses import dataclass

from orchestrator.commands.shared import PlanningArguments, add_planning, becomes

HELP = "What `run` would do: trials, time, bytes to push. Touches no device."


@dataclass(frozen=True, kw_only=True)
class PlanArguments(PlanningArguments):
    """What ``orchestrate plan`` was told."""

    ANSWERED_BY = "plan:answer"

    json: bool


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Give ``parser`` this command's options."""
    add_planning(parser)
    parser.add_argument("--json", action="store_true", help="print the plan as JSON")
    becomes(parser, PlanArguments)
