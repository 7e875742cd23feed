"""Everything that is wrong with a file, each at the place where the user wrote it.

pydantic says what is wrong and gives a path of keys; the tree knows where those keys stand.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from orchestrator.config.source import Mark
from orchestrator.config.text import closest, hint, listed, names_a_secret, shown
from orchestrator.config.tree import Sequence, YamlMapping, YamlValue, resolve
from orchestrator.errors import ConfigError, UsageError

#: A file with more wrong than this is answered with the first of it.
MAX_SHOWN = 20

_WANTED = {
    "string_type": "text",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "list_type": "a list",
    "tuple_type": "a list",
    "dict_type": "keys and values",
    "model_type": "keys and values",
    "is_instance_of": "text",
}


class Strict(BaseModel):
    """What every part of a file is: immutable, no unknown key, no type guessed from another.

    A field's ``examples`` hold one line of YAML that is right; messages show it. Its
    ``description`` is what docs/reference says of the key; a field without one is not a key of a
    file.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


_Model = TypeVar("_Model", bound=Strict)


def revived(model: type[_Model], data: Any, what: str) -> _Model:
    """A ``model`` from values that are in no file of the user's. UsageError names ``what``."""
    try:
        return model.model_validate(data)
    except ValidationError as exc:
        error = exc.errors(include_url=False)[0]
        key = ".".join(str(part) for part in error["loc"])
        reason = str(error["ctx"]["error"]) if error["type"] == "value_error" else error["msg"]
        raise UsageError(f"{what}: `{shown(key)[1:-1]}`: {reason}") from exc


