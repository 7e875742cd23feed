"""``orchestrate schema``: its help, its options, what they become."""

from __future__ import annotations

import argparse
from dataclasses import dataclass

from orchestrator.commands.shared import Arguments, becomes

HELP = "Print the JSON Schema of an inventory or a suite, for editors and other programs."


@dataclass(frozen=True, kw_only=True)
class SchemaArguments(Arguments):
    """What ``orchestrate schema`` was told."""

    ANSWERED_BY = "schema:answer"

    of: str


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Give ``parser`` this command's options."""
    parser.add_argument("of", choices=("inventory", "suite"))
    becomes(parser, SchemaArguments)
