"""What each chart shows, as altair describes it: figures of the table in, Vega-Lite out.

Read by the process that draws alone: altair takes a second, and room.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from statistics import median
from typing import Any, TypeAlias

import altair as alt
from altair.utils.schemapi import debug_mode

from orchestrator.analysis.table import (
    Distribution,
    Speedup,
    SpeedupTable,
    Sweep,
    SweepPoint,
    TradeOff,
)
from orchestrator.factors import factor_named, varying
from orchestrator.isa.levels import capped
from orchestrator.report import figures, palette
from orchestrator.report.clean import clean
from orchestrator.report.drawing import Drawing
from orchestrator.report.notes import (
    CAPPED,
    SIGNS,
    SectionKey,
    by_model,
    measured_sections,
    section_labels,
    section_of,
)
from orchestrator.report.sweep import title as sweep_title
from orchestrator.runs.curves import Curve

#: Whether altair holds every chart against Vega-Lite's schema. Our figures cannot change a chart's
#: shape, and the check takes as long as drawing; the tests turn it on (``charts.VALIDATE``).
VALIDATE = False

Rows: TypeAlias = "list[dict[str, Any]]"


#: Longer names than this are cut in a chart; the tables have them whole.
_LONGEST_NAME = 28
#: Inferences of a process that a curve shows: what comes later is steady, or the table says not.
_CURVE = 60
#: Panels side by side.
_COLUMNS = 5
#: Beyond a ratio of 2³ a heat map's colour stays the same.
_HEAT = 3.0
TICKS = (0.1, 0.2, 0.3, 0.5, 0.7, 1, 1.5, 2, 3, 4, 6, 8, 12, 16, 24, 32)


def describe(
    table: SpeedupTable, curves: Sequence[Curve] = (), most: int | None = None
) -> tuple[Drawing, ...]:
    """Every chart for which there are figures, device by device where a chart is of one device;
    of so many devices, or settings of one, at ``most``."""
    with debug_mode(VALIDATE):
        return (*_describe(table, curves, most), *describe_sweeps(table.sweeps))


def _describe(table: SpeedupTable, curves: Sequence[Curve], most: int | None) -> Iterable[Drawing]:
    labels = section_labels(table.rows)
    schemes = _schemes(table)
    domain = _domain(table.rows)
    margin = next((row.margin for row in table.accuracy), 0.0)
    yield from _heat_map(table.rows, labels)
    for number, (key, rows) in enumerate([*measured_sections(table).items()][:most]):
        times = [d for d in table.distributions if SectionKey(d.device, d.factors) == key]
        offs = [t for t in table.trade_offs if SectionKey(t.device, t.factors) == key]
        own = [c for c in curves if SectionKey(c.device, c.factors) == key]
        charts = {
            "bars": _bars(times, schemes),
            "forest": _forest(rows, domain),
            "trade-off": _trade_off(offs, margin, schemes),
            "processes": _processes(times, schemes),
            "cost": _cost(rows, schemes),
            "warm-up": _warm_up(own, schemes),
        }
        suffix = f"{number + 1}-{slug(labels[key])}"
        for kind, chart in charts.items():
            if chart is not None:
                drawn = finished(chart)
                if capped(key.isa):  # a chart on its own must say so too
                    said = [labels[key], *([_FRONT] if kind == "trade-off" else [])]
                    drawn["title"] = {"text": said, "anchor": "start", "fontSize": 11}
                yield Drawing(f"{kind}-{suffix}", kind, labels[key], drawn)


def describe_sweeps(sweeps: Sequence[Sweep]) -> tuple[Drawing, ...]:
    """One chart of small panels: a line of them a factor and model, a panel for each level of what
    else varied, on the same axes; none where nothing varied."""
    shown = [sweep for sweep in sweeps if any(_has_place(sweep, p) for p in sweep.points)]
    if not shown:
        return ()
    schemes = list(dict.fromkeys(short(p.scheme) for sweep in shown for p in sweep.points))
    lines: dict[tuple[str, str, str, str], list[Sweep]] = {}
    for sweep in shown:
        isa = sweep.factors.isa
        lines.setdefault((sweep.factor, sweep.device, sweep.model, isa), []).append(sweep)
    panels = alt.vconcat(*(_sweep_line(some, schemes) for some in lines.values()), spacing=26)
    return (Drawing("sweep", "sweep", "", finished(panels.resolve_scale(color="shared"))),)


# -- what they share ------------------------------------------------------------------------------


def finished(chart: alt.TopLevelMixin) -> dict[str, Any]:
    ink, quiet, line = (palette.light(role) for role in ("ink", "quiet", "line"))
    specification: dict[str, Any] = chart.to_dict(validate=VALIDATE)
    specification["background"] = palette.light("paper")
    specification["config"] = {
        "aria": False,
        "font": "sans-serif",
        "view": {"stroke": line},
        "axis": {
            "labelColor": quiet,
            "titleColor": ink,
            "titleFontWeight": "normal",
            "domainColor": line,
            "tickColor": line,
            "gridColor": line,
            "labelLimit": 220,
        },
        "header": {"labelColor": ink, "titleColor": ink, "labelFontWeight": "bold"},
        "legend": {"labelColor": quiet, "titleColor": ink, "titleFontWeight": "normal"},
        "title": {"color": ink, "subtitleColor": quiet},
        "mark": {"color": ink},
        "text": {"color": ink},
        "rule": {"color": ink},
    }
    return specification


def _schemes(table: SpeedupTable) -> list[str]:
    """The baseline first, then the others as the table has them."""
    others = (row.scheme for row in table.rows)
    timed = (d.scheme for d in table.distributions)
    return list(dict.fromkeys(map(short, (table.baseline, *others, *timed))))


def _scheme_colour(
    schemes: Sequence[str], *, legend: bool = True, shown: Sequence[str] | None = None
) -> alt.Color:
    """The same colour for a scheme in every chart; ``shown``: those that the key has, or all."""
    return alt.Color(
        "scheme:N",
        title="scheme",
        scale=_scheme_scale(schemes),
        legend=alt.Legend(orient="top", values=list(shown or schemes)) if legend else None,
    )


def _scheme_scale(schemes: Sequence[str]) -> alt.Scale:
    colours = [palette.light("baseline")]
    while len(colours) < len(schemes):
        colours += palette.SCHEMES
    return alt.Scale(domain=list(schemes), range=colours[: len(schemes)])


def short(name: str) -> str:
    name = clean(name) or "–"
    return name if len(name) <= _LONGEST_NAME else name[: _LONGEST_NAME - 1] + "…"


def where(label: str) -> str:
    """A section's label, bounded like any name, but for what it says of the instruction set."""
    return short(label.replace(CAPPED, "")) + (CAPPED if CAPPED in label else "")


