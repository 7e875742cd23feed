"""``orchestrate devices``: its help, its options, what they become."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

from orchestrator.commands.shared import (
    InventoryArguments,
    add_inventory,
    add_models_folder,
    becomes,
    completed,
)

HELP = "Reach, identify and check every device; problems first, with their remedies."


@dataclass(frozen=True, kw_only=True)
class DevicesArguments(InventoryArguments):
    """What ``orchestrate devices`` was told."""

    ANSWERED_BY = "devices:answer"

    suite: str | None
    models: Path
    json: bool


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Give ``parser`` this command's options."""
    add_inventory(parser)
    suite = parser.add_argument(
        "--suite",
        metavar="NAME|FILE",
        help="check the devices against what this would need; default: the one the inventory "
        "names, if any",
    )
    completed(suite, "suites")
    add_models_folder(parser)
    parser.add_argument("--json", action="store_true", help="print all facts as JSON")
    becomes(parser, DevicesArguments)
