"""The command line: the only place that prints an answer or sets an exit code.

stdout carries the answer alone; progress and messages go to stderr. Exit codes: 0 all well,
1 something failed and the results are saved, 2 the command line, inventory or suite is wrong,
3 no device could be reached, 130 interrupted and resumable.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from orchestrator import __version__
from orchestrator.answer import Answer, ExitCode
from orchestrator.commands.terminal import colour_wanted
from orchestrator.errors import NoDeviceReachedError, OrchestrateError, UsageError
from orchestrator.printable import printable, show

_DESCRIPTION = (
    "Measures what quantization does to inference speed on every machine of an inventory, and "
    "how sure one may be of it."
)


def main(argv: Sequence[str] | None = None) -> int:
    """Parse, do, print the answer; what went wrong becomes a message and an exit code."""
    arguments = _parser().parse_args(argv)
    try:
        answer: Answer = arguments.command(arguments)
        show(sys.stdout, answer.text, colour=colour_wanted())
    except BrokenPipeError:
        # The reader of our stdout (`| head`) has gone. Python would complain once more at exit,
        # when it flushes what cannot be delivered.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.OK
    except KeyboardInterrupt:
        return _refuse("interrupted", ExitCode.INTERRUPTED)
    except OrchestrateError as exc:
        return _refuse(exc, _code_of(exc))
    except Exception as exc:
        if os.environ.get(_SHOW_TRACEBACK):
            raise
        return _refuse(_unforeseen(exc), ExitCode.FAILED)
    return answer.code


def _code_of(exc: OrchestrateError) -> ExitCode:
    if isinstance(exc, UsageError):
        return ExitCode.USAGE
    return ExitCode.UNREACHED if isinstance(exc, NoDeviceReachedError) else ExitCode.FAILED


#: Set it to see where an error that nobody foresaw came from.
#: What logs that name no delegate may be said to have run under.
_DELEGATES = ("xnnpack", "none", "gpu", "nnapi", "npu", "hexagon", "coreml", "external")
_SHOW_TRACEBACK = "ORCHESTRATE_TRACEBACK"


def _unforeseen(exc: Exception) -> str:
    """What to say of an error that has no words of its own: a damaged file, or our mistake."""
    frames = traceback.extract_tb(exc.__traceback__)
    place = f" in {Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
    return (
        f"{type(exc).__name__}{place}: {str(exc)[:400]}\n"
        f"a value in a file or from a device is not what it should be, or this is a mistake in "
        f"orchestrate; nothing was deleted. {_SHOW_TRACEBACK}=1 shows the whole way here"
    )


def _refuse(message: object, code: ExitCode) -> ExitCode:
    for line in str(message).splitlines():
        show(sys.stderr, f"orchestrate: {printable(line)}\n")
    return code


# -- the parser -----------------------------------------------------------------------------------


class _Parser(argparse.ArgumentParser):
    """A parser whose messages, which quote what was typed, go the way of everything else."""

    def _print_message(self, message: str, file: Any = None) -> None:
        if message:
            show(file or sys.stderr, message)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="orchestrate", description=_DESCRIPTION)
    parser.add_argument("--version", action="version", version=f"orchestrate {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for name, add in _COMMANDS.items():
        add(commands.add_parser(name, help=_HELP[name], description=_HELP[name]))
    return parser


_HELP = {
    "run": "Measure a suite on the devices of an inventory and print the speed-up table.",
    "plan": "What `run` would do: trials, time, bytes to push. Touches no device.",
    "devices": "Reach, identify and check every device; problems first, with their remedies.",
    "inventory": "Write an inventory of machines that are written down elsewhere.",
    "models": "List, build and inspect model files.",
    "report": "Make a run's table again from its journal.",
    "explain": "Which factor moves the speed-up of a run, and which flips its sign.",
    "compare": "What changed between runs, beyond their noise floors, and what changed with it.",
    "runs": "List what is in the results folder.",
    "bundle": "Write one file that measures where nothing reaches, for `python3 FILE` there.",
    "import": "Merge a bundle's results, or make a run of benchmark_model logs, notebooks or a "
    "table of published times.",
    "agents": "Ask, read or stop the agents on the devices.",
}


def _add_run(parser: argparse.ArgumentParser) -> None:
    _add_run_arguments(parser)
    parser.add_argument("--resume", metavar="RUN", help="go on with this run (`last`: the newest)")
    parser.add_argument(
        "--trust",
        action="store_true",
        help="with --resume: start on this machine what the run's folder says, for example the "
        "command of `exec:`, though no inventory of yours has it",
    )
    parser.add_argument(
        "--engine",
        choices=("threads", "dask"),
        default="threads",
        help="who holds the connections to the devices: this process, or the workers of a Dask "
        "cluster (default: threads)",
    )
    parser.add_argument(
        "--scheduler", metavar="ADDRESS", help="of the Dask cluster, for example tcp://HOST:8786"
    )
    parser.add_argument("--json", action="store_true", help="print the table as JSON")
    parser.set_defaults(command=_later("measure", "run"))


def _add_plan(parser: argparse.ArgumentParser) -> None:
    _add_run_arguments(parser)
    parser.add_argument("--json", action="store_true", help="print the plan as JSON")
    parser.set_defaults(command=_later("measure", "plan"))


def _add_run_arguments(parser: argparse.ArgumentParser) -> None:
    _add_inventory(parser)
    parser.add_argument(
        "--suite", metavar="NAME|FILE", help="what to measure; default: the one the inventory names"
    )
    _add_folders(parser)
    _add_building(parser)
    parser.add_argument(
        "--blocks",
        metavar="MIN[:MAX]",
        type=_parsed_by("parse_blocks"),
        help="fewest and most blocks of each comparison",
    )
    parser.add_argument(
        "--precision",
        metavar="SHARE",
        type=_parsed_by("parse_precision"),
        help="half-width of the interval at which to stop, 0.02 for 2 %%",
    )
    parser.add_argument(
        "--budget",
        metavar="TIME",
        type=_parsed_by("parse_duration"),
        help="measuring time of a device after which no block beyond the minimum "
        "is begun, for example 10m",
    )
    parser.add_argument(
        "--seed",
        metavar="N",
        type=int,
        help="draws the order of trials; default: a fresh one, recorded",
    )


def _add_inventory(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--inventory", metavar="FILE", type=Path, help="which machines")
    parser.add_argument(
        "--device",
        metavar="NAME",
        action="append",
        default=[],
        help="only this device (may be repeated)",
    )


def _add_folders(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--results",
        metavar="DIR",
        type=Path,
        default=Path("results"),
        help="where runs are kept (default: results)",
    )
    _add_models_folder(parser)


def _add_models_folder(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--models",
        metavar="DIR",
        type=Path,
        default=Path("models"),
        help="where model files are kept (default: models)",
    )


def _add_building(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--weights",
        choices=("auto", "imagenet", "random"),
        help="of models that are built; default: auto, ImageNet's where they can be had",
    )
    parser.add_argument(
        "--representative",
        metavar="DIR",
        type=Path,
        help="images to calibrate full_int8 and static_int8 on; default: seeded random ones",
    )
    parser.add_argument(
        "--calibration",
        choices=("max", "percentile", "entropy"),
        help="how the range of an activation is found for static_int8; default: entropy",
    )
    parser.add_argument(
        "--dataset",
        metavar="DIR",
        type=Path,
        help="images to train qat_int8 on, as train/CLASS/IMAGE; default: generated ones",
    )


def _add_devices(parser: argparse.ArgumentParser) -> None:
    _add_inventory(parser)
    parser.add_argument(
        "--suite",
        metavar="NAME|FILE",
        help="check the devices against what this would need; default: the one the inventory "
        "names, if any",
    )
    _add_models_folder(parser)
    parser.add_argument("--json", action="store_true", help="print all facts as JSON")
    parser.set_defaults(command=_later("fleet", "devices"))


def _add_inventory_of(parser: argparse.ArgumentParser) -> None:
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
    parser.set_defaults(command=_later("inventory", "inventory"))


def _add_models(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    listing = actions.add_parser("list", help="the models that can be built, and those that are")
    listing.set_defaults(command=_later("models", "list_models"))
    build = actions.add_parser("build", help="build models now")
    build.add_argument(
        "names",
        metavar="MODEL",
        nargs="*",
        help="default: all of the suite quick, or of pytorch with --framework torch",
    )
    build.add_argument(
        "--framework",
        choices=("tflite", "torch"),
        default="tflite",
        help="whose models (default: tflite)",
    )
    build.add_argument(
        "--scheme",
        metavar="SCHEME",
        action="append",
        default=[],
        help="only this scheme (may be repeated)",
    )
    build.add_argument(
        "--suite", metavar="NAME|FILE", help="all of this suite instead of models by name"
    )
    build.add_argument(
        "--compatibility",
        choices=("current", "tflite-2.14"),
        help="the runtime that must load the files; default: what the suite's runtime needs",
    )
    _add_building(build)
    build.set_defaults(command=_later("models", "build"))
    inspect = actions.add_parser("inspect", help="what a model file really holds")
    inspect.add_argument("file", metavar="FILE", type=Path)
    inspect.add_argument(
        "--signature",
        metavar="NAME",
        help="of a .tflite file with several; default: the one that a runtime calls by itself",
    )
    inspect.set_defaults(command=_later("models", "inspect"))
    binaries = actions.add_parser(
        "binaries", help="which benchmark_model each device gets, and whether it is there"
    )
    _add_inventory(binaries)
    binaries.add_argument("--fetch", action="store_true", help="fetch those that are missing")
    binaries.set_defaults(command=_later("binaries", "binaries"))
    for action in (listing, inspect, binaries):
        action.add_argument("--json", action="store_true", help="print as JSON")
    for action in (listing, build, binaries):
        _add_models_folder(action)


def _add_report(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", metavar="RUN", help="a run id, the beginning of one, or `last`")
    formats = ("text", "csv", "json", "markdown", "latex", "html")
    parser.add_argument("--format", choices=formats, default="text")
    parser.add_argument("--output", metavar="FILE", type=Path, help="write there, not to stdout")
    parser.add_argument(
        "--charts", metavar="DIR", type=Path, help="put every chart there, as SVG and PNG"
    )
    parser.add_argument("--results", metavar="DIR", type=Path, default=Path("results"))
    parser.set_defaults(command=_later("runs", "report"))


def _add_explain(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", metavar="RUN", help="a run id, the beginning of one, or `last`")
    formats = ("text", "json", "markdown", "html")
    parser.add_argument("--format", choices=formats, default="text")
    parser.add_argument("--output", metavar="FILE", type=Path, help="write there, not to stdout")
    parser.add_argument("--results", metavar="DIR", type=Path, default=Path("results"))
    parser.set_defaults(command=_later("explain", "explain"))


def _add_compare(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "run", metavar="RUN", nargs="+", help="two runs or more; each is held against the first"
    )
    parser.add_argument("--results", metavar="DIR", type=Path, default=Path("results"))
    parser.add_argument("--json", action="store_true", help="print as JSON")
    parser.set_defaults(command=_later("compare", "compare"))


def _add_runs(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--results", metavar="DIR", type=Path, default=Path("results"))
    parser.add_argument("--json", action="store_true", help="print as JSON")
    parser.set_defaults(command=_later("runs", "list_runs"))


def _add_bundle(parser: argparse.ArgumentParser) -> None:
    _add_run_arguments(parser)
    parser.add_argument(
        "--run", metavar="RUN", help="add the device to this run (`last`: the newest)"
    )
    parser.add_argument(
        "--output", metavar="FILE", type=Path, help="default: bundle-DEVICE.pyz, here"
    )
    parser.add_argument(
        "--without-models",
        action="store_true",
        help="leave the model files out; the bundle fetches them from a folder or an address",
    )
    parser.set_defaults(command=_later("bundle", "bundle"))


def _add_import(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "file",
        metavar="FILE",
        nargs="+",
        type=Path,
        help="results of bundles; or logs, notebooks, or a published table",
    )
    parser.add_argument(
        "--device", metavar="NAME", default="imported", type=_parsed_by("check_name"),
        help="the machine that the logs come from (default: imported)",
    )  # fmt: skip
    parser.add_argument(
        "--microarchitecture", metavar="NAME", default="", help="of that machine, where known"
    )
    parser.add_argument(
        "--map", metavar="FILE", type=Path,
        help="csv with the columns graph, model, scheme, for files whose names do not tell",
    )  # fmt: skip
    parser.add_argument("--model", metavar="NAME", help="what every process ran, with --scheme")
    parser.add_argument("--scheme", metavar="NAME")
    parser.add_argument(
        "--threads", metavar="N", type=int, default=0, help="where the logs do not say"
    )
    parser.add_argument("--delegate", choices=_DELEGATES, help="where the logs do not say")
    parser.add_argument("--baseline", metavar="SCHEME", default="float32")
    _add_folders(parser)
    parser.add_argument("--json", action="store_true", help="print the table as JSON")
    parser.set_defaults(command=_later("imports", "import_files"))


def _add_agents(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("action", choices=("status", "logs", "stop"))
    _add_inventory(parser)
    parser.add_argument(
        "--force", action="store_true", help="stop even an agent that has trials to run"
    )
    parser.set_defaults(command=_later("fleet", "agents"))


def _later(module: str, function: str) -> Callable[[argparse.Namespace], Answer]:
    """A command whose module is imported when it runs: `orchestrate --help` answers at once."""

    def command(arguments: argparse.Namespace) -> Answer:
        found = importlib.import_module(f"orchestrator.commands.{module}")
        answer: Answer = getattr(found, function)(arguments)
        return answer

    return command


def _parsed_by(parser: str) -> Callable[[str], Any]:
    """A type for argparse out of one of the configuration's parsers, imported when it is used."""

    def parse(text: str) -> Any:
        try:
            return getattr(importlib.import_module("orchestrator.config.values"), parser)(text)
        except ValueError as exc:
            raise argparse.ArgumentTypeError(str(exc)) from exc

    return parse


_COMMANDS: dict[str, Callable[[argparse.ArgumentParser], None]] = {
    "run": _add_run,
    "plan": _add_plan,
    "devices": _add_devices,
    "inventory": _add_inventory_of,
    "models": _add_models,
    "report": _add_report,
    "explain": _add_explain,
    "compare": _add_compare,
    "runs": _add_runs,
    "bundle": _add_bundle,
    "import": _add_import,
    "agents": _add_agents,
}
