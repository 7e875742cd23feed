"""``orchestrate models``: its help, its actions and their options, what they become."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

from orchestrator.commands.shared import (
    Arguments,
    BuildingArguments,
    InventoryArguments,
    add_building,
    add_inventory,
    add_models_folder,
    becomes,
    completed,
)
from orchestrator.frameworks import registry
from orchestrator.frameworks.about import CURRENT

HELP = "List, build and inspect model files."


@dataclass(frozen=True, kw_only=True)
class ListArguments(Arguments):
    """What ``orchestrate models list`` was told."""

    ANSWERED_BY = "models:list_models"

    models: Path
    json: bool


@dataclass(frozen=True, kw_only=True)
class BuildArguments(BuildingArguments):
    """What ``orchestrate models build`` was told."""

    ANSWERED_BY = "models:build"

    names: tuple[str, ...]
    framework: str
    scheme: tuple[str, ...]
    suite: str | None
    compatibility: str | None
    export: tuple[str, ...]
    models: Path


@dataclass(frozen=True, kw_only=True)
class InspectArguments(Arguments):
    """What ``orchestrate models inspect`` was told."""

    ANSWERED_BY = "models:inspect"

    file: Path
    signature: str | None
    json: bool


@dataclass(frozen=True, kw_only=True)
class BinariesArguments(InventoryArguments):
    """What ``orchestrate models binaries`` was told."""

    ANSWERED_BY = "binaries:answer"

    fetch: bool
    json: bool
    models: Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Give ``parser`` this command's actions, and each of them its options."""
    first, *others = registry.builders()
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    listing = actions.add_parser("list", help="the models that can be built, and those that are")
    becomes(listing, ListArguments)
    build = actions.add_parser("build", help="build models now")
    names = build.add_argument(
        "names",
        metavar="MODEL",
        nargs="*",
        help=f"which models; default: all of the suite {first.suite}"
        + "".join(f", or of {each.suite} with --framework {each.name}" for each in others),
    )
    completed(names, "models")
    build.add_argument(
        "--framework",
        choices=tuple(each.name for each in registry.builders()),
        default=first.name,
        help=f"whose models (default: {first.name})",
    )
    scheme = build.add_argument(
        "--scheme",
        metavar="SCHEME",
        action="append",
        default=[],
        help="only this scheme (may be repeated)",
    )
    completed(scheme, "schemes")
    suite = build.add_argument(
        "--suite", metavar="NAME|FILE", help="all of this suite instead of models by name"
    )
    completed(suite, "suites")
    build.add_argument(
        "--compatibility",
        choices=(CURRENT, *registry.compatibilities()),
        help="the runtime that must load the files; default: what the suite's runtime needs",
    )
    build.add_argument(
        "--export",
        choices=("open", "fixed"),
        action="append",
        default=[],
        help="the batch left open or fixed at 1 (may be repeated); default: as the suite, or open",
    )
    add_building(build)
    becomes(build, BuildArguments)
    inspect = actions.add_parser("inspect", help="what a model file really holds")
    inspect.add_argument(
        "file", metavar="FILE", type=Path, help="the model file, in which nothing is run"
    )
    inspect.add_argument(
        "--signature",
        metavar="NAME",
        help="which of a file's signatures; default: the one that a runtime calls by itself",
    )
    becomes(inspect, InspectArguments)
    binaries = actions.add_parser(
        "binaries",
        help=f"which {registry.tool().name} each device gets, and whether it is there",
    )
    add_inventory(binaries)
    binaries.add_argument("--fetch", action="store_true", help="fetch those that are missing")
    becomes(binaries, BinariesArguments)
    for action in (listing, inspect, binaries):
        action.add_argument("--json", action="store_true", help="print as JSON")
    for action in (listing, build, binaries):
        add_models_folder(action)
