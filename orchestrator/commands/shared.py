"""Options that several commands have, and the values that they become.

A command is a file of this folder: what it is called, its help and its options, and the typed value
that they become. What it does is its namesake in ``answers/``, imported when it is to be done: so
`orchestrate --help` answers at once.
"""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, ClassVar

from orchestrator.frameworks import registry
from orchestrator.frameworks.about import CALIBRATIONS, WEIGHTS


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """What a command was told. ``ANSWERED_BY`` is the function that takes it: module and name."""

    ANSWERED_BY: ClassVar[str]


@dataclass(frozen=True, kw_only=True)
class InventoryArguments(Arguments):
    """Which machines."""

    inventory: Path | None
    device: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class BuildingArguments(Arguments):
    """How models that are missing are to be built; each is None where it was not given."""

    weights: str | None
    representative: Path | None
    calibration: str | None
    dataset: Path | None


@dataclass(frozen=True, kw_only=True)
class PlanningArguments(InventoryArguments, BuildingArguments):
    """What a plan follows from; None where the suite or chance decides."""

    suite: str | None
    results: Path
    models: Path
    blocks: tuple[int, int] | None
    precision: float | None
    budget: float | None
    seed: int | None


def becomes(parser: argparse.ArgumentParser, kind: type[Arguments]) -> None:
    """Say that what ``parser`` reads is a ``kind``."""
    parser.set_defaults(kind=kind)


def typed(parsed: argparse.Namespace) -> Arguments:
    """What was parsed, as the value that its command takes."""
    kind: type[Arguments] = parsed.kind
    told = {field.name: getattr(parsed, field.name) for field in fields(kind)}
    return kind(**{n: tuple(v) if isinstance(v, list) else v for n, v in told.items()})


def completed(action: argparse.Action, names: str) -> None:
    """Say what a shell completes for ``action``: a function of ``answers.names``, imported when a
    shell asks."""

    def complete(*, prefix: str, parsed_args: argparse.Namespace, **_: Any) -> Any:
        module = importlib.import_module("orchestrator.answers.names")
        return getattr(module, names)(prefix, parsed_args)

    action.completer = complete  # type: ignore[attr-defined]  # where argcomplete looks for it


def add_planning(parser: argparse.ArgumentParser) -> None:
    """The options of whatever makes a plan."""
    add_inventory(parser)
    suite = parser.add_argument(
        "--suite", metavar="NAME|FILE", help="what to measure; default: the one the inventory names"
    )
    completed(suite, "suites")
    add_folders(parser)
    add_building(parser)
    parser.add_argument(
        "--blocks",
        metavar="MIN[:MAX]",
        type=parsed_by("parse_blocks"),
        help="fewest and most blocks of each comparison",
    )
    parser.add_argument(
        "--precision",
        metavar="SHARE",
        type=parsed_by("parse_precision"),
        help="half-width of the interval at which to stop, 0.02 for 2 %%",
    )
    parser.add_argument(
        "--budget",
        metavar="TIME",
        type=parsed_by("parse_duration"),
        help="measuring time of a device after which no block beyond the minimum "
        "is begun, for example 10m",
    )
    parser.add_argument(
        "--seed",
        metavar="N",
        type=int,
        help="draws the order of trials; default: a fresh one, recorded",
    )


def add_inventory(parser: argparse.ArgumentParser) -> None:
    """The options that say which machines."""
    parser.add_argument("--inventory", metavar="FILE", type=Path, help="which machines")
    device = parser.add_argument(
        "--device",
        metavar="NAME",
        action="append",
        default=[],
        help="only this device (may be repeated)",
    )
    completed(device, "devices")


def add_folders(parser: argparse.ArgumentParser) -> None:
    """The options that say where runs and models are kept."""
    add_results_folder(parser)
    add_models_folder(parser)


def add_results_folder(parser: argparse.ArgumentParser) -> None:
    """The option that says where runs are kept."""
    parser.add_argument(
        "--results",
        metavar="DIR",
        type=Path,
        default=Path("results"),
        help="where runs are kept (default: results)",
    )


def add_models_folder(parser: argparse.ArgumentParser) -> None:
    """The option that says where models are kept."""
    parser.add_argument(
        "--models",
        metavar="DIR",
        type=Path,
        default=Path("models"),
        help="where model files are kept (default: models)",
    )


def _needing(option: str) -> str:
    """The schemes that an option of building is for."""
    # two frameworks may have one of the same name
    names = dict.fromkeys(each.name for each in registry.schemes() if option in each.needs)
    return ", ".join(names)


def add_building(parser: argparse.ArgumentParser) -> None:
    """The options that say how missing models are built."""
    parser.add_argument(
        "--weights",
        choices=WEIGHTS,
        help="which weights models are built with; default: auto, ImageNet's where they can be had",
    )
    parser.add_argument(
        "--representative",
        metavar="DIR",
        type=Path,
        help=f"images to calibrate {_needing('representative')} on; default: seeded random ones",
    )
    parser.add_argument(
        "--calibration",
        choices=CALIBRATIONS,
        help=f"how the range of an activation is found for {_needing('calibration')}; default: "
        f"entropy",
    )
    parser.add_argument(
        "--dataset",
        metavar="DIR",
        type=Path,
        help=f"images to train {_needing('dataset')} on, as train/CLASS/IMAGE; default: "
        f"generated ones",
    )


def parsed_by(parser: str) -> Callable[[str], Any]:
    """A type for argparse out of one of the configuration's parsers, imported when it is used."""

    def parse(text: str) -> Any:
        try:
            return getattr(importlib.import_module("orchestrator.config.values"), parser)(text)
        except ValueError as exc:
            raise argparse.ArgumentTypeError(str(exc)) from exc

    return parse
