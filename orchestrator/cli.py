"""The command line: the only place that prints an answer or sets an exit code.

stdout carries the answer alone; progress and messages go to stderr. Exit codes: 0 all well,
1 something failed and the results are saved, 2 the command line, inventory or suite is wrong,
3 no device could be reached, 130 interrupted and resumable.
"""

from __future__ import annotations

import argparse
import os
import pkgutil
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from orchestrator import answers
from orchestrator.answer import Answer, ExitCode
from orchestrator.answers.terminal import colour_wanted
from orchestrator.commands import COMMANDS
from orchestrator.commands.shared import Arguments, typed
from orchestrator.errors import NoDeviceReachedError, OrchestrateError, UsageError
from orchestrator.printable import printable, show

_DESCRIPTION = (
    "Measures what quantization does to inference speed on every machine of an inventory, and "
    "how sure one may be of it."
)


def main(argv: Sequence[str] | None = None) -> int:
    """Parse, do, print the answer; what went wrong becomes a message and an exit code."""
    parser = _parser()
    if _COMPLETING in os.environ:
        _complete(parser)
    arguments = typed(parser.parse_args(argv))
    try:
        answer = _answer(arguments)
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


#: Set by what `orchestrate completion` prints, when a key asks the shell to complete a line.
_COMPLETING = "_ARGCOMPLETE"


def _complete(parser: argparse.ArgumentParser) -> None:
    """Tell the shell what may come next, and end."""
    # imported here, because every other command would wait for it
    import argcomplete  # noqa: PLC0415

    argcomplete.autocomplete(parser, always_complete_options="long")


# -- the parser -----------------------------------------------------------------------------------


class _Parser(argparse.ArgumentParser):
    """A parser whose messages, which quote what was typed, go the way of everything else, and which
    takes no part of an option's name for the option: ``--model`` is not ``--models``."""

    def __init__(self, **more: Any) -> None:
        super().__init__(**{"allow_abbrev": False, **more})

    def _print_message(self, message: str, file: Any = None) -> None:
        if message:
            show(file or sys.stderr, message)


class _Version(argparse.Action):
    """Print what is installed, which takes a moment to find out, and end."""

    def __init__(self, option_strings: Sequence[str], dest: str, **more: Any) -> None:
        super().__init__(option_strings, dest, nargs=0, default=argparse.SUPPRESS, **more)

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        text = pkgutil.resolve_name("orchestrator.answers.versions:text")()
        show(sys.stdout, text)
        parser.exit()


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="orchestrate", description=_DESCRIPTION)
    parser.add_argument(
        "--version", action=_Version, help="show the versions that matter in a bug report"
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for name, command in COMMANDS.items():
        command.add_arguments(
            commands.add_parser(name, help=command.HELP, description=command.HELP)
        )
    return parser


def _answer(arguments: Arguments) -> Answer:
    """Do what a command was told; what it needs for that is imported only now."""
    function = pkgutil.resolve_name(f"{answers.__name__}.{arguments.ANSWERED_BY}")
    answer: Answer = function(arguments)
    return answer
