"""Every factor, written once: its name, its default, and how it is ordered, keyed and spoken of.

A new factor is a field of :class:`Factors` and an entry of :data:`FACTORS`. Suites, plans, group
keys, the analysis, imports and every report read them here. Which runner takes a factor that not
every runner takes is said by its framework. Pure.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields, replace
from enum import Enum
from typing import Any

from orchestrator.isa.levels import LEVELS, NATIVE

#: The level of a factor that a source of imported figures does not tell.
NOT_TOLD = "not-told"
#: The usual export: the batch is left open in the file, and chosen when it is loaded.
OPEN = "open"


@dataclass(frozen=True, order=True)
class Factors:
    """What else may vary between trials. A comparison holds all of these equal.

    ``runner`` is resolved (never ``auto``); ``runtime`` is what the suite asks for
    (:mod:`orchestrator.runtimes`) and empty where the runner has it built in. ``input_size`` is
    the height and width that inputs are resized to; 0 is the model's own. ``engine`` is the library
    of quantized kernels (``default``: the runtime's own choice), and ``processor`` where it
    computes; a runner that has no such choice has the defaults. ``export`` is how the batch stands
    in the model file: ``open``, or ``fixed`` at 1; of files that were not built here the default
    says nothing. ``prompt`` and ``generate`` are the tokens that a language model reads at once and
    then makes one by one; 0 of any other model.
    """

    runner: str
    runtime: str
    delegate: str
    threads: int
    batch: int
    isa: str
    # Journals written before a factor existed lack it; its default is what they were measured with.
    engine: str = "default"
    processor: str = "cpu"
    input_size: int = 0
    export: str = OPEN
    prompt: int = 0
    generate: int = 0


#: The names in the order of the fields, which is that of journal lines.
NAMES = tuple(each.name for each in fields(Factors))


class Levels(Enum):
    """What kind of levels a factor has, which decides what a suite may write."""

    COUNT = "a number of at least 1"
    SIZE = "a number of at least 0"
    RUNTIME = "a library, pinned or not"
    ISA = "an instruction set"
    WORD = "one of the words that its runners know"


@dataclass(frozen=True)
class Axis:
    """How latency is drawn against a factor. ``place`` is that of its charts among the others."""

    label: str
    place: int


def _by_name(level: str) -> Any:
    return level


def _by_number(level: str) -> Any:
    return (int(level or 0), level)


def _by_age(level: str) -> Any:
    known = (NATIVE, *reversed(LEVELS))
    return (known.index(level) if level in known else len(known), level)


@dataclass(frozen=True)
class Factor:
    """What every part of the program needs to know of a factor.

    ``default`` is the level of a suite that does not name the factor, and of a journal that was
    written before there was one; None where every suite has to say it. ``untold`` is the level of
    an imported figure whose source does not tell it. ``absent`` is the level in a trial of a runner
    that does not take it; None where every runner does.

    ``key`` is how a level stands in a group's key, which trial ids are made of; with
    ``key_of_default`` False the default does not stand there. ``place`` is where explanations have
    it: what surprises most comes first. ``order`` sorts its levels, as text, the reference first.

    ``title`` is how a level stands in the title of a table or chart, and with ``titled`` False the
    default does not stand there. ``words`` is how it is spoken of in a sentence behind
    ``preposition``; ``one`` and ``zero`` are those of the levels 1 and 0, where they differ.

    ``other_thing``: figures at two levels of it are not figures of one thing, so that a published
    one cannot contradict ours. ``example`` are levels as a suite writes them, and ``meaning`` is
    what docs/reference says of the factor.
    """

    name: str
    default: Any
    untold: Any
    place: int
    levels: Levels = Levels.WORD
    key: str = "{}"
    key_of_default: bool = True
    order: Callable[[str], Any] = _by_name
    title: str = "{}"
    titled: bool = True
    words: str = "{}"
    one: str = ""
    zero: str = ""
    preposition: str = "with"
    axis: Axis | None = None
    absent: str | int | None = None
    example: str = ""
    other_thing: bool = False
    meaning: str = ""

    @property
    def label(self) -> str:
        """Return what it is called: ``input size``."""
        return self.name.replace("_", " ")

    @property
    def is_number(self) -> bool:
        """Whether its levels are numbers, so that latency can be drawn against it."""
        return self.axis is not None

    def of(self, factors: Factors) -> Any:
        """Return its level among ``factors``."""
        return getattr(factors, self.name)

    def without(self, factors: Factors) -> Factors:
        """Return the other factors: this one at 0, where it is a number."""
        nothing: dict[str, Any] = {self.name: 0}
        return replace(factors, **nothing)

    def is_default(self, factors: Factors) -> bool:
        """Whether its level goes without saying: the default, or the only one the runner has."""
        level = self.of(factors)
        return level in (self.default, "") or (self.name, level) == ("runtime", factors.runner)

    def in_title(self, factors: Factors) -> str:
        """Name the level for a title: ``delegate none``, ``threads 4``, ``threads not told``."""
        level = self.of(factors)
        return self.zero if self.zero and level == self.untold else self.title.format(level)

    def in_words(self, level: Any) -> str:
        """Name the level in a sentence: ``delegate none``, ``4 threads``, ``inputs of 128 ×
        128``."""
        number = int(level or 0) if self.is_number else None
        words = {0: self.zero, 1: self.one}.get(number, "") if number is not None else ""
        return (words or self.words).format(level or 0 if self.is_number else level)

    def ordered(self, levels: Iterable[str]) -> list[str]:
        """List each level once, the reference first."""
        return sorted(set(levels), key=self.order)


#: In the order in which a plan varies them and titles name them.
FACTORS: tuple[Factor, ...] = (
    Factor("runner", default=None, untold=NOT_TOLD, place=4, preposition="under"),
    Factor(
        "runtime", default="any", untold="", place=1, levels=Levels.RUNTIME,
        title="runtime {}", titled=False, preposition="under",
        meaning="The library inside a Python runner: by its name the device's own, as NAME==VERSION"
        " one that is provided for every device, `any` whichever the device has. Where it has none "
        "the newest is provided.",
    ),
    Factor(
        "delegate", default="xnnpack", untold=NOT_TOLD, place=2, absent="none",
        order=lambda level: (level != "xnnpack", level), title="delegate {}", words="delegate {}",
        meaning="What takes parts of a model before the runtime's own kernels compute the rest.",
    ),
    Factor(
        "threads", default=1, untold=0, place=7, levels=Levels.COUNT, key="t{}", order=_by_number,
        title="threads {}", words="{} threads", one="{} thread",
        zero="threads not told", axis=Axis("threads", 1),
        other_thing=True, example="1, 4", meaning="How many threads compute.",
    ),
    Factor(
        "batch", default=1, untold=1, place=8, levels=Levels.COUNT, key="b{}", order=_by_number,
        title="batch {}", words="batch {}", preposition="at", axis=Axis("batch", 0),
        other_thing=True, meaning="How many items an inference is of.",
    ),
    Factor(
        "isa", default=NATIVE, untold=NATIVE, place=0, levels=Levels.ISA, order=_by_age,
        title="isa {}", words="isa {}", example="native, haswell",
        meaning="The instruction set that a process sees: the CPU's own, or an older one's, on "
        "x86-64 Linux.",
    ),
    Factor(
        "input_size", default=0, untold=0, place=9, levels=Levels.SIZE, key="i{}",
        key_of_default=False,
        order=_by_number, title="input size {}", titled=False, words="inputs of {0} × {0}",
        zero="inputs of its own size", axis=Axis("input size, pixels", 2), other_thing=True,
        example="128, 224",
        meaning="Height and width that inputs are resized to; 0 is the model's own.",
    ),
    Factor(
        "engine", default="default", untold="default", place=5, absent="default",
        title="engine {}", titled=False, words="engine {}",
        meaning="The library of quantized kernels; `default` is the runtime's own choice.",
    ),
    Factor(
        "processor", default="cpu", untold="cpu", place=6, absent="cpu",
        title="processor {}", titled=False, preposition="on", other_thing=True,
        meaning="Where it computes.",
    ),
    Factor(
        "export", default=OPEN, untold=OPEN, place=3, absent=OPEN, key_of_default=False,
        order=lambda level: (level != OPEN, level),
        title="export {}", titled=False, words="export {}", example="open, fixed",
        meaning="How a model of the catalogue is converted: with the batch left open, or fixed at "
        "1.",
    ),
    Factor(
        "prompt", default=128, untold=0, place=10, levels=Levels.SIZE, key="p{}", absent=0,
        order=_by_number, title="prompt {}", words="a prompt of {} tokens", preposition="at",
        other_thing=True, example="32, 512",
        meaning="How many tokens a language model reads at once before it generates.",
    ),
    Factor(
        "generate", default=32, untold=0, place=11, levels=Levels.SIZE, key="g{}", absent=0,
        order=_by_number, title="generate {}", words="{} tokens generated",
        other_thing=True, meaning="How many tokens it then makes.",
    ),
)  # fmt: skip

_BY_NAME = {each.name: each for each in FACTORS}
#: What a journal line lacks that was written before a factor existed.
BEFORE: Mapping[str, Any] = {
    each.name: each.default for each in fields(Factors) if each.default is not MISSING
}
#: Those that not every runner takes, with the level in a trial of a runner that does not.
ABSENT: Mapping[str, str | int] = {e.name: e.absent for e in FACTORS if e.absent is not None}
#: Those of them that came later than the first runs: a table of a runner that does not take one is
#: empty there, and so is its part of a key.
OPTIONAL = tuple(each for each in FACTORS if each.name in ABSENT and each.name in BEFORE)
#: Those that a suite may vary under ``factors:``. The runner is a key of its own.
VARIED = tuple(each for each in FACTORS if each.default is not None)
#: Those that latency is drawn against.
SWEPT = tuple(
    sorted(
        (each for each in FACTORS if each.axis),
        key=lambda each: each.axis.place if each.axis else 0,
    )
)


def factor_named(name: str) -> Factor:
    """Return the factor of this name; raises KeyError where there is none."""
    return _BY_NAME[name]


def find_factor(name: str) -> Factor | None:
    """Return the factor of this name; None where it is something else, like the model or the
    scheme."""
    return _BY_NAME.get(name)


def key_of(factors: Factors, own: Collection[str]) -> tuple[str, ...]:
    """Return the parts of a group's key; ``own`` are those of ``OPTIONAL`` that the runner takes.

    They never change: trial ids of earlier runs are made of them.
    """
    return tuple(
        each.key.format(each.of(factors))
        for each in FACTORS
        if (each.key_of_default or each.of(factors) != each.default)
        and (each not in OPTIONAL or each.name in own)
    )


def varying(some: Iterable[Factors]) -> list[Factor]:
    """Return the factors that differ between these, but the instruction set, which the place
    tells."""
    distinct = set(some)
    return [
        each
        for each in FACTORS
        if each.name != "isa" and len({each.of(factors) for factors in distinct}) > 1
    ]


def combinations(runner: str, levels: Mapping[str, Sequence[Any]]) -> Iterator[Factors]:
    """Yield every combination of the levels of the factors of ``VARIED``, the last varying
    fastest."""
    for values in itertools.product(*(levels[each.name] for each in VARIED)):
        yield Factors(runner=runner, **dict(zip((f.name for f in VARIED), values, strict=True)))


def untold(runner: str, **told: Any) -> Factors:
    """Return the factors of an imported figure: ``told`` by its source, or not at all."""
    return Factors(**({each.name: each.untold for each in FACTORS} | {"runner": runner} | told))
