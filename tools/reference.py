"""Writes what the documents take from the code: options, keys, what a report prints.

    python -m tools.reference

A page marks such a part, and keeps everything around it:

    <!-- generated: keys of a device -->
    …
    <!-- end of generated -->

The names are those of :data:`PARTS`. A test holds every page against the code.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import types
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

from pydantic.fields import FieldInfo

from orchestrator.artifacts.tool import Tool
from orchestrator.cli import _parser
from orchestrator.config import accuracy, inputs, inventory, program, suite, user_models, values
from orchestrator.config.device import SSH_KEYS, BinarySource, Cpu, Device
from orchestrator.config.problems import Strict
from orchestrator.factors import VARIED, Levels, factor_named
from orchestrator.frameworks import registry
from orchestrator.isa.levels import LEVELS, NATIVE
from orchestrator.trial import TrialKind

ROOT = Path(__file__).resolve().parents[1]
COMMAND = "python -m tools.reference"

_PART = re.compile(
    r"(?P<begin><!-- generated: (?P<name>[^>\n]+) -->\n).*?(?P<end><!-- end of generated -->)",
    re.DOTALL,
)

# -- the command line -----------------------------------------------------------------------------


def _commands() -> str:
    """Return every command with its options, those that belong to none first."""
    parser = _parser()
    alone = [line for action in parser._actions for line in _option(action)]
    return "\n".join([*alone, "", *_described(parser, level=2)]).strip()


def _list_of_commands() -> str:
    """Return a table of the commands, each linked to its options."""
    (group,) = _sub_commands(_parser())
    return _markdown_table(
        ("command", "what it does"),
        (
            (f"[`orchestrate {name}`](#orchestrate-{name})", _sentence(told))
            for name, told in zip(group.choices, _helps(group), strict=True)
        ),
    )


def _described(parser: argparse.ArgumentParser, level: int) -> Iterator[str]:
    """Yield the lines of a parser's commands, each with its own heading."""
    for group in _sub_commands(parser):
        for (name, command), told in zip(group.choices.items(), _helps(group), strict=True):
            has_actions = any(_sub_commands(command))
            positional = "" if has_actions else _positionals(command)
            yield f"{'#' * level} orchestrate {_below(command, name)}"
            yield ""
            yield f"{_sentence(told)}"
            yield ""
            options = [line for action in command._actions for line in _option(action)]
            if options:
                yield f"`{command.prog}{positional} [options]`"
                yield ""
                yield from options
                yield ""
            yield from _described(command, level + 1)


def _below(command: argparse.ArgumentParser, name: str) -> str:
    return command.prog.partition(" ")[2] or name


def _sub_commands(parser: argparse.ArgumentParser) -> Iterator[Any]:
    return (a for a in parser._actions if isinstance(a, argparse._SubParsersAction))


def _helps(group: Any) -> list[str]:
    return [each.help or "" for each in group._choices_actions]


def _positionals(command: argparse.ArgumentParser) -> str:
    words = (_placeholder(a) for a in command._actions if not a.option_strings)
    return "".join(f" {word}" for word in words)


def _placeholder(action: argparse.Action) -> str:
    if action.metavar is None and action.choices is not None:
        name = "|".join(map(str, action.choices))
    else:
        name = str(action.metavar or action.dest.upper())
    return {"+": f"{name} …", "*": f"[{name} …]", "?": f"[{name}]"}.get(str(action.nargs), name)


def _option(action: argparse.Action) -> Iterator[str]:
    """Yield one list item: how an option is written, what it may be, what it means."""
    if isinstance(action, argparse._HelpAction | argparse._SubParsersAction):
        return
    takes = action.nargs != 0
    written = [
        f"{flag} {_placeholder(action)}" if takes else flag for flag in action.option_strings
    ] or [_placeholder(action)]
    needed = " (needed)" if action.required and action.option_strings else ""
    said = (action.help or "") % {**vars(action), "prog": "orchestrate"}
    meaning = f": {said.rstrip('.')}." if said else ""
    yield f"- {', '.join(f'`{each}`' for each in written)}{needed}{meaning}"


def _sentence(text: str) -> str:
    """Return a help text as a sentence."""
    text = text % {"prog": "orchestrate"} if "%" in text else text
    return text[:1].upper() + text[1:].rstrip(".") + "."


# -- keys of files --------------------------------------------------------------------------------