def slug(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9]+", "-", name).strip("-")[:40] or "device"


def inline_data(rows: Rows) -> alt.InlineData:
    return alt.InlineData(values=rows)


def header() -> alt.Header:
    return alt.Header(title=None, labelLimit=180)


# -- times ----------------------------------------------------------------------------------------


def _panels(chart: alt.Chart | alt.LayerChart, rows: Rows) -> alt.FacetChart:
    """A panel a model, each with a scale of its own: a VGG takes fifty times a MobileNet."""
    models = list(dict.fromkeys(row["model"] for row in rows))
    panels: alt.FacetChart = chart.facet(
        facet=alt.Facet("model:N", sort=models, header=header()),
        columns=min(_COLUMNS, len(models)),
        data=inline_data(rows),
        bounds="flush",
        spacing={"row": 100, "column": 62},
    ).resolve_scale(y="independent", x="independent")
    return panels


def _x_of_schemes(schemes: Sequence[str]) -> alt.X:
    return alt.X("scheme:N", sort=list(schemes), title=None, axis=alt.Axis(labelAngle=-40))


def _bars(times: Sequence[Distribution], schemes: Sequence[str]) -> alt.FacetChart | None:
    """Time of an inference before and after, model by model, with its interval."""
    rows = [
        {
            "model": short(d.model),
            "scheme": short(d.scheme),
            "ms": d.centre_ms,
            "low": d.low_ms,
            "high": d.high_ms,
        }
        for d in times
        if d.centre_ms is not None
    ]
    if not rows:
        return None
    x = _x_of_schemes(schemes)
    y = alt.Y("ms:Q", title="ms an inference", scale=alt.Scale(zero=True))
    bars = alt.Chart().mark_bar().encode(x=x, y=y, color=_scheme_colour(schemes, legend=False))
    errors = (
        alt.Chart()
        .mark_rule(strokeWidth=1.5)
        .encode(x=x, y=alt.Y("low:Q", title="ms an inference"), y2="high:Q")
    )
    layered = alt.layer(bars, errors).properties(width=24 * len(schemes) + 10, height=130)
    return _panels(layered, rows)


