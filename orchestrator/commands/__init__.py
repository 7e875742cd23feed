"""The commands, in the order in which `orchestrate --help` has them; each is a file of its name."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Protocol

from orchestrator.commands import (
    agents,
    bundle,
    compare,
    completion,
    devices,
    doctor,
    explain,
    import_,
    init,
    inventory,
    models,
    plan,
    report,
    run,
    runs,
    schema,
)


class Command(Protocol):
    """What a file of this folder has."""

    HELP: str

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Give ``parser`` this command's options."""


COMMANDS: Mapping[str, Command] = {
    "init": init,
    "run": run,
    "plan": plan,
    "devices": devices,
    "inventory": inventory,
    "models": models,
    "report": report,
    "explain": explain,
    "compare": compare,
    "runs": runs,
    "bundle": bundle,
    "import": import_,
    "agents": agents,
    "doctor": doctor,
    "schema": schema,
    "completion": completion,
}
