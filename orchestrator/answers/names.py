"""The names that a shell completes on the command line, as they are at this moment.

Each function takes the beginning of a word and what stands on the line so far. Where a file cannot
be read there are no names: a shell that completes is not the place for its mistakes.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from pathlib import Path

from argcomplete.completers import FilesCompleter

from orchestrator.config import available_suites, load_inventory
from orchestrator.config.values import is_path
from orchestrator.errors import OrchestrateError
from orchestrator.frameworks import registry
from orchestrator.frameworks.parts import known_models
from orchestrator.runs.directory import list_runs

#: Where an inventory is looked for while none is named.
_USUAL = Path("inventory.yaml")


def devices(prefix: str, line: argparse.Namespace) -> Iterable[str]:
    """Return the devices of the inventory that the line names, or of ``inventory.yaml``."""
    try:
        inventory = load_inventory(getattr(line, "inventory", None) or _USUAL)
    except OrchestrateError:
        return ()
    return [device.name for device in inventory.devices]


def suites(prefix: str, line: argparse.Namespace) -> Iterable[str]:
    """Return every suite by name; of a path that is begun, the files that go on with it."""
    if is_path(prefix) or prefix.startswith("."):
        files: Iterable[str] = FilesCompleter(("yaml", "yml"))(prefix)
        return files
    return list(available_suites(getattr(line, "inventory", None)))


def models(prefix: str, line: argparse.Namespace) -> Iterable[str]:
    """Return the models that can be built, of the framework that the line names."""
    framework = getattr(line, "framework", None)
    return known_models(framework if framework in registry.names() else None)


def schemes(prefix: str, line: argparse.Namespace) -> Iterable[str]:
    """Return the schemes that models can be built in, of the framework that the line names."""
    framework = getattr(line, "framework", None)
    of = registry.framework(framework) if framework in registry.names() else registry.default()
    return of.scheme_names


def runs(prefix: str, line: argparse.Namespace) -> Iterable[str]:
    """Return the runs in the results folder, the newest first, and ``last``."""
    folder = getattr(line, "results", None) or Path("results")
    return ["last", *(run.run_id for run in reversed(list_runs(folder)))]
