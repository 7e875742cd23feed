"""Each command's options, the value that they become, and what takes that value."""

from __future__ import annotations

import argparse
import pkgutil
import typing
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import pytest

from orchestrator import answers
from orchestrator.commands import COMMANDS
from orchestrator.commands.bundle import BundleArguments
from orchestrator.commands.run import RunArguments
from orchestrator.commands.shared import Arguments, typed


def leaves(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    """The parser itself, or those of its actions."""
    actions = [a for a in parser._actions if isinstance(a, argparse._SubParsersAction)]
    if not actions:
        yield parser
    for action in actions:
        for each in action.choices.values():
            yield from leaves(each)


def parser_of(name: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=name)
    COMMANDS[name].add_arguments(parser)
    return parser


PARSERS = [leaf for name in COMMANDS for leaf in leaves(parser_of(name))]


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_is_a_file_that_bears_its_name(name: str) -> None:
    assert COMMANDS[name].__name__.rpartition(".")[2].rstrip("_") == name  # type: ignore[attr-defined]


@pytest.mark.parametrize("parser", PARSERS, ids=lambda parser: parser.prog)
def test_every_option_is_in_the_value_and_nothing_else_is(parser: argparse.ArgumentParser) -> None:
    options = {action.dest for action in parser._actions} - {"help"}
    assert {field.name for field in fields(parser.get_default("kind"))} == options


@pytest.mark.parametrize("parser", PARSERS, ids=lambda parser: parser.prog)
def test_what_answers_takes_that_value(parser: argparse.ArgumentParser) -> None:
    kind: type[Arguments] = parser.get_default("kind")
    function = pkgutil.resolve_name(f"{answers.__name__}.{kind.ANSWERED_BY}")
    assert typing.get_type_hints(function)["arguments"] is kind


@pytest.mark.parametrize("parser", PARSERS, ids=lambda parser: parser.prog)
def test_a_shell_completes_every_name(parser: argparse.ArgumentParser) -> None:
    named = [
        action
        for action in parser._actions
        if action.dest in ("device", "run", "resume") or "--suite" in action.option_strings
    ]
    own = {"init", "import"}  # which name what is not there yet
    assert all(hasattr(each, "completer") for each in named) or parser.prog in own


def parsed(name: str, *line: str) -> Arguments:
    return typed(parser_of(name).parse_args(line))


def test_what_was_typed_is_a_value_with_types() -> None:
    line = ("--inventory", "i.yaml", "--device", "a", "--device", "b", "--blocks", "6:9", "--json")
    assert parsed("run", *line, "--budget", "10m") == RunArguments(
        inventory=Path("i.yaml"),
        device=("a", "b"),
        weights=None,
        representative=None,
        calibration=None,
        dataset=None,
        suite=None,
        results=Path("results"),
        models=Path("models"),
        blocks=(6, 9),
        precision=None,
        budget=600.0,
        seed=None,
        resume=None,
        trust=False,
        engine="threads",
        scheduler=None,
        verbose=False,
        on_end=None,
        json=True,
    )


def test_two_commands_share_no_value() -> None:
    """A default that is a list is not handed from one command to the next."""
    assert parsed("bundle", "--device", "a") != parsed("bundle")
    bundle = parsed("bundle")
    assert isinstance(bundle, BundleArguments)
    assert bundle.device == ()
