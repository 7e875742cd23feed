"""``orchestrate agents``: its help, its options, what they become."""

from __future__ import annotations

import argparse
from dataclasses import dataclass

from orchestrator.commands.shared import InventoryArguments, add_inventory, becomes

HELP = "Ask, read or stop the agents on the devices."


@dataclass(frozen=True, kw_only=True)
class AgentsArguments(InventoryArguments):
    """What ``orchestrate agents`` was told."""

    ANSWERED_BY = "agents:answer"

    action: str
    force: bool


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Give ``parser`` this command's options."""
    parser.add_argument(
        "action",
        choices=("status", "logs", "stop"),
        help="what each does and what waits; what it wrote down of itself; or end it",
    )
    add_inventory(parser)
    parser.add_argument(
        "--force", action="store_true", help="stop even an agent that has trials to run"
    )
    becomes(parser, AgentsArguments)
