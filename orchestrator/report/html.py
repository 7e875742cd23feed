"""report.html: the whole report on one page."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from orchestrator.analysis.table import Alternative, Speedup, SpeedupTable, Verdict
from orchestrator.report import charts, figures, published, repeat
from orchestrator.report import sweep as sweeps
from orchestrator.report.background import Background
from orchestrator.report.clean import clean
from orchestrator.report.explain import page as explained
from orchestrator.report.markup import Markup, element, join, preformatted
from orchestrator.report.notes import (
    SIGNS,
    by_model,
    codes,
    conditions,
    device_title,
    explanations,
    floors_of,
    measured_sections,
    method,
    place_in_full,
    problem,
    section_labels,
    section_of,
    sections,
    setting,
    totals,
    weights,
)
from orchestrator.report.page import Part, figure, grid, page, row_of

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
        "the noise floor, what the baseline yields against itself. An effect inside it is no "
        "effect.",
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
         *_tally(table.rows)),
        _parts(table, background),
    )  # fmt: skip


def _parts(table: SpeedupTable, background: Background | None) -> Iterable[Part]:
    yield Part("table", "Table", join([*_overview(table.rows), *_tables(table)]))
    if background is not None and background.explanation is not None:
        yield explained.section(background.explanation)
    yield Part("published", "Published figures beside ours", join(_published(table.rows)))
    yield from _charts(table, background)
    yield Part("sweeps", "Latency against a factor, in figures", join(_sweeps(table)))
    yield Part("findings", "Findings and what to do", join(_findings(table)))
    yield Part("failures", "What did not end well", join(_failures(table)))
    yield Part("method", "How to read this", element("p", method(table)))
    yield Part("weights", "Weights", _weights(table))
    if background is not None:
        yield Part("devices", "Devices", join(_devices(background)))
        yield Part("repeat", "To repeat this run", join(_repeat(background)))


def _tally(rows: Sequence[Speedup]) -> Iterable[Markup]:
    if not rows:
        nothing = "Nothing was compared: no scheme beside the baseline was planned."
        return (element("p", nothing),)
    counts = Counter(row.verdict for row in rows)
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


def _alternative(found: Alternative | None) -> Markup:
    if found is None:
        return element("td", figures.NONE)
    said = figures.ratio(found.speedup, found.ci_low, found.ci_high)
    return element("td", _verdict(found.verdict, said), class_="number")


def _codes(row: Speedup) -> Markup:
    links = [element("a", code, href=f"#finding-{code}") for code in codes(row)]
    spaced = [part for link in links for part in (Markup(", "), link)]
    return element("td", *spaced[1:])


@dataclass(frozen=True)
class _Column:
    """``there`` says which rows have it; it is shown where one does."""

    header: str
    cell: Callable[[Speedup], Markup | str]
    there: Callable[[Speedup], object] | None = None


_COLUMNS = (
    _Column("Scheme", lambda row: row.scheme),
    _Column("Speed-up, 95 % interval", lambda row: _number(figures.speedup(row))),
    _Column("Verdict", lambda row: element("td", _verdict(row.verdict), title=clean(row.reason))),
    _Column("±", lambda row: _number(figures.precision(row))),
    _Column("n", lambda row: _number(str(row.blocks))),
    _Column("Time, ms", lambda row: _number(figures.change(row.baseline_ms, row.treatment_ms))),
    _Column(
        "Size, MB",
        lambda row: _number(figures.change(row.baseline_size_mb, row.treatment_size_mb)),
    ),
    _Column(
        "Memory, MB",
        lambda row: _number(figures.change(row.baseline_memory_mb, row.treatment_memory_mb)),
    ),
    _Column("By mean", lambda row: _alternative(row.by_mean), lambda row: row.by_mean),
    _Column("By minimum", lambda row: _alternative(row.by_minimum), lambda row: row.by_minimum),
    _Column(
        "Energy, mJ",
        lambda row: _number(figures.change(row.baseline_energy_mj, row.treatment_energy_mj)),
        lambda row: row.baseline_energy_mj or row.treatment_energy_mj,
    ),
    _Column(
        "CO₂, µg",
        lambda row: _number(figures.change(row.baseline_co2_ug, row.treatment_co2_ug)),
        lambda row: row.baseline_co2_ug or row.treatment_co2_ug,
    ),
    _Column("Findings", _codes, lambda row: row.findings),
)


def _tables(table: SpeedupTable) -> Iterable[Markup]:
    for key, rows in sections(table.rows).items():
        yield element("h3", clean(device_title(rows)))
        for line in (setting(rows), *conditions(rows)):
            yield element("p", f"{line}.", class_="quiet")
        shown = [c for c in _COLUMNS if c.there is None or any(map(c.there, rows))]
        yield grid([column.header for column in shown], _body(rows, shown))
        lines = [element("li", line) for line in floors_of(table, key)]
        if lines:
            yield element("details", element("summary", "Noise floors"), element("ul", *lines))


def _body(rows: Sequence[Speedup], shown: Sequence[_Column]) -> Iterable[Markup]:
    span = str(len(shown))
    for model, of_model in by_model(rows).items():
        yield element(
            "tr", element("th", clean(model), scope="colgroup", colspan=span), class_="model"
        )
        for row in of_model:
            yield row_of(*(column.cell(row) for column in shown))
            if row.verdict is Verdict.INVALID:
                yield element("tr", element("td", clean(row.reason), colspan=span), class_="why")


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


def _sweeps(table: SpeedupTable) -> Iterable[Markup]:
    for sweep in table.sweeps:
        yield element("h3", sweeps.title(sweep))
        yield grid(sweeps.header(sweep), (row_of(*cells) for cells in sweeps.cells(sweep)))
        lines = [element("li", line) for line in sweeps.problems(sweep)]
        if lines:
            yield element("ul", *lines)


def _findings(table: SpeedupTable) -> Iterable[Markup]:
    body = [
        element(
            "tr",
            element("td", element("b", each.code)),
            _number(str(each.comparisons)),
            element("td", f"{each.message}."),
            element("td", f"{each.remedy}."),
            id=f"finding-{each.code}",
        )
        for each in explanations(table)
    ]
    if body:
        yield grid(("Code", "Comparisons", "What was seen", "Remedy"), body)


def _failures(table: SpeedupTable) -> Iterable[Markup]:
    lines = [problem(each) for each in table.problems]
    lines += [f"{clean(name)} was lost: {clean(why)}" for name, why in table.lost.items()]
    if lines:
        yield element("ul", *(element("li", line) for line in lines))


def _weights(table: SpeedupTable) -> Markup:
    sources = weights(table)
    if not sources:
        return Markup()
    note = "Speed does not depend on the weights; accuracy does."
    return element("p", f"{sources}. {note}")


# -- charts ---------------------------------------------------------------------------------------


def _charts(table: SpeedupTable, background: Background | None) -> Iterable[Part]:
    if not charts.available():
        missing = f"No charts: install the extra and make the report again, {charts.EXTRA}"
        if table.rows:
            yield Part("charts", "Charts", element("p", missing))
        return
    drawn = charts.drawings(table, background, charts.MOST_DRAWN)
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
            yield Part(kind, title, join([element("p", caption, class_="quiet"), *shown]))


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
