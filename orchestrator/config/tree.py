"""A YAML file as a tree that remembers where everything was written.

Scalars are read by the core schema of YAML 1.2 (``012`` is twelve, ``6:20`` and ``2024-01-01`` are
text), except that the words YAML 1.1 takes for booleans (``yes``, ``no``, ``on``, ``off``) are
booleans here as well: half the tools a reader knows treat them so, and a name that is one of them
is better quoted than guessed.

What a file can do to its reader is bounded: its size, its depth, and the number of values after
aliases are expanded. Tags and further documents are refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn, cast

import yaml

from orchestrator.config.source import Mark, error_at, read_text
from orchestrator.config.text import shown
from orchestrator.errors import ConfigError

MAX_DEPTH = 32
MAX_VALUES = 50_000

_NULL = frozenset({"", "~", "null", "Null", "NULL"})
_TRUE = frozenset(
    form for word in ("yes", "true", "on") for form in (word, word.title(), word.upper())
)
_FALSE = frozenset(
    form for word in ("no", "false", "off") for form in (word, word.title(), word.upper())
)
# more than 18 digits are not a count of anything, and int() refuses thousands of them
_INTEGER = re.compile(r"[-+]?[0-9]{1,18}", re.ASCII)
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?", re.ASCII)
_NOT_FINITE = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")


@dataclass(frozen=True, eq=False)
class YamlValue:
    """A value and where it stands. ``data`` is the plain Python value, ``text`` a scalar's text.

    ``values`` is how many values the node holds with aliases expanded, itself included, and
    ``height`` how deep they nest.
    """

    mark: Mark
    data: Any
    text: str | None = None
    values: int = 1
    height: int = 1


@dataclass(frozen=True, eq=False)
class Sequence(YamlValue):
    items: tuple[YamlValue, ...] = ()


@dataclass(frozen=True, eq=False)
class Entry:
    """A key's place and its value."""

    key_mark: Mark
    node: YamlValue


@dataclass(frozen=True, eq=False)
class YamlMapping(YamlValue):
    entries: Mapping[str, Entry] = field(default_factory=dict)


def yaml_mapping(mark: Mark, entries: Mapping[str, Entry]) -> YamlMapping:
    """A mapping whose plain value, size and height follow from its entries."""
    nodes = [entry.node for entry in entries.values()]
    return YamlMapping(
        mark=mark,
        data={key: entry.node.data for key, entry in entries.items()},
        values=1 + sum(node.values for node in nodes),
        height=1 + max((node.height for node in nodes), default=0),
        entries=entries,
    )


def read_mapping(path: Path, holds: str) -> YamlMapping:
    """The mapping a file consists of. ``holds`` says, for messages, what belongs into it."""
    root = _Composer(path, read_text(path)).compose()
    if root is None or root.data is None:
        raise ConfigError(f"the file is empty; {holds}", path=path)
    if not isinstance(root, YamlMapping):
        raise ConfigError(
            f"expected keys and values (`key: value`) at the top; {holds}",
            path=path,
            line=root.mark.line,
            column=root.mark.column,
        )
    return root