def _processes(times: Sequence[Distribution], schemes: Sequence[str]) -> alt.FacetChart | None:
    """Box plots of the processes' centres, each over the median of its scheme: their spread would
    vanish in the differences between schemes."""
    rows = [
        {"model": short(d.model), "scheme": short(d.scheme), "ratio": float(f"{ms / centre:.5g}")}
        for d in times
        for centre in [median(d.centres_ms)]
        for ms in d.centres_ms
    ]
    if not rows:
        return None
    chart = (
        alt.Chart()
        .mark_boxplot(
            extent=1.5,
            size=13,
            median={"color": palette.light("paper")},
            rule={"color": palette.light("ink")},
            outliers={"size": 12},
        )
        .encode(
            x=_x_of_schemes(schemes),
            y=alt.Y("ratio:Q", title="process ÷ median", scale=alt.Scale(zero=False)),
            color=_scheme_colour(schemes, legend=False),
        )
        .properties(width=24 * len(schemes) + 10, height=130)
    )
    return _panels(chart, rows)


def _warm_up(curves: Sequence[Curve], schemes: Sequence[str]) -> alt.FacetChart | None:
    """Inference after inference of one process, over the median of its steady state."""
    rows = [
        {
            "model": short(curve.model),
            "scheme": short(curve.scheme),
            "number": number,
            "ratio": float(f"{ms / centre:.4g}"),
            "warmup": number <= len(curve.warmup_ms),
        }
        for curve in curves
        for centre in [median(curve.steady_ms or (0.0,))]
        if centre > 0
        for number, ms in enumerate((*curve.warmup_ms, *curve.steady_ms)[:_CURVE], 1)
    ]
    if not rows:
        return None
    x = alt.X("number:Q", title="inference of the process", axis=alt.Axis(tickCount=4, format="d"))
    y = alt.Y(
        "ratio:Q",
        title="time ÷ steady median",
        scale=alt.Scale(zero=False, padding=4),
    )
    colour = _scheme_colour(schemes)
    line = alt.Chart().mark_line(strokeWidth=1.2).encode(x=x, y=y, color=colour)
    warm = (
        alt.Chart()
        .mark_point(filled=True, size=14, opacity=1)
        .encode(x=x, y=y, color=colour)
        .transform_filter("datum.warmup")
    )
    return _panels(alt.layer(line, warm).properties(width=150, height=120), rows)


# -- speed-ups ------------------------------------------------------------------------------------


def _domain(rows: Sequence[Speedup]) -> tuple[float, float]:
    """Ratios that every forest plot shows, so that devices can be read beside each other."""
    seen = [1.0]
    for row in rows:
        floors = (row.noise_floor, 1 / row.noise_floor) if row.noise_floor else ()
        values = (row.speedup, row.ci_low, row.ci_high, *floors)
        seen += [value for value in values if value is not None and 0 < value < math.inf]
    return min(seen) / 1.08, max(seen) * 1.08


