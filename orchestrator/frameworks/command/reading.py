"""A program's figures, out of what it printed. Pure."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from orchestrator.frameworks.runner import Evidence
from orchestrator.program import SINGLE, SUMMARY, TIME, TIME_UNITS, UNIT, FigureSource

#: Single values that one process may give; a program that prints more is asked for less.
_MOST_VALUES = 200_000
_MOST_SHOWN = 80
#: Of the summary's groups those that count something else than the figure's unit.
_COUNTS = ("count",)


class MissingFigureError(ValueError):
    """A figure is not where the suite says; the message names the place and what to do."""


@dataclass(frozen=True)
class Found:
    """A figure of one process: single ``values``, or a ``summary`` of all of them; times in µs."""

    source: FigureSource
    values: tuple[float, ...] = ()
    summary: Mapping[str, float] = field(default_factory=dict)


def find(source: FigureSource, evidence: Evidence) -> Found:
    """Return what a process says of a figure. Raises MissingFigureError."""
    if source.wall:
        return Found(source, (_amount(source, evidence.wall_s, source.unit),))
    printed = evidence.stderr if source.stream == "stderr" else evidence.stdout
    if source.regex is not None:
        return _matched(source, source.regex, printed)
    values = _pointed(source, _parsed(source, printed), source.pointer or "")
    if len(values) > _MOST_VALUES:
        raise _missing(source, f"has {len(values)} values, more than {_MOST_VALUES}")
    return Found(source, tuple(_amount(source, value, source.unit) for value in values))


def _missing(source: FigureSource, why: str) -> MissingFigureError:
    key = "wall" if source.wall else "regex" if source.regex is not None else "json"
    return MissingFigureError(
        f"the figure {source.name} cannot be read: {source.place} {why}; see what the program "
        f"printed in the run's logs/, correct `command.figures.{source.name}.{key}` in the suite, "
        f"and start a new run"
    )


# -- JSON -----------------------------------------------------------------------------------------


def _parsed(source: FigureSource, printed: str) -> Any:
    """The document that was printed: all of it, or its last line where other lines stand above."""
    text = printed.strip()
    if not text:
        raise _missing(source, "finds nothing: the program printed nothing there")
    last = text.splitlines()[-1]
    for candidate in (text, last):
        try:
            return json.loads(candidate)
        except (ValueError, RecursionError):
            continue
    raise _missing(
        source,
        f"finds no JSON document, neither in all that was printed nor in its last line, which "
        f"is {_shown(last)}",
    )


def _pointed(source: FigureSource, document: Any, pointer: str) -> Sequence[Any]:
    here, passed = document, ""
    for token in pointer.split("/")[1:]:
        key = token.replace("~1", "/").replace("~0", "~")
        here = _step(source, here, key, passed)
        passed += f"/{token}"
    if isinstance(here, list):
        if not here:
            raise _missing(source, "leads to an empty list")
        return here
    return (here,)


def _step(source: FigureSource, here: Any, key: str, passed: str) -> Any:
    where = f"at {passed!r}" if passed else "at its top"
    if isinstance(here, dict):
        if key in here:
            return here[key]
        keys = ", ".join(sorted(map(str, here))[:8])
        raise _missing(source, f"leads nowhere: there is no {key!r} {where}, only {_shown(keys)}")
    if isinstance(here, list):
        if key.isascii() and key.isdigit() and len(key) < 10 and int(key) < len(here):
            return here[int(key)]
        raise _missing(source, f"leads nowhere: {where} is a list of {len(here)}, without {key!r}")
    raise _missing(source, f"leads nowhere: {where} is {_shown(here)}, which has no {key!r}")


# -- regular expressions --------------------------------------------------------------------------


@lru_cache(maxsize=64)
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern, re.MULTILINE)


def _matched(source: FigureSource, pattern: str, printed: str) -> Found:
    matches = list(_some(_compiled(pattern).finditer(printed)))
    if not matches:
        raise _missing(source, "matches nothing")
    if len(matches) > _MOST_VALUES:
        raise _missing(source, f"matches more than {_MOST_VALUES} times")
    groups = _compiled(pattern).groupindex
    if SINGLE in groups:
        return Found(source, tuple(_amount(source, m[SINGLE], _unit(source, m)) for m in matches))
    if len(matches) > 1:
        raise _missing(
            source,
            f"matches {len(matches)} times, and what a program says of all inferences it says "
            f"once (for single values name the group {SINGLE})",
        )
    (match,) = matches
    summary = {
        name: _count(source, match[name])
        if name in _COUNTS
        else _amount(source, match[name], _unit(source, match), least=name in ("std",))
        for name in SUMMARY
        if name in groups and match[name] is not None
    }
    if "median" not in summary and "mean" not in summary:
        raise _missing(source, "matches, and its groups median and mean are empty")
    return Found(source, summary=summary)


def _some(matches: Iterator[re.Match[str]]) -> Iterator[re.Match[str]]:
    for number, match in enumerate(matches):
        if number > _MOST_VALUES:
            return
        yield match


def _unit(source: FigureSource, match: re.Match[str]) -> str:
    unit = source.unit or match[UNIT] or ""
    if source.name == TIME and unit not in TIME_UNITS:
        raise _missing(
            source, f"finds the unit {_shown(unit)}, which is none of {', '.join(TIME_UNITS)}"
        )
    return unit


# -- amounts --------------------------------------------------------------------------------------


def _amount(source: FigureSource, value: Any, unit: str, *, least: bool = False) -> float:
    """A positive amount, a time in µs. ``least``: 0 is one, too."""
    number = _number(value)
    factor = TIME_UNITS[unit] if source.name == TIME else 1.0
    if number is None or not math.isfinite(number * factor):
        raise _missing(source, f"finds {_shown(value)} where a number belongs")
    if number < 0 or (number == 0 and not least):
        raise _missing(
            source, f"finds {_shown(value)}, and a ratio can be made of positive amounts alone"
        )
    return number * factor


def _number(value: Any) -> float | None:
    """A number, or text that is one; nothing else stands for one."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        return float(value)
    except (ValueError, OverflowError):
        return None


def _count(source: FigureSource, value: str) -> float:
    if not value.isascii() or not value.isdigit() or not 0 < int(value[:12]) < 10**10:
        raise _missing(source, f"finds {_shown(value)} where a count belongs")
    return float(value)


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN]}…"
