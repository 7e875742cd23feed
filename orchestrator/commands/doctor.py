"""``orchestrate doctor``: its help, its options, what they become."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

from orchestrator.commands.shared import Arguments, add_folders, becomes

HELP = "Say what is here of packages, programs and disk, and what each lack costs."


@dataclass(frozen=True, kw_only=True)
class DoctorArguments(Arguments):
    """What ``orchestrate doctor`` was told."""

    ANSWERED_BY = "doctor:answer"

    results: Path
    models: Path
    json: bool


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Give ``parser`` this command's options."""
    add_folders(parser)
    parser.add_argument("--json", action="store_true", help="print as JSON")
    becomes(parser, DoctorArguments)