class _Composer:
    """Builds the tree from YAML's events, so that no bound is passed before it is checked."""

    def __init__(self, path: Path, text: str) -> None:
        self._path = path
        self._loader = yaml.SafeLoader(text)
        #: None while the anchored value is still open.
        self._anchors: dict[str, YamlValue | None] = {}
        self._values = 0

    def compose(self) -> YamlValue | None:
        """The one document, or None where there is none."""
        try:
            return self._document()
        except yaml.MarkedYAMLError as exc:
            raise error_at(self._path, _mark_of(exc), _explained(exc)) from exc
        # the scanner lets `"\UFFFFFFFF"` and a `%YAML` number of any length reach chr() and int()
        except (ValueError, OverflowError) as exc:
            at = self._loader.get_mark()
            place = Mark(at.line + 1, at.column + 1)
            raise error_at(self._path, place, "not YAML: no such character or number") from exc

    def _document(self) -> YamlValue | None:
        self._next()  # the stream's start
        if self._at(yaml.StreamEndEvent):
            return None
        self._next()  # the document's start
        root = self._node(depth=1)
        self._next()  # the document's end
        if not self._at(yaml.StreamEndEvent):
            self._refuse(_start(self._next()), "a second document; one file holds one")
        return root

    def _next(self) -> yaml.Event:
        return cast("yaml.Event", self._loader.get_event())  # type: ignore[no-untyped-call]

    def _at(self, kind: type[yaml.Event]) -> bool:
        return self._loader.check_event(kind)

    def _node(self, depth: int) -> YamlValue:
        event: Any = self._next()
        mark = _start(event)
        if depth > MAX_DEPTH:
            self._refuse(mark, f"nested deeper than {MAX_DEPTH} levels")
        if isinstance(event, yaml.AliasEvent):
            return self._alias(str(event.anchor), mark, depth)
        self._count(1, mark)
        if event.tag is not None:
            tag = event.tag.replace("tag:yaml.org,2002:", "!!", 1)
            self._refuse(mark, f"the tag {shown(tag)} has no place here; write a plain value")
        if event.anchor is not None:
            self._anchors[event.anchor] = None
        node = self._value(event, mark, depth)
        if event.anchor is not None:
            self._anchors[event.anchor] = node
        return node

    def _value(self, event: Any, mark: Mark, depth: int) -> YamlValue:
        if isinstance(event, yaml.ScalarEvent):
            plain = event.implicit[0]
            data = resolve(event.value) if plain else event.value
            return YamlValue(mark, data, text=event.value)
        if isinstance(event, yaml.SequenceStartEvent):
            return self._sequence(mark, depth)
        return self._mapping(mark, depth)

    def _sequence(self, mark: Mark, depth: int) -> Sequence:
        items = []
        while not self._at(yaml.SequenceEndEvent):
            items.append(self._node(depth + 1))
        self._next()
        return Sequence(
            mark=mark,
            data=[item.data for item in items],
            values=1 + sum(item.values for item in items),
            height=1 + max((item.height for item in items), default=0),
            items=tuple(items),
        )

    def _mapping(self, mark: Mark, depth: int) -> YamlMapping:
        own: dict[str, Entry] = {}
        merged: dict[str, Entry] = {}
        while not self._at(yaml.MappingEndEvent):
            key = self._node(depth + 1)
            if key.text is None:
                self._refuse(key.mark, "a key must be a word, not a list or a mapping")
            if key.text in own:
                line = own[key.text].key_mark.line
                self._refuse(
                    key.mark,
                    f"the key {shown(key.text)} is written twice; the first is in line {line}",
                )
            value = self._node(depth + 1)
            own[key.text] = Entry(key.mark, value)
            if key.text == "<<":
                merged = dict(self._merged(value))
        self._next()
        own.pop("<<", None)
        return yaml_mapping(mark, {**merged, **own})

    def _merged(self, value: YamlValue) -> Iterator[tuple[str, Entry]]:
        """What ``<<: *anchor`` or ``<<: [*one, *two]`` brings in; of two, the first wins."""
        sources = value.items if isinstance(value, Sequence) else (value,)
        for source in reversed(sources):
            if not isinstance(source, YamlMapping):
                self._refuse(source.mark, "`<<` takes a mapping, for example `<<: *common`")
            yield from source.entries.items()

    def _alias(self, name: str, mark: Mark, depth: int) -> YamlValue:
        if name not in self._anchors:
            self._refuse(mark, f"the alias {shown('*' + name)} has no anchor {shown('&' + name)}")
        node = self._anchors[name]
        if node is None:
            self._refuse(mark, f"the alias {shown('*' + name)} stands inside what it repeats")
        if depth + node.height - 1 > MAX_DEPTH:
            self._refuse(mark, f"nested deeper than {MAX_DEPTH} levels")
        self._count(node.values, mark)
        return node

    def _count(self, values: int, mark: Mark) -> None:
        self._values += values
        if self._values > MAX_VALUES:
            self._refuse(mark, f"more than {MAX_VALUES} values (aliases count in full)")

    def _refuse(self, mark: Mark, message: str) -> NoReturn:
        raise error_at(self._path, mark, message)


def resolve(text: str) -> bool | int | float | str | None:
    """What a plain (unquoted) scalar means; see the module's head."""
    if text in _NULL:
        return None
    if text in _TRUE or text in _FALSE:
        return text in _TRUE
    if _INTEGER.fullmatch(text):
        return int(text)
    if _FLOAT.fullmatch(text):
        return float(text)
    if _NOT_FINITE.fullmatch(text):
        return float(text.replace(".", "").lower())
    return text


def _start(event: Any) -> Mark:
    return Mark(event.start_mark.line + 1, event.start_mark.column + 1)


def _mark_of(exc: yaml.MarkedYAMLError) -> Mark:
    mark = exc.problem_mark or exc.context_mark
    return Mark(1, 1) if mark is None else Mark(mark.line + 1, mark.column + 1)


#: The parser's problem (its beginning) → what to write instead.
_EXPLAINED = {
    "found character '\\t'": "a tab; YAML indents with spaces",
    "mapping values are not allowed here": (
        "a `:` where none can stand; indent the key like its neighbours, "
        'or put a value that holds `: ` between quotes, "like: this"'
    ),
    "could not find expected ':'": "a key without `:`; write `key: value`",
    "expected <block end>": "indented differently from the lines it belongs to",
    "found unexpected end of stream": "the quote that is opened{opened} is never closed",
    "expected ',' or": "a `,` or a closing bracket is missing; the bracket is opened{opened}",
}


def _explained(exc: yaml.MarkedYAMLError) -> str:
    problem = exc.problem or "unreadable"
    opened = f" in line {exc.context_mark.line + 1}" if exc.context_mark else ""
    for beginning, explanation in _EXPLAINED.items():
        if problem.startswith(beginning):
            return f"not YAML: {explanation.replace('{opened}', opened)}"
    context = f" {exc.context}" if exc.context else ""
    return f"not YAML: {problem}{context}"
