"""A page in one file that loads nothing and runs nothing, and what it is put together of.

Every text goes through ``markup``, which escapes what is not ours, and the page forbids itself
scripts, addresses and any style but its own.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.resources import files as resources

from orchestrator.errors import OrchestrateError
from orchestrator.report import charts, palette
from orchestrator.report.clean import clean
from orchestrator.report.drawing import Drawing
from orchestrator.report.inline_svg import inline
from orchestrator.report.markup import Markup, element, scripted, style


@dataclass(frozen=True)
class PageSection:
    """A section of the page; without a body it is left out."""

    name: str
    title: str
    body: Markup


def page(
    title: str,
    run_id: str,
    lead: Iterable[Markup],
    some: Iterable[PageSection],
    *,
    pictures: bool = False,
    refresh_s: int | None = None,
    css: str = "",
    script: str = "",
) -> str:
    """``lead`` and then the parts, with links to them. ``pictures``: some are in it; ``refresh_s``:
    the browser reads it again every so many seconds. ``css`` is more of ours behind the common
    style sheet; ``script`` is one of ours, the only one that the page permits."""
    css = palette.stylesheet() + shipped("page.css") + css
    parts = [part for part in some if part.body]
    links = [element("a", part.title, href=f"#{part.name}") for part in parts]
    body = element(
        "body",
        element("h1", clean(title)),
        *lead,
        element("nav", *links),
        element(
            "main",
            *(
                element("section", element("h2", part.title), part.body, id=part.name)
                for part in parts
            ),
        ),
        *((scripted(script),) if script else ()),
    )
    again = () if refresh_s is None else (refreshed(refresh_s),)
    head = element(
        "head",
        element("meta", charset="utf-8"),
        *again,
        element(
            "meta", http_equiv="Content-Security-Policy", content=_policy(css, pictures, script)
        ),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="referrer", content="no-referrer"),
        element("title", f"{clean(title)}: {clean(run_id)}"),
        style(css),
    )
    return f"<!DOCTYPE html>\n{element('html', head, body, lang='en')}\n"


def refreshed(seconds: int) -> Markup:
    """What makes a browser read the page again, without a script."""
    return element("meta", http_equiv="refresh", content=str(seconds))


def shipped(name: str) -> str:
    """The text of a file that stands beside this module."""
    return resources("orchestrator.report").joinpath(name).read_text(encoding="utf-8")


def _policy(css: str, pictures: bool, script: str) -> str:
    images = ("img-src data:",) if pictures else ()
    scripts = (f"script-src {_hash(script)}",) if script else ()
    parts = ("default-src 'none'", f"style-src {_hash(css)}", *scripts, *images)
    return "; ".join((*parts, "base-uri 'none'", "form-action 'none'"))


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def grid(header: Sequence[str], rows: Iterable[Markup]) -> Markup:
    """A table that scrolls by itself where it is wider than the page."""
    head = element("thead", element("tr", *(element("th", name, scope="col") for name in header)))
    table = element("table", head, element("tbody", *rows))
    return element("div", table, class_="scroll", tabindex="0")


def row_of(*cells: str, **attributes: str) -> Markup:
    return element("tr", *(c if isinstance(c, Markup) else element("td", c) for c in cells),
                   **attributes)  # fmt: skip


def figure(drawing: Drawing, title: str, *, unfolded: bool = True) -> Markup:
    """The chart, or why it cannot be drawn; folded under its label where it has one."""
    try:
        chart = inline(charts.to_svg(drawing), f"{title} {drawing.label}")
    except OrchestrateError as exc:
        return element("p", f"{exc}.")
    shown = element("figure", element("div", chart, class_="scroll", tabindex="0"))
    if not drawing.label:
        return shown
    summary = element("summary", drawing.label)
    state = {"open": ""} if unfolded else {}
    return element("details", summary, shown, **state)
