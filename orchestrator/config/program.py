"""``command:`` of a suite: a program of the user's, and where its figures are read from.

Its words are arguments of a process, and are never given to a shell.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)

from orchestrator.config.problems import Strict
from orchestrator.config.text import names_a_secret, shown
from orchestrator.config.values import LocalPath, Sha256, Text, check_command, check_text
from orchestrator.figures import FIGURES, Direction
from orchestrator.program import (
    ARGUMENTS,
    SINGLE,
    SUMMARY,
    TIME,
    TIME_UNITS,
    UNIT,
    FigureSource,
    Program,
    placeholders_in,
)

_FIGURE = re.compile(r"[a-z][a-z0-9_]{0,40}", re.ASCII)
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,80}", re.ASCII)
_MOST_WORDS = 256
_MOST_FIGURES = 16
_LONGEST_REGEX = 500

_EXAMPLE = "figures: {time: {json: /mean, unit: ms}}"
_EXAMPLE_REGEX = r"regex: 'took (?P<value>[0-9.]+) ms'"


def check_word(word: str) -> str:
    """``word`` if it can be an argument of a program, with placeholders that there are."""
    placeholders_in(check_text(word))
    if names_a_secret(word):
        raise ValueError(
            f"{shown(word.partition('=')[0])} names a secret, which has no place in this file; let "
            f"the program read it from its own configuration"
        )
    return word


def as_arguments(values: object) -> tuple[str, ...]:
    """A variant's own arguments, out of a list. Raises ValueError."""
    if not isinstance(values, list | tuple) or not all(isinstance(each, str) for each in values):
        raise ValueError('is not a list of text; write for example `["--bits", "8"]`')
    if len(values) > _MOST_WORDS:
        raise ValueError(f"holds more than {_MOST_WORDS} words")
    for word in values:
        if ARGUMENTS in placeholders_in(word):
            raise ValueError(f"{{{ARGUMENTS}}} is what these stand for; leave it out")
        check_word(word)
    return tuple(values)


def _regex(pattern: str) -> str:
    if len(pattern) > _LONGEST_REGEX:
        raise ValueError(f"longer than {_LONGEST_REGEX} characters")
    try:
        groups = set(re.compile(pattern, re.MULTILINE).groupindex)
    except (re.error, RecursionError, OverflowError) as exc:
        raise ValueError(f"{shown(pattern)} is not a regular expression: {exc}") from exc
    unknown = groups - {SINGLE, UNIT, *SUMMARY}
    if unknown:
        raise ValueError(
            f"{shown(pattern)} names the group {sorted(unknown)[0]}; groups may be called "
            f"{SINGLE}, {', '.join(SUMMARY)}, and {UNIT}"
        )
    if SINGLE in groups and groups & set(SUMMARY):
        raise ValueError(
            f"{shown(pattern)} has {SINGLE} and {sorted(groups & set(SUMMARY))[0]}: single values, "
            f"or what the program says of all of them; keep one"
        )
    if not groups & {SINGLE, "median", "mean"}:
        raise ValueError(
            f"{shown(pattern)} has no group that holds the figure; write for example "
            f"`{_EXAMPLE_REGEX}`, or name a group median or mean"
        )
    return pattern


def _pointer(pointer: str) -> str:
    if pointer and not pointer.startswith("/"):
        raise ValueError(
            f"{shown(pointer)} is not a JSON pointer; write for example `json: /results/0/mean`"
        )
    if re.search(r"~(?![01])", pointer):
        raise ValueError(f"{shown(pointer)}: a ~ in a key is written ~0, and a / is written ~1")
    return pointer


class Figure(Strict):
    """Where a figure stands: a JSON pointer, a regular expression, or the process's own time."""

    pointer: Annotated[str, AfterValidator(_pointer)] | None = Field(
        default=None,
        alias="json",
        max_length=_LONGEST_REGEX,
        description="A JSON pointer (RFC 6901) into what was printed, or into its last line: to a "
        "number, or to a list of numbers, which are single values.",
        examples=["json: /results/0/times"],
    )
    regex: Annotated[str, AfterValidator(_regex)] | None = Field(
        default=None,
        description="A regular expression of Python's, `^` and `$` at every line. Group `value`: "
        "each match is a single value; groups `median`, `mean`, `min`, `max`, `std`, `count`: what "
        "the program says of all, once; group `unit`: the unit of a time.",
        examples=[_EXAMPLE_REGEX],
    )
    wall: bool = Field(
        default=False,
        description="How long its process took, from its start to its end, in seconds.",
        examples=["wall: true"],
    )
    stream: Literal["stdout", "stderr"] = Field(
        default="stdout", description="Where it is printed.", examples=["stream: stderr"]
    )
    unit: Annotated[Text, Field(max_length=40)] | None = Field(
        default=None,
        description="Its unit; of `time` one of `ns`, `us`, `ms`, `s`.",
        examples=["unit: ms"],
    )
    better: Literal["lower", "higher"] | None = Field(
        default=None,
        description="Which way of it is better; `time` is better where it is lower.",
        examples=["better: higher"],
    )

    @model_validator(mode="after")
    def _refuse_several_places(self) -> Figure:
        places = [self.pointer is not None, self.regex is not None, self.wall]
        if sum(places) != 1:
            raise ValueError(
                "is read from one place: `json: /a/pointer`, `regex: '…'` or `wall: true`"
            )
        if self.wall and self.unit not in (None, "s"):
            raise ValueError("the time of a process is in seconds; delete `unit`")
        told = self.regex is not None and UNIT in re.compile(self.regex).groupindex
        if told and self.unit is not None:
            raise ValueError(f"`unit` is given, and the expression has a group {UNIT}; keep one")
        if not self.wall and not told and self.unit is None:
            raise ValueError("in which unit is it? write for example `unit: ms`")
        return self

    @property
    def told_unit(self) -> str:
        """The unit; empty where the program tells it."""
        return "s" if self.wall else self.unit or ""