#: How the values of a type are written, the first that fits.
_WORDS: tuple[tuple[Any, str], ...] = (
    (values.Duration, "a duration"),
    (values.PositiveDuration, "a duration"),
    (values.Moment, "a date and time with its zone"),
    (values.Blocks, "`MIN:MAX`, or a number"),
    (values.Precision, "a share between 0 and 1"),
    (values.Share, "a share from 0 to 1"),
    (values.Url, "an http(s) address"),
    (values.Sha256, "64 hex digits"),
    (values.Carrier, "a command line, or its words as a list"),
    (values.Command, "a program"),
    (values.RemoteFolder, "a folder, from `/` or `~/` on"),
    (values.LocalPath, "a path"),
    (values.Host, "a host"),
    (values.User, "a login name"),
    (values.Gateway, "a device or jump hosts"),
    (values.Serial, "a serial number"),
    (values.Name, "a name: letters, digits, `.`, `_`, `-`"),
    (Cpu, "CPU numbers"),
    (accuracy.Size, "a side, or `[height, width]`"),
    (accuracy.PerChannel, "a number, or one a channel"),
    (inputs.Inputs, "a shape, or inputs by name"),
    (suite.Model, "names and files"),
    (suite.Scheme, "schemes"),
    (suite.RunnerName, "a runner, or a list of them"),
    (suite.Runtime, "a runtime"),
    (BinarySource, "`official`, a path, an address, or keys"),
    (accuracy.Place, "a path, or keys"),
    (accuracy.OwnPreprocessing, "`auto`, or keys"),
    (accuracy.Outputs, "`postprocess`, or keys"),
    (values.Text, "text"),
    (str, "text"),
    (bool, "`true` or `false`"),
    (Path, "a path"),
)


def _table(model: type[Strict], keys: Callable[[str], bool] = lambda key: True) -> str:
    """Return a table of those keys of a model that files have."""
    hints = typing.get_type_hints(model, include_extras=True)
    rows = [
        (name, field.alias or name, field)
        for name, field in model.model_fields.items()
        if field.description and keys(field.alias or name)
    ]
    return _markdown_table(
        ("key", "value", "left out", "meaning"),
        (
            (f"`{key}`", _value(hints[name], field), _default(hints[name], field), _told(field))
            for name, key, field in rows
        ),
    )


def _markdown_table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join(f"| {' | '.join(each)} |" for each in lines)


def _told(field: FieldInfo) -> str:
    example = f" Example: `{field.examples[0]}`." if field.examples else ""
    return f"{field.description}{example}"


def _value(hint: Any, field: FieldInfo) -> str:
    """Return in words what may be written."""
    words = _words(hint)
    if words not in ("a whole number", "a number"):
        return words
    said = {"ge": "from", "gt": "above", "le": "up to", "lt": "below"}
    bounds = (
        f"{preposition} {getattr(each, name):,}"
        for name, preposition in said.items()
        for each in field.metadata
        if hasattr(each, name)
    )
    return " ".join([words, *bounds])


def _words(hint: Any) -> str:
    for known, words in _WORDS:
        if hint is known or hint == known or _extends(hint, known):
            return words
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return _words(next(each for each in arguments if each is not type(None)))
    if origin is Annotated:
        return _words(arguments[0])
    if origin is Literal:
        return ", ".join(f"`{each}`" for each in arguments)
    if origin is tuple:
        inner = _words(arguments[0])
        return inner if inner in _LISTED else f"a list: {inner}"
    if hint in (int, float):
        return "a whole number" if hint is int else "a number"
    if origin is list:
        return "a list"
    return "keys and values"


def _extends(hint: Any, known: Any) -> bool:
    """Whether an annotation is a known one with further checks."""
    if get_origin(hint) is not Annotated or get_origin(known) is not Annotated:
        return False
    (of, *checks), (known_of, *known_checks) = get_args(hint), get_args(known)
    return bool(of == known_of and checks[: len(known_checks)] == known_checks)


#: Words that say already that there may be several.
_LISTED = ("CPU numbers", "names and files", "schemes", "a runner, or a list of them")


def _default(hint: Any, field: FieldInfo) -> str:
    """Return what a key that is left out is as good as, as a file has it."""
    if field.is_required():
        return "needed"
    value = field.get_default(call_default_factory=True)
    if value is None or value in ((), {}):
        return "–"
    if isinstance(value, Strict):
        return "as below"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if _words(hint) == "a duration":
        whole = value % 60 == 0 and value >= 60
        return f"`{value / 60:g}m`" if whole else f"`{value:g}s`"
    if _words(hint) == "`MIN:MAX`, or a number":
        return f'`"{value[0]}:{value[1]}"`'
    if isinstance(value, tuple):
        value = value[0] if len(value) == 1 else f"[{', '.join(map(str, value))}]"
    return f"`{value:g}`" if isinstance(value, float) else f"`{value}`"


def _factors() -> str:
    """Return a table of the factors and their levels."""
    return _markdown_table(
        ("factor", "levels", "left out", "meaning"),
        (
            (f"`{each.name}`", _levels(each.name), f"`[{each.default}]`", each.meaning)
            for each in VARIED
        ),
    )


