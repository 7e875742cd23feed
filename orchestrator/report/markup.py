"""HTML made of values: what is not ``Markup`` is escaped. Nothing can be forgotten."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

from orchestrator.printable import printable

#: Elements without an end tag.
_VOID = frozenset({"img", "input", "meta"})


class Markup(str):
    """HTML that is safe as it stands. Only this module and ``inline_svg`` make it."""

    __slots__ = ()


def element(name: str, /, *children: str, **attributes: str) -> Markup:
    """``<name …>children</name>``. Text among the children, and attributes, may come from anywhere.

    ``class_`` is ``class``, and ``http_equiv`` ``http-equiv``.
    """
    given = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{_escaped(value)}"'
        for key, value in attributes.items()
    )
    opened = f"<{name}{given}>"
    return Markup(opened if name in _VOID else f"{opened}{join(children)}</{name}>")


def join(parts: Iterable[str]) -> Markup:
    """The parts in a row, text among them escaped."""
    return Markup("".join(p if isinstance(p, Markup) else _escaped(p) for p in parts))


def style(css: str) -> Markup:
    """A style sheet of ours; its text must hold nothing from outside."""
    if "</" in css:
        raise ValueError("a style sheet cannot hold an end tag")
    return Markup(f"<style>{css}</style>")


def scripted(code: str) -> Markup:
    """A script of ours; its text must hold nothing from outside."""
    if "</" in code or "<!" in code:
        raise ValueError("a script cannot hold markup")
    return Markup(f"<script>{code}</script>")


def preformatted(text: str) -> Markup:
    """Lines kept as they are, each made printable."""
    lines = text.splitlines()
    kept = (line[: len(line) - len(line.lstrip(" "))] + printable(line) for line in lines)
    return Markup(f"<pre>{escape(chr(10).join(kept))}</pre>")


def _escaped(text: str) -> str:
    """Printable, a space at either end kept: there may be an element beside it."""
    before, after = (" " if edge.isspace() else "" for edge in (text[:1], text[-1:]))
    line = printable(text)
    return escape(f"{before}{line}{after}" if line else before)
