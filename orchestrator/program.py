"""A program that a suite describes: its command line, and where its figures are read from. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from string import Formatter
from types import MappingProxyType

from orchestrator.figures import Direction

#: What a suite calls the time of one inference: the figure that a speed-up is made of.
TIME = "time"
#: Units of time as a suite writes them, in microseconds.
TIME_UNITS: Mapping[str, float] = MappingProxyType(
    {"ns": 1e-3, "us": 1.0, "µs": 1.0, "ms": 1e3, "s": 1e6}
)

#: The word in whose place the variant's own arguments stand, however many they are.
ARGUMENTS = "arguments"
#: What a word of a command line may hold in braces, and what stands there when it runs.
PLACEHOLDERS: Mapping[str, str] = MappingProxyType(
    {
        "program": "the path of the program that was pushed",
        ARGUMENTS: "the variant's own arguments, in a word of its own",
        "model": "the path of the variant's file",
        "name": "the model's name",
        "scheme": "the variant's name",
        "threads": "the factor threads",
        "batch": "the factor batch",
        "warmup_runs": "the protocol's warmup.runs",
        "runs": "the protocol's steady.runs",
        "seconds": "the protocol's steady.seconds",
    }
)

#: Named groups of an expression that find single values, or what a program says of all of them.
SINGLE = "value"
SUMMARY = ("median", "mean", "min", "max", "std", "count")
UNIT = "unit"

#: What the agent on the device would take for a place of its own.
_AGENTS_OWN = re.compile(r"\{(agent|python|(blob|exe|site):)")


@dataclass(frozen=True)
class FigureSource:
    """Where one figure of a program stands, in which unit, and which way of it is better.

    Exactly one of ``pointer`` (a JSON pointer, RFC 6901, into what the program printed), ``regex``
    (with named groups, over ``stream``) and ``wall`` (how long its process took) is there. An empty
    ``unit`` is told by the group ``unit``.
    """

    name: str
    unit: str
    better: Direction
    pointer: str | None = None
    regex: str | None = None
    wall: bool = False
    stream: str = "stdout"

    @property
    def place(self) -> str:
        """Where it is read from, in words."""
        if self.wall:
            return "the time that its process took"
        if self.regex is not None:
            return f"the expression {self.regex!r} in its {self.stream}"
        return f"the JSON pointer {self.pointer!r} in its {self.stream}"


@dataclass(frozen=True)
class Program:
    """What a suite says of a program: words with placeholders, and the figures that it prints.

    ``arguments`` maps (model, scheme) to the variant's own arguments. ``sends`` says that
    a program is pushed to the device, which ``{program}`` names there.
    """

    argv: tuple[str, ...]
    environment: Mapping[str, str]
    figures: tuple[FigureSource, ...]
    arguments: Mapping[tuple[str, str], tuple[str, ...]]
    sends: bool = False

    @property
    def words(self) -> tuple[str, ...]:
        """Every word of it that may hold placeholders."""
        own = (word for words in self.arguments.values() for word in words)
        return (*self.argv, *self.environment.values(), *own)

    def tells(self, placeholder: str) -> bool:
        """Whether the program is told what a placeholder stands for."""
        return any(placeholder in placeholders_in(word) for word in self.words)


def placeholders_in(word: str) -> tuple[str, ...]:
    """The placeholders of a word. Raises ValueError where it has others than there are."""
    try:
        parts = list(Formatter().parse(word))
    except ValueError as exc:
        raise ValueError(f"{exc}; a brace that is meant as such is written twice") from exc
    found = []
    for _, name, form, conversion in parts:
        if name is None:
            continue
        if name not in PLACEHOLDERS or form or conversion:
            written = name + (f"!{conversion}" if conversion else "") + (f":{form}" if form else "")
            raise ValueError(
                f"{{{written}}} is not a placeholder; there are "
                f"{', '.join(f'{{{each}}}' for each in PLACEHOLDERS)}, and a brace that is meant "
                f"as such is written twice"
            )
        found.append(name)
    if ARGUMENTS in found and word != f"{{{ARGUMENTS}}}":
        raise ValueError(f"{{{ARGUMENTS}}} stands for several words, and has to be one of its own")
    if _AGENTS_OWN.search(word.replace("{{", "{")):
        raise ValueError("names a place of the agent's own; there is no use for it here")
    return tuple(found)


def filled(word: str, values: Mapping[str, str]) -> str:
    """Put ``values`` in the places of a word's placeholders. Raises KeyError for one that is not
    there."""
    pieces = []
    for literal, name, _, _ in Formatter().parse(word):
        pieces.append(literal)
        if name is not None:
            pieces.append(values[name])
    return "".join(pieces)
