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
    export,
    import_,
    init,
    inventory,
    leaderboard,
    merge,
    models,
    plan,
    report,
    run,
    runs,
    schema,
    watch,
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
    "watch": watch,
    "models": models,
    "report": report,
    "explain": explain,
    "compare": compare,
    "merge": merge,
    "leaderboard": leaderboard,
    "runs": runs,
    "bundle": bundle,
    "import": import_,
    "export": export,
    "agents": agents,
    "doctor": doctor,
    "schema": schema,
    "completion": completion,
}