def _figures(figures: dict[str, Figure]) -> dict[str, Figure]:
    if not figures:
        raise ValueError(f"is empty; write for example `{_EXAMPLE}`")
    if len(figures) > _MOST_FIGURES:
        raise ValueError(f"holds more than {_MOST_FIGURES}")
    for name, figure in figures.items():
        if _FIGURE.fullmatch(name) is None or name in FIGURES:
            raise ValueError(
                f"a figure cannot be called {shown(name)}; use small letters, digits and `_`, and "
                f"for the time of an inference `{TIME}`"
            )
        if name == TIME:
            _check_time(figure)
        elif figure.better is None:
            raise ValueError(
                f"{shown(name)}: which way is better? write `better: lower` or `better: higher`"
            )
        elif not figure.told_unit:
            raise ValueError(f"{shown(name)}: a group {UNIT} is for `{TIME}` alone; write `unit`")
    return figures


def _check_time(figure: Figure) -> None:
    if figure.told_unit and figure.told_unit not in TIME_UNITS:
        raise ValueError(
            f"`{TIME}` is the time of an inference, in {', '.join(TIME_UNITS)}, not in "
            f"{shown(figure.told_unit)}; call another figure otherwise"
        )
    if figure.better == "higher":
        raise ValueError(f"`{TIME}` is better where it is lower; delete `better`")


def _environment(variables: dict[str, str]) -> dict[str, str]:
    for name, value in variables.items():
        if _VARIABLE.fullmatch(name) is None:
            raise ValueError(f"{shown(name)} is not the name of a variable")
        if names_a_secret(name):
            raise ValueError(f"{shown(name)} names a secret, which has no place in this file")
        if ARGUMENTS in placeholders_in(value):
            raise ValueError(f"{{{ARGUMENTS}}} has its place in `argv`")
        check_word(value)
    return variables


def _sequence(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value


Word = Annotated[str, AfterValidator(check_word)]


class ProgramSection(Strict):
    """What is run for each trial, and what is read from what it prints."""

    argv: Annotated[tuple[Word, ...], BeforeValidator(_sequence)] = Field(
        min_length=1,
        max_length=_MOST_WORDS,
        description="The words of its command line, with placeholders in braces. No shell sees "
        "them.",
        examples=['argv: ["{program}", "--threads", "{threads}"]'],
    )
    program: LocalPath | None = Field(
        default=None,
        description="A file of this machine, sent to each device by its hash, and `{program}` in "
        "`argv`. Left out: the first word is a program that the device has.",
        examples=["program: ./bench.sh"],
    )
    environment: Annotated[dict[str, str], AfterValidator(_environment)] = Field(
        default={},
        description="Variables of its environment, with the same placeholders.",
        examples=['environment: {OMP_NUM_THREADS: "{threads}"}'],
    )
    figures: Annotated[dict[str, Figure], AfterValidator(_figures)] = Field(
        description="Where each figure is read from. `time` is the time of an inference; any other "
        "name is a figure of its own.",
        examples=[_EXAMPLE],
    )
    sha256: Sha256 | None = Field(
        default=None,
        description="What the program's file has to be. A run notes it in any case.",
        examples=["sha256: 9f86d081…"],
    )

    @field_validator("argv")
    @classmethod
    def _refuse_an_option_first(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if value[0] == f"{{{ARGUMENTS}}}":
            raise ValueError("begins with a variant's arguments; begin with a program")
        check_command(value[0])
        return value

    @field_validator("program")
    @classmethod
    def _refuse_a_program_that_is_not_there(
        cls, value: Path | None, info: ValidationInfo
    ) -> Path | None:
        # a run's folder has the program's name, and its hash finds it
        if value is not None and "folder" in (info.context or {}) and not value.is_file():
            raise ValueError(
                f"there is no file {shown(str(value))}; a path is relative to the suite's folder. "
                f"A program of the device's own is the first word of `argv`"
            )
        return value

    @model_validator(mode="after")
    def _refuse_a_program_that_nothing_runs(self) -> ProgramSection:
        named = any("program" in placeholders_in(word) for word in self.argv)
        if self.program is not None and not named:
            raise ValueError('`program` is pushed and never run; write "{program}" in `argv`')
        if self.program is None and named:
            raise ValueError("`argv` has {program}; name its file: `program: ./bench.sh`")
        return self

    def to_program(self, arguments: Mapping[tuple[str, str], tuple[str, ...]]) -> Program:
        """Return it as trials are made of it; ``arguments`` are the variants' own."""
        return Program(
            argv=self.argv,
            environment=self.environment,
            figures=tuple(_source(name, each) for name, each in self.figures.items()),
            arguments=arguments,
            sends=self.program is not None,
        )

    def for_a_run(self) -> dict[str, Any]:
        """Return it as a run's folder keeps it: without the folder of its file."""
        data = self.model_dump(mode="json", by_alias=True, exclude_none=True)
        if self.program is not None:
            data["program"] = self.program.name
        return data


def _source(name: str, figure: Figure) -> FigureSource:
    return FigureSource(
        name=name,
        unit=figure.told_unit,
        better=Direction(figure.better or "lower"),
        pointer=figure.pointer,
        regex=figure.regex,
        wall=figure.wall,
        stream=figure.stream,
    )