class Problems:
    """Collects what is wrong with one file; raises it all at once."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._found: dict[tuple[Mark, str], None] = {}

    def add(self, mark: Mark, message: str) -> None:
        """Note a problem; the same one at the same place counts once."""
        self._found[mark, message] = None

    @property
    def enough(self) -> bool:
        """Whether looking for more is of no use to anyone."""
        return len(self._found) > MAX_SHOWN

    def validate(
        self, model: type[_Model], node: YamlValue, data: Any = None, **context: Any
    ) -> _Model | None:
        """``node`` as a ``model``, or None with its problems noted.

        ``data`` replaces the node's own plain value.
        """
        try:
            return model.model_validate(node.data if data is None else data, context=context)
        except ValidationError as exc:
            details = exc.errors(include_url=False)
            for error in details[: MAX_SHOWN + 1]:
                self.add(_mark(node, error), _message(model, node, error))
            return None

    def raise_if_any(self) -> None:
        """Raise ConfigError with every problem, in the order of the file."""
        if not self._found:
            return
        found = sorted(self._found)
        (mark, message), others = found[0], found[1:MAX_SHOWN]
        lines = [message]
        lines += [f"{self._path}:{at.line}:{at.column}: {text}" for at, text in others]
        if len(found) > MAX_SHOWN:
            lines.append(f"{self._path}: and more; correct these first")
        raise ConfigError("\n".join(lines), path=self._path, line=mark.line, column=mark.column)


def _mark(node: YamlValue, error: ErrorDetails) -> Mark:
    """Find where the value is that ``error`` is about; for an unknown key, where the key is."""
    at_key = error["type"] == "extra_forbidden"
    mark = node.mark
    for part in error["loc"]:
        if isinstance(node, YamlMapping) and part in node.entries:
            entry = node.entries[str(part)]
            node, mark = entry.node, entry.key_mark if at_key else entry.node.mark
        elif isinstance(node, Sequence) and isinstance(part, int) and part < len(node.items):
            node = node.items[part]
            mark = node.mark
        else:
            break
    return mark


def _message(model: type[Strict], node: YamlValue, error: ErrorDetails) -> str:
    """What is wrong and what to write instead."""
    loc = error["loc"]
    kind = error["type"]
    if kind == "extra_forbidden":
        return unknown_key(str(loc[-1]), _keys(_owner(model, loc)))
    if kind == "missing":
        key = str(loc[-1])
        return f"missing key `{key}`{_example(model, loc)}"
    said = _said(node, error)
    if kind in _WANTED:
        said = f"expected {_WANTED[kind]}, not {_what(node, error)}"
        said += _quoting(node, error) or _example(model, loc)
    name = ".".join(str(part) for part in loc if isinstance(part, str) and part != "[key]")
    return f"`{shown(name)[1:-1]}`: {said}" if name else said


def unknown_key(key: str, known: list[str]) -> str:
    """What to say of a key that is none of ``known``."""
    if names_a_secret(key):
        return (
            f"the key {shown(key)}: no secret has a place in this file;"
            " use ssh-agent, or name a key file with `key_file`"
        )
    return f"unknown key {shown(key)}; {hint(key, known, 'the keys here are')}"


def _said(node: YamlValue, error: ErrorDetails) -> str:
    context: Mapping[str, Any] = error.get("ctx", {})
    kind = error["type"]
    if kind == "value_error":
        return str(context["error"])
    if kind == "literal_error":
        words = re.findall(r"'([^']+)'", str(context["expected"]))
        written = _what(node, error)
        close = closest(written.strip("`"), words)
        advice = f"; did you mean `{close}`?" if close else ""
        return f"expected one of {listed(words)}, not {written}{advice}"
    if kind == "too_short":
        return "is empty; list at least one"
    if kind == "too_long":
        return f"holds more than {context['max_length']}"
    if kind in ("greater_than", "greater_than_equal", "less_than", "less_than_equal"):
        limit = next(iter(context.values()))
        return f"{shown(str(error['input']))} is out of range; {_RANGE[kind]} {limit}"
    return error["msg"]


_RANGE = {
    "greater_than": "write more than",
    "greater_than_equal": "write at least",
    "less_than": "write less than",
    "less_than_equal": "write at most",
}


def _what(node: YamlValue, error: ErrorDetails) -> str:
    """The value, as it stands in the file where it is one word."""
    value = error["input"]
    if value is None:
        return "nothing"
    if isinstance(value, list):
        return "a list"
    if isinstance(value, dict):
        return "keys and values"
    written = _text_at(node, error["loc"]) or str(value)
    if isinstance(value, str) and not isinstance(resolve(value), str):
        written = f'"{written}"'  # the quotes are what is wrong with it
    return shown(written)


def _quoting(node: YamlValue, error: ErrorDetails) -> str:
    """What to do about a word that YAML does not take for text."""
    value = error["input"]
    if error["type"] != "string_type" or not isinstance(value, bool | int | float):
        return ""
    read_as = "true or false" if isinstance(value, bool) else "a number"
    quoted = shown(f'"{_text_at(node, error["loc"]) or value}"')
    return f", which YAML reads as {read_as}; quote it: {quoted}"


def _text_at(node: YamlValue, loc: tuple[int | str, ...]) -> str | None:
    for part in loc:
        if isinstance(node, YamlMapping) and part in node.entries:
            node = node.entries[str(part)].node
        elif isinstance(node, Sequence) and isinstance(part, int) and part < len(node.items):
            node = node.items[part]
    return node.text


def _example(model: type[Strict], loc: tuple[int | str, ...]) -> str:
    """The example of the key that ``loc`` leads to; for no key at all, that of the first one."""
    first = next(iter(model.model_fields))
    key = next((part for part in reversed(loc) if isinstance(part, str)), first)
    field = _field(_owner(model, loc), key)
    return f"; write for example `{field.examples[0]}`" if field and field.examples else ""


def _owner(model: type[Strict], loc: tuple[int | str, ...]) -> type[Strict]:
    """The model whose key the last word of ``loc`` is."""
    words = [part for part in loc if isinstance(part, str)]
    for word in words[:-1]:
        field = _field(model, word)
        inner = None if field is None else _model_in(field.annotation)
        if inner is None:
            break
        model = inner
    return model


def _model_in(annotation: Any) -> type[Strict] | None:
    """``Protocol`` in ``Protocol``, ``Protocol | None`` or ``tuple[Protocol, ...]``."""
    if isinstance(annotation, type) and issubclass(annotation, Strict):
        return annotation
    inner = (_model_in(part) for part in get_args(annotation))
    return next((model for model in inner if model is not None), None)


def _field(model: type[Strict], key: str) -> FieldInfo | None:
    fields = model.model_fields
    return next((f for name, f in fields.items() if (f.alias or name) == key), None)


def _keys(model: type[Strict]) -> list[str]:
    return [field.alias or name for name, field in model.model_fields.items()]