def _levels(factor: str) -> str:
    of = {
        Levels.COUNT: "numbers from 1 on",
        Levels.SIZE: "numbers from 0 on",
        Levels.RUNTIME: "`any`, `NAME`, `NAME==VERSION`",
        Levels.ISA: ", ".join(f"`{each}`" for each in (NATIVE, *reversed(LEVELS))),
    }
    ranges = [each.factors.get(factor) for each in registry.runners()]
    numbers = next((each for each in ranges if isinstance(each, range)), None)
    if numbers is not None:
        return f"numbers from {numbers[0]:,} to {numbers[-1]:,}"
    kind = factor_named(factor).levels
    return of.get(kind) or ", ".join(f"`{each}`" for each in registry.values_of(factor))


def _runners() -> str:
    """Return a table of the runners and what each can be asked for."""
    kinds = {kind: kind.value for kind in TrialKind}
    return _markdown_table(
        ("runner", "files", "runtimes", "schemes that are built", "its own factors", "lacks"),
        (
            (
                f"`{runner.name}`",
                ", ".join(f"`{each}`" for each in framework.endings) or "any",
                ", ".join(f"`{each}`" for each in runner.runtimes) or "built in",
                ", ".join(f"`{each}`" for each in framework.scheme_names) or "–",
                ", ".join(f"`{each}`" for each in runner.factors),
                ", ".join(
                    [
                        *(kinds[kind] for kind in TrialKind if kind not in runner.kinds),
                        *(() if runner.batches else ("`batch`",)),
                        *(() if runner.input_sizes else ("`input_size`",)),
                    ]
                )
                or "–",
            )
            for framework in registry.FRAMEWORKS
            for runner in framework.runners
        ),
    )


def _binary() -> str:
    tool: Tool = registry.tool()
    return f"### `{tool.name}`\n\n{_table(BinarySource)}"


# -- what a report prints -------------------------------------------------------------------------


def _short_report() -> str:
    """Return what `orchestrate report` prints of the run in results/reference."""
    return _report(())


def _report(options: Sequence[str] = ("--verbose",)) -> str:
    """Return what `orchestrate report` with ``options`` prints of the run in results/reference."""
    (run,) = (ROOT / "results" / "reference").glob("*Z-*")
    printed = subprocess.run(
        [sys.executable, "-m", "orchestrator", "report", str(run), *options],
        check=True,
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    return f"```text\n{printed.stdout.rstrip()}\n```"


# -- all of it ------------------------------------------------------------------------------------

PARTS: Mapping[str, Callable[[], str]] = {
    "list of commands": _list_of_commands,
    "commands": _commands,
    "keys of an inventory": lambda: _table(inventory.InventoryFile),
    "keys of a device": lambda: _table(Device, lambda key: key not in SSH_KEYS),
    "keys of a device over SSH": lambda: _table(Device, lambda key: key in SSH_KEYS),
    "keys of a binary": _binary,
    "keys of a suite": lambda: _table(suite.Suite),
    "keys of a model by its file": lambda: _table(user_models.ModelOfOneFile),
    "keys of a model by its variants": lambda: _table(user_models.ModelOfFiles),
    "factors": _factors,
    "keys of a command": lambda: _table(program.ProgramSection),
    "keys of a figure": lambda: _table(program.Figure),
    "keys of a protocol": lambda: _table(suite.Protocol),
    "keys of warmup": lambda: _table(suite.Warmup),
    "keys of steady": lambda: _table(suite.Steady),
    "keys of memory": lambda: _table(suite.MemoryTrials),
    "keys of profile": lambda: _table(suite.ProfileTrials),
    "keys of gate": lambda: _table(suite.Gate),
    "keys of accuracy": lambda: _table(accuracy.Accuracy),
    "keys of a data set": lambda: _table(accuracy.Place),
    "keys of preprocessing": lambda: _table(accuracy.OwnPreprocessing),
    "keys of outputs": lambda: _table(accuracy.Outputs),
    "runners": _runners,
    "report of the reference run": _report,
    "short report of the reference run": _short_report,
}


def pages() -> list[Path]:
    """Return the pages that have such parts."""
    every = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    return [page for page in every if _PART.search(page.read_text("utf-8"))]


def with_parts(text: str) -> str:
    """Return a page's text with its parts as the code says them now. Raises KeyError for a part
    that nobody makes."""
    return _PART.sub(lambda m: f"{m['begin']}\n{PARTS[m['name']]()}\n\n{m['end']}", text)


def main() -> None:
    """Write every part anew."""
    for page in pages():
        text = page.read_text("utf-8")
        made = with_parts(text)
        if made != text:
            page.write_text(made, "utf-8")
            sys.stderr.write(f"wrote {page.relative_to(ROOT)}\n")


if __name__ == "__main__":
    main()
