"""What a framework says of itself: plain values, which import nothing of it.

Each framework's folder has an ``about.py`` that fills these in, and :mod:`.registry` lists them.
``config``, ``plan``, ``fleet`` and the reports ask those values rather than compare names.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from orchestrator.artifacts.constraint import Constraint
from orchestrator.artifacts.tool import Tool
from orchestrator.factors import ABSENT
from orchestrator.trial import TrialKind

#: What files are built for where nothing asks for an older runtime.
CURRENT = "current"
#: How the range of an activation can be found.
CALIBRATIONS = ("max", "percentile", "entropy")
#: Where weights come from.
WEIGHTS = ("auto", "imagenet", "random")


@dataclass(frozen=True)
class Library:
    """A library that a Python runner computes with, called as ``pip install`` calls it.

    ``stands_in``: whether a device that has none is given this one where any of them will do.
    ``constraints`` are what its wheels need without saying so. ``compatibility`` is the older
    runtime that files have to be built for if it is to load them. ``size`` says in words how much a
    device is given with it.
    """

    name: str
    stands_in: bool = True
    constraints: tuple[Constraint, ...] = ()
    compatibility: str | None = None
    size: str = "some tens of MB"


@dataclass(frozen=True)
class RunnerAbout:
    """What executes a framework's files, and what it can be asked for.

    ``libraries`` are what it may compute with, in the order of preference; a runner without any
    has its runtime built in. ``tool`` is the binary that it runs, which the inventory names.
    ``factors`` are the factors that it alone can be given, and the values that are known of each:
    words, or a range of numbers.
    ``measured_in`` are words of which one is in the name of every shared object that it computes
    in: the proof of a capped instruction set asks for them.
    """

    name: str
    kinds: frozenset[TrialKind]
    libraries: tuple[Library, ...] = ()
    tool: Tool | None = None
    factors: Mapping[str, Sequence[Any]] = field(
        default_factory=lambda: MappingProxyType({}), hash=False
    )
    batches: bool = True
    input_sizes: bool = False
    android: bool = False
    measured_in: tuple[str, ...] = ()
    #: Whether its processes tell what the network answers; if not, another runner checks its files.
    shows_outputs: bool = True
    #: Whether it runs what the suite describes, on files of any kind.
    program: bool = False
    #: Why it lacks a kind of trial, to stand behind "the … of runner NAME".
    lacks: Mapping[TrialKind, str] = field(default_factory=lambda: MappingProxyType({}), hash=False)

    @property
    def runtimes(self) -> tuple[str, ...]:
        """Return the names of its libraries, in the order of preference."""
        return tuple(library.name for library in self.libraries)

    def levels(self, factor: str) -> Sequence[Any]:
        """Return what one of the factors that not every runner takes can be in a trial of this
        runner."""
        return self.factors.get(factor, (ABSENT[factor],))


@dataclass(frozen=True)
class SchemeAbout:
    """A scheme that a framework's files can have.

    ``phrase`` says in a sentence what was done to ``{model}``; empty where the name says it all.
    ``called``: how people end the names of such files, the longer ones first. ``words`` is a
    pattern of further phrases, their words joined by ``_``, that promise it. ``same_as``: what a
    file of it may be called as well, because another framework or the file's types alone call it
    so. ``needs`` names the options of building that it depends on, with what each is for.
    ``built``: whether models are built in it; in others only files of the user's are.
    """

    name: str
    phrase: str = ""
    called: tuple[str, ...] = ()
    words: str = ""
    same_as: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    built: bool = True


@dataclass(frozen=True)
class Framework:
    """A framework in plain values; what its folder can do is in the module named ``parts``.

    ``endings`` are those of its files' names, the one that is built first. ``takes`` is their
    format as an export to it is asked for. ``foreign`` are the endings of files that its own can be
    made of: what such a file is, and what to do. ``builder`` says in words what the build child
    imports: ``packages``, which the ``extra`` of ours installs. ``suite`` is the one whose models
    are built where nobody names any. ``compatibilities`` are the older runtimes that its files can
    be built for.
    """

    name: str
    label: str
    parts: str
    runners: tuple[RunnerAbout, ...]
    schemes: tuple[SchemeAbout, ...]
    endings: tuple[str, ...]
    builder: str
    packages: tuple[str, ...]
    extra: str
    suite: str
    compatibilities: tuple[str, ...] = ()
    takes: str = ""
    foreign: Mapping[str, tuple[str, str]] = field(
        default_factory=lambda: MappingProxyType({}), hash=False
    )

    @property
    def scheme_names(self) -> tuple[str, ...]:
        """Return the schemes that a model can be built in, the usual baseline first."""
        return tuple(scheme.name for scheme in self.schemes if scheme.built)

    @property
    def builds(self) -> bool:
        """Whether it has models to build."""
        return bool(self.suite)

    @property
    def any_file(self) -> bool:
        """Whether its runners take files of any kind, which their programs alone understand."""
        return any(runner.program for runner in self.runners)

    @property
    def libraries(self) -> tuple[Library, ...]:
        """Return what its runners may compute with, each once, in the order of preference."""
        return tuple(dict.fromkeys(each for runner in self.runners for each in runner.libraries))