def _forest(rows: Sequence[Speedup], domain: tuple[float, float]) -> alt.FacetChart | None:
    """Speed-ups with their intervals on a logarithmic axis, the noise floor shaded."""
    schemes = list(dict.fromkeys(short(row.scheme) for row in rows))
    data: Rows = [
        {
            "model": short(row.model),
            "scheme": short(row.scheme),
            "speedup": row.speedup,
            "low": row.ci_low,
            "high": row.ci_high,
            "floor": row.noise_floor,
            "under": None if row.noise_floor is None else 1 / row.noise_floor,
            "verdict": row.verdict.value,
            "missing": f"{SIGNS[row.verdict]} invalid" if row.speedup is None else "",
        }
        for row in rows
    ]
    low, high = domain
    ticks = [tick for tick in TICKS if low <= tick <= high]
    scale = alt.Scale(type="log", domain=[low, high], nice=False)
    axis = alt.Axis(values=ticks, format="~g", labelOverlap=True)
    title = "speed-up over the baseline (logarithmic)"
    y = alt.Y("scheme:N", sort=schemes, title=None, scale=alt.Scale(paddingOuter=0.2))
    floor = (
        alt.Chart()
        .mark_rect(color=palette.light("floor"))
        .encode(x=alt.X("under:Q", scale=scale, axis=axis, title=title), x2="floor:Q", y=y)
    )
    one = (
        alt.Chart()
        .mark_rule(strokeDash=[3, 3], color=palette.light("quiet"))
        .encode(x=alt.datum(1, type="quantitative", scale=scale, axis=axis, title=title))
    )
    verdicts = list(SIGNS)
    colour = alt.Color(
        "verdict:N",
        title="verdict",
        scale=alt.Scale(
            domain=[v.value for v in verdicts], range=[palette.of_verdict(v) for v in verdicts]
        ),
        legend=alt.Legend(orient="top"),
    )
    shape = alt.Shape(
        "verdict:N",
        title="verdict",
        scale=alt.Scale(
            domain=[v.value for v in verdicts],
            range=["triangle-up", "triangle-down", "circle", "cross"],
        ),
    )
    interval = (
        alt.Chart()
        .mark_rule(strokeWidth=1.5)
        .encode(
            x=alt.X("low:Q", scale=scale, axis=axis, title=title), x2="high:Q", y=y, color=colour
        )
    )
    point = (
        alt.Chart()
        .mark_point(filled=True, size=55, opacity=1)
        .encode(
            x=alt.X("speedup:Q", scale=scale, axis=axis, title=title),
            y=y,
            color=colour,
            shape=shape,
        )
        .transform_filter("datum.speedup !== null")
    )
    nothing = (
        alt.Chart()
        .mark_text(align="left", dx=6, fontSize=10, fontWeight="normal")
        .encode(
            x=alt.datum(1, type="quantitative", scale=scale, axis=axis, title=title),
            y=y,
            text="missing:N",
            color=colour,
        )
        .transform_filter("datum.speedup === null")
    )
    layered = alt.layer(floor, one, interval, point, nothing).properties(
        width=430, height=alt.Step(17)
    )
    models = list(dict.fromkeys(row["model"] for row in data))
    header = alt.Header(
        title=None, labelAngle=0, labelAlign="left", labelOrient="left", labelLimit=180
    )
    panels: alt.FacetChart = layered.facet(
        row=alt.Row("model:N", sort=models, header=header), data=inline_data(data), spacing=4
    ).resolve_scale(y="independent")
    return panels


