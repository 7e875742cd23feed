"""An explanation as a page of its own, and as a section of the report."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from orchestrator.analysis.explain.explanation import Explanation
from orchestrator.report import charts
from orchestrator.report.clean import clean
from orchestrator.report.draughtsman import NotDrawnError
from orchestrator.report.explain import parts as content
from orchestrator.report.markup import Markup, element, join
from orchestrator.report.page import PageSection, figure, grid, page, row_of

#: Kind of chart → the part that it belongs to, and what it shows.
_CHARTS = {
    "sign-map": (
        "flips",
        "The sign of every comparison: ▲ faster, ▼ slower, = indistinguishable, ✗ invalid. Blue is "
        "faster, orange slower.",
    ),
    "ladder": (
        "effects",
        "Speed-up against the instruction set, with its 95 % interval on a logarithmic axis. A "
        "capped one is not the microarchitecture it is named for.",
    ),
    "effects": (
        "effects",
        "How each level multiplies the speed-up against the reference level, with its 95 % "
        "interval, over all models and for each.",
    ),
}


def to_html(found: Explanation) -> str:
    """The page. Without the extra ``charts`` it says what to install for charts."""
    run = element("p", f"Run {clean(found.run_id)}.", class_="quiet")
    return page(content.TITLE, found.run_id, (run,), _parts(found))


def section(found: Explanation) -> PageSection:
    """All parts under one title."""
    pieces = [piece for part in _parts(found) for piece in (element("h3", part.title), part.body)]
    return PageSection("explain", content.TITLE, join(pieces))


def _parts(found: Explanation) -> Iterable[PageSection]:
    drawn = dict(_drawn(found))
    for part in content.parts(found):
        body = [element("p", sentence) for sentence in part.sentences]
        body += drawn.get(part.name, [])
        if part.table is not None:
            body.append(grid(part.table.header, (_row(row, part.table) for row in part.table.rows)))
        yield PageSection(part.name, part.title, join(body))


def _row(cells: Sequence[str], table: content.Table) -> Markup:
    whole = len(cells) - table.wrapped
    return row_of(*(element("td", cell, class_="number") for cell in cells[:whole]), *cells[whole:])


def _drawn(found: Explanation) -> Iterable[tuple[str, list[Markup]]]:
    if not charts.available():
        missing = f"No charts: install the extra and make this again, {charts.EXTRA}"
        yield "effects", [element("p", missing)]
        return
    shown: dict[str, list[Markup]] = {}
    try:
        drawings = charts.explanation(found, charts.MOST_DRAWN)
    except NotDrawnError as exc:
        yield "effects", [element("p", f"{exc}.")]
        return
    for kind, (part, caption) in _CHARTS.items():
        own = [drawing for drawing in drawings if drawing.kind == kind]
        if own:
            shown.setdefault(part, []).append(element("p", caption, class_="quiet"))
            shown[part] += [figure(drawing, caption) for drawing in own]
    if len(found.factors) > charts.MOST_DRAWN:
        rest = f"Drawn for {charts.MOST_DRAWN} of {len(found.factors)} devices."
        for pieces in shown.values():
            pieces.append(element("p", rest))
    yield from shown.items()
