"""``orchestrate import``: its help, its options, what they become."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

from orchestrator.commands.shared import Arguments, add_folders, becomes, parsed_by
from orchestrator.frameworks import registry

HELP = (
    f"Merge a bundle's results, take in an exported run, or make a run of {registry.tool().name} "
    "logs, notebooks or a table of published times."
)

#: Delegates that nothing here can measure, and logs may be of.
_OF_OTHER_HARDWARE = ("gpu", "nnapi", "npu", "hexagon", "coreml", "external")


@dataclass(frozen=True, kw_only=True)
class ImportArguments(Arguments):
    """What ``orchestrate import`` was told."""

    ANSWERED_BY = "import_:answer"

    file: tuple[Path, ...]
    device: str
    microarchitecture: str
    map: Path | None
    model: str | None
    scheme: str | None
    threads: int
    delegate: str | None
    baseline: str
    results: Path
    models: Path
    json: bool


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Give ``parser`` this command's options."""
    parser.add_argument(
        "file",
        metavar="FILE",
        nargs="+",
        type=Path,
        help="results of bundles; or exported runs; or logs, notebooks, or a published table",
    )
    parser.add_argument(
        "--device", metavar="NAME", default="imported", type=parsed_by("check_name"),
        help="the machine that the logs come from (default: imported)",
    )  # fmt: skip
    parser.add_argument(
        "--microarchitecture", metavar="NAME", default="", help="what CPU it has, where known"
    )
    parser.add_argument(
        "--map", metavar="FILE", type=Path,
        help="csv with the columns graph, model, scheme, for files whose names do not tell",
    )  # fmt: skip
    parser.add_argument("--model", metavar="NAME", help="what every process ran, with --scheme")
    parser.add_argument("--scheme", metavar="NAME", help="the scheme that every process ran")
    parser.add_argument(
        "--threads",
        metavar="N",
        type=int,
        default=0,
        help="how many threads ran, where the logs do not say",
    )
    parser.add_argument(
        "--delegate",
        choices=(*registry.values_of("delegate"), *_OF_OTHER_HARDWARE),
        help="what took parts of the models, where the logs do not say",
    )
    baseline = registry.default().scheme_names[0]
    parser.add_argument(
        "--baseline",
        metavar="SCHEME",
        default=baseline,
        help=f"what the other schemes are compared with (default: {baseline})",
    )
    add_folders(parser)
    parser.add_argument("--json", action="store_true", help="print the table as JSON")
    becomes(parser, ImportArguments)
