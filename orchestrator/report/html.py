"""Writes report.html: the whole report on one page."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence

from orchestrator.analysis.table import Alternative, Speedup, SpeedupTable, Verdict
from orchestrator.report import charts, figures, losses, published, repeat
from orchestrator.report import sweep as sweeps
from orchestrator.report.background import Background
from orchestrator.report.clean import clean
from orchestrator.report.draughtsman import NotDrawnError
from orchestrator.report.explain import page as explained
from orchestrator.report.markup import Markup, element, join, preformatted
from orchestrator.report.notes import (
    SIGNS,
    codes,
    measured_sections,
    place_in_full,
    section_labels,
    section_of,
    totals,
)
from orchestrator.report.page import PageSection, figure, grid, page, row_of
from orchestrator.report.view import (
    NOTHING,
    Column,
    Grid,
    Section,
    View,
    view_of,
)

#: More devices than this, and only the first one's charts are unfolded.
_UNFOLDED = 4

_CHARTS = {
    "heat-map": (
        "Models × devices",
        "Speed-up over the baseline; the sign is the verdict: ▲ faster, ▼ slower, "
        "= indistinguishable, ✗ invalid. Blue is faster, orange slower; the colour stops at 8×.",
    ),
    "forest": (
        "Speed-ups with their intervals",
        "Speed-up with its 95 % interval on a logarithmic axis, the same for all devices. Shaded: "
        "the noise floor, what the baseline yields against itself. An effect inside it does "
        "not count.",
    ),
    "trade-off": (
        "What the speed costs",
        "Speed-up against the change of accuracy, both with their 95 % intervals: right and up is "
        "better. The area is the size ratio, that of the file to the baseline's. Filled: on the "
        "Pareto front of speed, accuracy and size, so that no other scheme of the model is as "
        "good in all three and better in one, by the estimates; hollow: another one is. Dotted: "
        "the baseline's speed and accuracy. Dashed: the loss that counts as none.",
    ),
    "bars": (
        "Time before and after",
        "Time of an inference, model by model, each on a scale of its own: Hodges-Lehmann centre "
        "over blocks of each process's median, with its 95 % interval (none with fewer than six "
        "blocks). The first bar is the baseline.",
    ),
    "processes": (
        "Process by process",
        "One figure a process, over the median of its scheme: the spread that the intervals rest "
        "on. Box: quartiles; whiskers: up to 1.5 interquartile ranges; circles: beyond. No process "
        "is left out.",
    ),
    "cost": (
        "Size and memory against time",
        "The schemes of a model are joined; its name stands at the baseline. Left and down is "
        "better. Memory is the process's, from trials of its own.",
    ),
    "warm-up": (
        "Warm-up",
        "Inference after inference of one process a scheme (its first block), over the median of "
        "its steady state; dots are warm-up, which is never part of a figure. The first 60.",
    ),
    "sweep": ("Latency against a factor", sweeps.METHOD),
}


def to_html(table: SpeedupTable, background: Background | None = None) -> str:
    """The page. Without ``background`` it has no devices' facts, no way to repeat the run and no
    warm-up curves; without the extra ``charts`` it says what to install for charts."""
    return page(
        f"Speed-up over {table.baseline}",
        table.run_id,
        (element("p", f"Run {clean(table.run_id)}, {totals(table)}.", class_="quiet"),
         *_tally(table)),
        _parts(table, background),
        pictures=background is not None and bool(background.pictures),
    )  # fmt: skip


#: The grids that stand behind the charts of the same figures.
_LATE = "sweep"


def _parts(table: SpeedupTable, background: Background | None) -> Iterable[PageSection]:
    view = view_of(table)
    yield PageSection("table", "Table", join([*_overview(table.rows), *_tables(view)]))
    early = [kind for kind in view.grids if kind.name != _LATE]
    for kind in early:
        more = _losses(table, background) if kind.name == "accuracy" else ()
        body = join([*_grids(kind.grids, kind.method), *more])
        yield PageSection(kind.name, kind.title, body)
    if background is not None and background.explanation is not None:
        yield explained.section(background.explanation)
    yield PageSection("published", "Published figures beside ours", join(_published(table.rows)))
    yield from _charts(table, background)
    for kind in view.grids:
        if kind.name == _LATE:
            # under the charts, which say how to read it
            yield PageSection("sweeps", kind.title, join(_grids(kind.grids)))
    yield PageSection("findings", "Findings and what to do", join(_findings(view)))
    yield PageSection("failures", "What did not end well", join(_failures(view)))
    yield PageSection("method", "How to read this", element("p", view.method))
    yield PageSection("weights", "Weights", _weights(view))
    if background is not None:
        yield PageSection("devices", "Devices", join(_devices(background)))
        yield PageSection("repeat", "To repeat this run", join(_repeat(background)))


def _tally(table: SpeedupTable) -> Iterable[Markup]:
    if not table.rows:
        return () if table.figures or table.accuracy else (element("p", NOTHING),)
    counts = Counter(row.verdict for row in table.rows)
    items = (
        element(
            "li",
            element("b", f"{SIGNS[verdict]} {counts[verdict]}", class_=verdict.value),
            verdict.value,
        )
        for verdict in SIGNS
        if counts[verdict]
    )
    return (element("ul", *items, class_="tally"),)


# -- tables ---------------------------------------------------------------------------------------


def _number(text: str) -> Markup:
    return element("td", text, class_="number")


def _verdict(verdict: Verdict, text: str | None = None) -> Markup:
    said = verdict.value if text is None else text
    return element("span", f"{SIGNS[verdict]} {said}", class_=f"verdict {verdict.value}")


def _overview(rows: Sequence[Speedup]) -> Iterable[Markup]:
    """Models × devices, where there are several of them."""
    labels = section_labels(rows)
    if len(labels) < 2:
        return
    cells = {(row.model, row.scheme, section_of(row)): row for row in rows}
    body = [
        row_of(
            element("th", model, scope="row"),
            scheme,
            *(_cell(cells.get((model, scheme, key))) for key in labels),
        )
        for model, scheme in dict.fromkeys((row.model, row.scheme) for row in rows)
    ]
    yield element("h3", "Side by side")
    yield grid(("Model", "Scheme", *labels.values()), body)


def _cell(row: Speedup | None) -> Markup:
    if row is None:
        return element("td", figures.NONE)
    if row.speedup is None:
        return element("td", _verdict(row.verdict))
    return element("td", _verdict(row.verdict, f"{figures.significant(row.speedup)}×"))


def _codes(row: Speedup) -> Markup:
    links = [element("a", code, href=f"#finding-{code}") for code in codes(row)]
    spaced = [part for link in links for part in (Markup(", "), link)]
    return element("td", *spaced[1:])


_LAYOUT = (
    "speedup", "verdict", "accuracy", "precision", "blocks", "time", "size", "memory", "energy",
    "co2", "findings",
)  # fmt: skip


def _cell_of(column: Column, row: Speedup) -> Markup:
    """A cell of the table; a verdict has its colour and reason, a finding leads to its words."""
    if column.name == "verdict":
        return element("td", _verdict(row.verdict), title=clean(row.reason))
    return _codes(row) if column.name == "findings" else _number(column.cell(row))


def _tables(view: View) -> Iterable[Markup]:
    for section in view.sections:
        yield element("h3", section.title)
        for line in section.lines:
            yield element("p", f"{line}.", class_="quiet")
        shown = [
            column
            for column in section.columns(_LAYOUT)
            if column.name != "findings" or any(row.findings for row in section.rows)
        ]
        yield grid(["Scheme", *(column.title for column in shown)], _body(section, shown))
        lines = [element("li", line) for line in section.floors]
        if lines:
            yield element("details", element("summary", "Noise floors"), element("ul", *lines))
        yield from _by_other_statistics(section)


def _body(section: Section, shown: Sequence[Column]) -> Iterable[Markup]:
    span = str(len(shown) + 1)
    for model, of_model in section.models.items():
        yield element(
            "tr", element("th", clean(model), scope="colgroup", colspan=span), class_="model"
        )
        for row in of_model:
            yield row_of(row.scheme, *(_cell_of(column, row) for column in shown))
            if row.verdict is Verdict.INVALID:
                yield element("tr", element("td", clean(row.reason), colspan=span), class_="why")
            elif unlike := _disagreement(row):
                yield element("tr", element("td", *unlike, colspan=span), class_="why")


#: The other statistics of a process, by what a table calls them.
_STATISTICS: Mapping[str, Callable[[Speedup], Alternative | None]] = {
    "By mean": lambda row: row.by_mean,
    "By minimum": lambda row: row.by_minimum,
}


def _ratio_of(found: Alternative) -> str:
    return figures.ratio(found.speedup, found.ci_low, found.ci_high)


def _disagreement(row: Speedup) -> list[Markup]:
    """``By minimum: ▲ 1.20× [1.10, 1.30]`` for each statistic whose verdict is another one."""
    return [
        join([f"{name}: ", _verdict(found.verdict, _ratio_of(found)), ". "])
        for name, of in _STATISTICS.items()
        if (found := of(row)) is not None and found.verdict is not row.verdict
    ]


def _by_other_statistics(section: Section) -> Iterable[Markup]:
    """What each comparison is by the mean and the minimum, folded: where one of them disagrees, the
    table itself says so."""
    rows = [row for row in section.rows if any(of(row) for of in _STATISTICS.values())]
    if not rows:
        return
    body = [
        row_of(
            element("th", clean(row.model), scope="row"),
            row.scheme,
            *(
                element("td", figures.NONE)
                if (found := of(row)) is None
                else element("td", _verdict(found.verdict, _ratio_of(found)), class_="number")
                for of in _STATISTICS.values()
            ),
        )
        for row in rows
    ]
    table = grid(("Model", "Scheme", *_STATISTICS), body)
    yield element("details", element("summary", "By mean and by minimum"), table)


def _published(rows: Sequence[Speedup]) -> Iterable[Markup]:
    body = [
        row_of(
            place_in_full(row.device, row.isa),
            row.model,
            row.scheme,
            _number(figures.speedup(row)),
            _number(
                f"{each.direction}, magnitude not known"
                if each.speedup is None
                else figures.ratio(each.speedup, each.low, each.high)
            ),
            element("td", element("b", each.agreement)),
            clean(each.hardware),
            clean(f"{each.source}. {each.note}" if each.note else each.source),
        )
        for row in rows
        for each in row.published
    ]
    if body:
        header = (
            "Device",
            "Model",
            "Scheme",
            "Ours",
            "Published",
            "Agreement",
            "Hardware",
            "Source",
        )
        yield grid(header, body)
        yield element("p", published.METHOD)


def _grids(grids: Sequence[Grid], how: str = "") -> Iterable[Markup]:
    for each in grids:
        yield element("h3", each.title)
        yield grid(each.header, (row_of(*cells) for cells in each.cells))
        lines = [element("li", line) for line in (*each.problems, *each.notes)]
        if lines:
            yield element("ul", *lines)
    if grids and how:
        yield element("p", how, class_="quiet")


def _losses(table: SpeedupTable, background: Background | None) -> Iterable[Markup]:
    pictures = {} if background is None else background.pictures
    missing = "" if background is None else background.pictures_missing
    return losses.details(table.accuracy, pictures, missing)


def _findings(view: View) -> Iterable[Markup]:
    body = [
        element(
            "tr",
            element("td", element("b", each.code)),
            _number(str(each.comparisons)),
            element("td", f"{each.message}."),
            element("td", f"{each.remedy}."),
            id=f"finding-{each.code}",
        )
        for each in view.explanations
    ]
    if body:
        yield grid(("Code", "Comparisons", "What was seen", "Remedy"), body)


def _failures(view: View) -> Iterable[Markup]:
    lines = [*view.problems, *(f"{name} was lost: {why}" for name, why in view.lost)]
    if lines:
        yield element("ul", *(element("li", line) for line in lines))


def _weights(view: View) -> Markup:
    if not view.weights:
        return Markup()
    note = "Speed does not depend on the weights; accuracy does."
    return element("p", f"{view.weights}. {note}")


# -- charts ---------------------------------------------------------------------------------------


def _charts(table: SpeedupTable, background: Background | None) -> Iterable[PageSection]:
    if not charts.available():
        missing = f"No charts: install the extra and make the report again, {charts.EXTRA}"
        if table.rows:
            yield PageSection("charts", "Charts", element("p", missing))
        return
    try:
        drawn = charts.drawings(table, background, charts.MOST_DRAWN)
    except NotDrawnError as exc:
        yield PageSection("charts", "Charts", element("p", f"{exc}."))
        return
    measured = len(measured_sections(table))
    for kind, (title, caption) in _CHARTS.items():
        own = [drawing for drawing in drawn if drawing.kind == kind]
        shown = [
            figure(drawing, title, unfolded=number == 0 or len(own) <= _UNFOLDED)
            for number, drawing in enumerate(own)
        ]
        if shown:
            if any(each.label for each in own) and measured > charts.MOST_DRAWN:
                shown.append(element("p", _rest(measured, table.run_id)))
            yield PageSection(kind, title, join([element("p", caption, class_="quiet"), *shown]))


def _rest(measured: int, run_id: str) -> str:
    return (
        f"Drawn for {charts.MOST_DRAWN} of {measured} devices and settings; all of them: "
        f"orchestrate report {clean(run_id)} --charts DIR."
    )


# -- devices and the way back ---------------------------------------------------------------------


def _devices(background: Background) -> Iterable[Markup]:
    known = {name: repeat.facts_of(facts) for name, facts in background.facts.items()}
    if not known:
        return
    rows = [
        row_of(
            element("th", label, scope="row"),
            *(facts.get(label, figures.NONE) for facts in known.values()),
        )
        for label in dict.fromkeys(label for facts in known.values() for label in facts)
    ]
    yield grid(("", *map(clean, known)), rows)


def _repeat(background: Background) -> Iterable[Markup]:
    manifest = background.manifest
    line = repeat.command(manifest)
    if line is None:
        yield element("p", "It was imported: no command of orchestrate measured it.")
    else:
        yield preformatted(line)
        yield element("p", repeat.caveat(manifest), class_="quiet")
    yield element("h3", "Model files")
    yield grid(
        ("Model", "Scheme", "MB", "Weights", "SHA-256"),
        (
            row_of(
                each.variant.model,
                each.variant.scheme,
                _number(figures.number(each.size_bytes / 1e6)),
                each.weights,
                element("td", each.sha256, class_="hash"),
            )
            for each in manifest.artifacts
        ),
    )
    if manifest.binaries:
        yield element("h3", "Binaries")
        yield grid(
            ("Device", "Source", "Pinned", "SHA-256"),
            (
                row_of(
                    each.device,
                    clean(each.source),
                    "yes" if each.pinned else "no",
                    element("td", each.sha256, class_="hash"),
                )
                for each in manifest.binaries
            ),
        )
    yield element("h3", "Versions on the controller")
    pairs = [
        part
        for name, version in manifest.versions.items()
        for part in (element("dt", clean(name)), element("dd", clean(version)))
    ]
    yield element("dl", *pairs)
    yield element(
        "details",
        element("summary", "The suite as it was measured"),
        preformatted(repeat.suite(manifest)),
    )
