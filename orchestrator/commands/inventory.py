"""``orchestrate inventory``: its help, its options, what they become."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

from orchestrator.commands.shared import Arguments, becomes

HELP = "Write an inventory of machines that are written down elsewhere."


@dataclass(frozen=True, kw_only=True)
class InventoryOfArguments(Arguments):
    """What ``orchestrate inventory`` was told."""

    ANSWERED_BY = "inventory:answer"

    source: str
    file: Path | None
    output: Path | None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Give ``parser`` this command's options."""
    parser.add_argument(
        "--from",
        dest="source",
        choices=("ansible", "ssh-config", "openstack", "chameleon"),
        required=True,
        help="an Ansible inventory, the hosts of an ssh_config file, or the servers of the project "
        "that OS_… variables or clouds.yaml log in to, on Chameleon with the end of their lease",
    )
    parser.add_argument(
        "file", metavar="FILE", type=Path, nargs="?",
        help="the Ansible inventory, or an ssh_config file (default: ~/.ssh/config)",
    )  # fmt: skip
    parser.add_argument(
        "--output", metavar="FILE", type=Path, help="write there, not to stdout; must be a new file"
    )
    becomes(parser, InventoryOfArguments)