def _heat_map(rows: Sequence[Speedup], labels: Mapping[SectionKey, str]) -> Iterable[Drawing]:
    """Models × devices, a panel a scheme; the figure and the verdict's sign in each cell."""
    data: Rows = [
        {
            "model": short(row.model),
            "scheme": short(row.scheme),
            "where": where(labels[section_of(row)]),
            "log": None if row.speedup is None else max(-_HEAT, min(_HEAT, math.log2(row.speedup))),
            "shown": (f"{figures.significant(row.speedup)} " if row.speedup else "")
            + SIGNS[row.verdict],
        }
        for row in rows
    ]
    if not any(row["log"] is not None for row in data):
        return
    models, places, schemes = (
        list(dict.fromkeys(row[name] for row in data)) for name in ("model", "where", "scheme")
    )
    x = alt.X(
        "where:N",
        sort=places,
        title=None,
        axis=alt.Axis(labelAngle=-30, orient="top", labelLimit=420),
    )
    y = alt.Y("model:N", sort=models, title=None)
    scale = alt.Scale(
        domain=[-_HEAT, 0, _HEAT],
        range=[palette.CELL_SLOWER, palette.CELL_SAME, palette.CELL_FASTER],
        type="linear",
        interpolate="rgb",
    )
    colour = alt.condition(
        "datum.log === null",
        alt.value(palette.CELL_INVALID),
        alt.Color("log:Q", scale=scale, legend=None),
    )
    cells = alt.Chart().mark_rect(invalid=None).encode(x=x, y=y, color=colour)
    text = (
        alt.Chart().mark_text(fontSize=11, color=palette.CELL_INK).encode(x=x, y=y, text="shown:N")
    )
    chart = (
        alt.layer(cells, text)
        .properties(width=alt.Step(76), height=alt.Step(24))
        .facet(
            facet=alt.Facet("scheme:N", sort=schemes, header=header()),
            columns=max(1, 900 // (76 * len(places) + 150)),
            data=inline_data(data),
        )
        .resolve_axis(x="independent", y="independent")
    )
    yield Drawing("heat-map", "heat-map", "", finished(chart))


# -- speed, accuracy and size ---------------------------------------------------------------------

#: Square pixels of a mark whose file is as large as the baseline's.
_WHOLE_AREA = 420
#: Said in the chart, which stands alone as a file.
_FRONT = "filled: on the Pareto front of speed, accuracy and size"
#: Sizes that the key shows, over the baseline's.
_SHARES = (0.125, 0.25, 0.5, 1.0)


def _trade_off(
    offs: Sequence[TradeOff], margin: float, schemes: Sequence[str]
) -> alt.FacetChart | None:
    """Speed-up against the change of accuracy, a panel a model; the area is the file's size."""
    data: Rows = [
        {
            "model": short(each.model),
            "scheme": short(each.scheme),
            "speedup": each.speedup,
            "left": each.ci_low,
            "right": each.ci_high,
            "points": 100 * each.difference,
            "low": None if each.low is None else 100 * each.low,
            "high": None if each.high is None else 100 * each.high,
            "share": each.size_share,
            "front": each.front,
        }
        for each in offs
    ]
    if not data:
        return None
    speeds = [row[n] for row in data for n in ("speedup", "left", "right") if row[n]]
    bounds = [min(speeds) / 1.1, max(speeds) * 1.1]
    scale = alt.Scale(type="log", domain=bounds, nice=False)
    ticks = [tick for tick in TICKS if bounds[0] <= tick <= bounds[1]]
    axis = alt.Axis(values=ticks, format="~g", labelOverlap=True)
    across, up = "speed-up (logarithmic)", "accuracy, points"
    y = alt.Y("points:Q", title=up, scale=alt.Scale(zero=True, padding=12))
    x = alt.X("speedup:Q", title=across, scale=scale, axis=axis)
    shown = [scheme for scheme in schemes if scheme in {row["scheme"] for row in data}]
    colour = _scheme_colour(schemes, shown=shown)
    largest = max(1.0, *(row["share"] or 0.0 for row in data))
    area = alt.Size(
        "share:Q",
        title="size ratio",
        scale=alt.Scale(domain=[0, largest], range=[0, _WHOLE_AREA * largest]),
        legend=alt.Legend(
            orient="right",
            values=list(_SHARES),
            format=".3~g",
            symbolFillColor="transparent",
            symbolStrokeColor=palette.light("ink"),
        ),
    )
    layers = [
        _straight([2, 3]).encode(y=alt.datum(0, type="quantitative", title=up)),
        _straight([6, 3]).encode(y=alt.datum(-margin, type="quantitative", title=up)),
        _straight([2, 3]).encode(
            x=alt.datum(1, type="quantitative", scale=scale, axis=axis, title=across)
        ),
        alt.Chart()
        .mark_rule(strokeWidth=1.5)
        .encode(
            x=alt.X("left:Q", title=across, scale=scale, axis=axis), x2="right:Q", y=y, color=colour
        ),
        alt.Chart()
        .mark_rule(strokeWidth=1.5)
        .encode(x=x, y=alt.Y("low:Q", title=up), y2="high:Q", color=colour),
        alt.Chart()
        .mark_point(filled=False, opacity=1, strokeWidth=2)
        .encode(
            x=x,
            y=y,
            stroke=alt.Stroke("scheme:N", scale=_scheme_scale(schemes), legend=None),
            fill=alt.Fill("scheme:N", scale=_scheme_scale(schemes), legend=None),
            fillOpacity=alt.condition("datum.front", alt.value(0.75), alt.value(0)),
            size=area,
        ),
    ]
    models = list(dict.fromkeys(row["model"] for row in data))
    chart: alt.FacetChart = (
        alt.layer(*layers)
        .properties(width=300, height=230)
        .facet(
            facet=alt.Facet("model:N", sort=models, header=header()),
            columns=min(3, len(models)),
            data=inline_data(data),
            spacing={"row": 50, "column": 50},
            title=alt.Title(_FRONT, anchor="start", fontSize=11, fontWeight="normal"),
        )
        .resolve_scale(y="independent")
    )
    return chart


def _straight(dash: list[int]) -> alt.Chart:
    line: alt.Chart = alt.Chart().mark_rule(strokeDash=dash, color=palette.light("quiet"))
    return line


# -- size and memory ------------------------------------------------------------------------------


def _cost(rows: Sequence[Speedup], schemes: Sequence[str]) -> alt.HConcatChart | None:
    """Size and memory against time, the schemes of a model joined."""
    data = [*_costs(rows)]
    shown = [m for m in ("size", "memory") if any(row[m] is not None for row in data)]
    if not shown:
        return None
    place = {scheme: number for number, scheme in enumerate(schemes)}
    panels = []
    for measure in shown:
        some = [row | {"place": place[row["scheme"]]} for row in data if row[measure] is not None]
        log = alt.Scale(type="log", nice=False, padding=18)
        x = alt.X(
            f"{measure}:Q",
            title=f"{measure}, MB (logarithmic)",
            scale=log,
            axis=_decades(row[measure] for row in some),
        )
        y = alt.Y(
            "ms:Q",
            title="ms an inference (logarithmic)",
            scale=log,
            axis=_decades(row["ms"] for row in some),
        )
        base = alt.Chart(inline_data(some))
        line = base.mark_line(strokeWidth=1, color=palette.light("line")).encode(
            x=x, y=y, detail="model:N", order="place:Q"
        )
        points = base.mark_point(filled=True, size=45, opacity=1).encode(
            x=x,
            y=y,
            color=_scheme_colour(schemes),
            shape=alt.Shape(
                "scheme:N",
                title="scheme",
                scale=alt.Scale(domain=list(schemes)),
                legend=alt.Legend(orient="top"),
            ),
        )
        names = (
            base.mark_text(align="right", dx=-6, dy=-6, fontSize=9, color=palette.light("quiet"))
            .encode(x=x, y=y, text="model:N")
            .transform_filter("datum.place === 0")
        )
        panels.append(alt.layer(line, points, names).properties(width=340, height=260))
    return alt.hconcat(*panels)


def _decades(values: Iterable[float]) -> alt.Axis:
    """Ticks at 1, 2 and 5 of each power of ten that there are figures in."""
    values = list(values)
    low, high = (math.floor(math.log10(bound)) for bound in (min(values), max(values)))
    ticks = [digit * 10.0**power for power in range(low, high + 1) for digit in (1, 2, 5)]
    return alt.Axis(values=ticks, format="~g")


def _costs(rows: Sequence[Speedup]) -> Iterable[dict[str, Any]]:
    for model, of_model in by_model(rows).items():
        first = next((row for row in of_model if row.baseline_ms), None)
        sides = [
            (row.scheme, row.treatment_ms, row.treatment_size_mb, row.treatment_memory_mb)
            for row in of_model
        ]
        if first is not None:
            baseline = (first.baseline_ms, first.baseline_size_mb, first.baseline_memory_mb)
            sides.insert(0, (first.baseline_scheme, *baseline))
        for scheme, ms, size, memory in sides:
            if ms:
                yield {
                    "model": short(model),
                    "scheme": short(scheme),
                    "ms": ms,
                    "size": size or None,
                    "memory": memory or None,
                }


# -- sweeps ---------------------------------------------------------------------------------------


def _has_place(sweep: Sweep, point: SweepPoint) -> bool:
    """A model's own input size, written 0, has no place on the axis."""
    return point.latency_ms is not None and point.value > 0


#: Panels of a line before the next one begins, and the size of each in pixels.
_SWEEP_COLUMNS, _SWEEP_WIDTH, _SWEEP_HEIGHT = 4, 190, 130


def _sweep_line(some: Sequence[Sweep], schemes: Sequence[str]) -> alt.FacetChart:
    """One model against one factor: a panel for each setting of the other factors that varied, all
    on the same axes."""
    first = some[0]
    factor, per_item = factor_named(first.factor), first.factor == "batch"
    others = [each for each in varying(s.factors for s in some) if each.name != first.factor]
    rows: Rows = [
        {
            "panel": short(", ".join(each.in_title(sweep.factors) for each in others)),
            "scheme": short(point.scheme),
            "value": point.value,
            "ms": (point.latency_ms or 0.0) / items,
            "low": None if point.low_ms is None else point.low_ms / items,
            "high": None if point.high_ms is None else point.high_ms / items,
        }
        for sweep in some
        for point in sweep.points
        if _has_place(sweep, point)
        for items in [point.batch if per_item else 1]
    ]
    what = "ms an item" if per_item else "ms an inference"
    x = alt.X(
        "value:Q",
        title=factor.axis.label if factor.axis else factor.label,
        axis=alt.Axis(values=sorted({row["value"] for row in rows}), format="d"),
        scale=alt.Scale(zero=False, nice=False, padding=12),
    )
    colour = _scheme_colour(schemes)
    interval = (
        alt.Chart()
        .mark_rule(strokeWidth=1.5)
        .encode(x=x, y=alt.Y("low:Q", title=what), y2="high:Q", color=colour)
    )
    line = (
        alt.Chart()
        .mark_line(point=True)
        .encode(x=x, y=alt.Y("ms:Q", title=what, scale=alt.Scale(zero=True)), color=colour)
    )
    panels = list(dict.fromkeys(row["panel"] for row in rows))
    title = sweep_title(first, without=[each.name for each in others])
    chart: alt.FacetChart = (
        alt.layer(interval, line)
        .properties(width=_SWEEP_WIDTH, height=_SWEEP_HEIGHT)
        .facet(
            facet=alt.Facet("panel:N", sort=panels, header=header()),
            columns=min(_SWEEP_COLUMNS, len(panels)),
            data=inline_data(rows),
            title=alt.Title(title, anchor="start", fontSize=12),
        )
    )
    return chart
