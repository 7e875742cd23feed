"""A drawn chart made fit to stand inside a page: known elements and attributes alone, colours as
the page's variables. Anything that could run, load or clash with the page is not among them."""

from __future__ import annotations

import re
from html import escape
from xml.etree import ElementTree as ET  # our own renderer's output, no entities

from orchestrator.errors import OrchestrateError
from orchestrator.printable import printable
from orchestrator.report import palette
from orchestrator.report.markup import Markup

_ELEMENTS = frozenset({"svg", "g", "path", "text", "tspan", "line", "rect", "circle"})
_ATTRIBUTES = frozenset(
    {
        "d", "cx", "cy", "r", "dx", "dy", "fill", "fill-opacity", "font-family", "font-size",
        "font-style", "font-weight", "height", "opacity", "stroke", "stroke-dasharray",
        "stroke-dashoffset", "stroke-linecap", "stroke-linejoin", "stroke-miterlimit",
        "stroke-opacity", "stroke-width", "text-anchor", "transform", "viewBox", "width", "x",
        "x1", "x2", "y", "y1", "y2",
    }
)  # fmt: skip
_COLOURS = ("fill", "stroke")
#: A decimal place of a pixel is enough on any screen.
_LONG_NUMBER = re.compile(r"(\d+\.\d{2})\d+")
_NUMBERS = frozenset({"d", "transform", "x", "y", "x1", "x2", "y1", "y2"})


def inline(svg: str, label: str) -> Markup:
    """``svg`` as an image called ``label`` for who cannot see it.

    Raises OrchestrateError where it is not the XML that it should be.
    """
    try:
        root = ET.fromstring(svg)  # noqa: S314  # as above: it has no document type
    except ET.ParseError as exc:
        raise OrchestrateError(f"the chart {label} is not XML ({exc}); update vl-convert") from exc
    body = _render(root)
    name = escape(printable(label))
    return Markup(body.replace("<svg", f'<svg role="img" aria-label="{name}"', 1))


def _render(node: ET.Element) -> str:
    name = _local(node.tag)
    if name not in _ELEMENTS or _shows_nothing(name, node):
        return ""
    given = "".join(
        f' {key}="{escape(_value(key, value))}"'
        for key, value in node.attrib.items()
        if key in _ATTRIBUTES
    )
    inside = escape(node.text or "") if name in ("text", "tspan") else ""
    inside += "".join(map(_render, node))
    if name == "g" and not inside:
        return ""
    if name == "g" and not given:
        return inside
    return f"<{name}{given}>{inside}</{name}>"


def _local(tag: str) -> str:
    return tag.rpartition("}")[2]


def _shows_nothing(name: str, node: ET.Element) -> bool:
    """Vega draws an empty background and foreground for each group."""
    return name == "path" and (not node.get("d") or node.get("display") == "none")


def _value(key: str, value: str) -> str:
    if key in _COLOURS:
        # no reference to anything, inside the page or out of it
        return palette.variable(value) or ("none" if "(" in value and "url" in value else value)
    return _LONG_NUMBER.sub(r"\1", value) if key in _NUMBERS else value
