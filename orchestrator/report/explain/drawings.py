"""The charts of an explanation, as altair describes them: the ladder, the sign map, the effects."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import altair as alt
from altair.utils.schemapi import debug_mode

from orchestrator.analysis.explain.attribution import Effect
from orchestrator.analysis.explain.cells import SETTING, levels_of
from orchestrator.analysis.explain.explanation import Explanation
from orchestrator.analysis.table import Speedup
from orchestrator.isa.levels import capped
from orchestrator.report import drawings, figures, palette
from orchestrator.report.clean import clean
from orchestrator.report.drawing import Drawing
from orchestrator.report.drawings import TICKS, Rows, finished, inline_data, short
from orchestrator.report.explain import words
from orchestrator.report.notes import SIGNS, place_in_full

_ONE_MODEL = "all models"
#: Bounds of an axis of ratios reach so much beyond what is drawn.
_MARGIN = 1.08


def describe(found: Explanation, most: int | None = None) -> tuple[Drawing, ...]:
    """Every chart for which there are figures; of so many devices at ``most``."""
    with debug_mode(drawings.VALIDATE):
        return tuple(_describe(found, most))


def _describe(found: Explanation, most: int | None) -> Iterable[Drawing]:
    for number, (device, levels) in enumerate([*found.factors.items()][:most], 1):
        rows = [row for row in found.usable if row.device == device]
        gaps = [gap.cell.row for gap in found.gaps if gap.cell.row.device == device]
        charts = {
            "ladder": _ladder(rows, levels.get("isa", ()), found),
            "sign-map": _sign_map([*rows, *gaps], found),
            "effects": _effects([e for e in found.effects if e.device == device]),
        }
        for kind, chart in charts.items():
            if chart is not None:
                name = f"explain-{kind}-{number}-{drawings.slug(device)}"
                yield Drawing(name, kind, short(device), finished(chart))


def _log_axis(values: Iterable[float | None]) -> tuple[alt.Scale, alt.Axis]:
    known = [1.0, *(value for value in values if value is not None and 0 < value < math.inf)]
    low, high = min(known) / _MARGIN, max(known) * _MARGIN
    ticks = [tick for tick in TICKS if low <= tick <= high]
    return (
        alt.Scale(type="log", domain=[low, high], nice=False),
        alt.Axis(values=ticks, format="~g", labelOverlap=True),
    )


# -- the ladder -----------------------------------------------------------------------------------


def _ladder(
    rows: Sequence[Speedup], isas: Sequence[str], found: Explanation
) -> alt.FacetChart | None:
    """Speed-up against the instruction set, a line a scheme; a panel a model and other setting."""
    if len(isas) < 2 or not rows:
        return None
    steps = {isa: _step(rows[0].device, isa) for isa in isas}
    data: Rows = [
        {
            "panel": ", ".join(filter(None, (short(row.model), _rest(row, found)))),
            "scheme": short(row.scheme),
            "isa": steps[row.isa],
            "speedup": row.speedup,
            "low": row.ci_low,
            "high": row.ci_high,
            "verdict": row.verdict.value,
        }
        for row in rows
    ]
    scale, axis = _log_axis(row[n] for row in data for n in ("low", "high", "speedup"))
    schemes = list(dict.fromkeys(row["scheme"] for row in data))
    x = alt.X("isa:N", sort=list(steps.values()), title=None,
              axis=alt.Axis(labelAngle=-30, labelLimit=320))  # fmt: skip
    title = "speed-up over the baseline (logarithmic)"
    y = alt.Y("speedup:Q", scale=scale, axis=axis, title=title)
    colour = alt.Color(
        "scheme:N",
        title="scheme",
        scale=alt.Scale(domain=schemes, range=_colours(len(schemes))),
        legend=alt.Legend(orient="top"),
    )
    one = (
        alt.Chart()
        .mark_rule(strokeDash=[3, 3], color=palette.light("quiet"))
        .encode(y=alt.datum(1, type="quantitative", scale=scale, axis=axis, title=title))
    )
    line = alt.Chart().mark_line(strokeWidth=1.5).encode(x=x, y=y, color=colour)
    interval = (
        alt.Chart()
        .mark_rule(strokeWidth=1.5)
        .encode(x=x, y=alt.Y("low:Q", scale=scale, axis=axis, title=title), y2="high:Q",
                color=colour)
    )  # fmt: skip
    verdicts = [verdict.value for verdict in SIGNS]
    shape = alt.Shape(
        "verdict:N",
        title="verdict",
        scale=alt.Scale(
            domain=verdicts[:3], range=["triangle-up", "triangle-down", "circle"]
        ),
        legend=alt.Legend(orient="top"),
    )  # fmt: skip
    point = (
        alt.Chart()
        .mark_point(filled=True, size=55, opacity=1)
        .encode(x=x, y=y, color=colour, shape=shape)
    )
    panels = list(dict.fromkeys(row["panel"] for row in data))
    chart: alt.FacetChart = (
        alt.layer(one, line, interval, point)
        .properties(width=max(180, 46 * len(isas)), height=170)
        .facet(
            facet=alt.Facet("panel:N", sort=panels, header=alt.Header(title=None, labelLimit=260)),
            columns=min(3, len(panels)),
            data=inline_data(data),
            spacing={"row": 40, "column": 50},
        )
        .resolve_axis(x="independent", y="independent")
    )
    return chart


def _step(device: str, isa: str) -> str:
    return clean(place_in_full(device, isa)) if capped(isa) else isa


def _rest(row: Speedup, found: Explanation) -> str:
    varied = found.factors.get(row.device, {})
    levels = levels_of(row)
    names = [name for name in SETTING if name in varied and name != "isa"]
    return ", ".join(clean(words.label(name, levels[name], row)) for name in names)


def _colours(count: int) -> list[str]:
    return [palette.SCHEMES[place % len(palette.SCHEMES)] for place in range(count)]


# -- the sign map ---------------------------------------------------------------------------------


def _sign_map(rows: Sequence[Speedup], found: Explanation) -> alt.FacetChart | None:
    """Settings × models, a panel a scheme: the sign of each comparison, by its verdict alone."""
    sent = [row for row in rows if row.factors is not None]
    data: Rows = [
        {
            "model": short(row.model),
            "scheme": short(row.scheme),
            "setting": clean(words.place(row, found)),
            "verdict": row.verdict.value,
            "shown": (f"{figures.significant(row.speedup)} " if row.speedup else "")
            + SIGNS[row.verdict],
        }
        for row in sorted(sent, key=lambda row: _order(row, found))
    ]
    names = ("model", "scheme", "setting")
    models, schemes, settings = (list(dict.fromkeys(row[n] for row in data)) for n in names)
    if len(settings) < 2:
        return None
    x = alt.X("model:N", sort=models, title=None, axis=alt.Axis(labelAngle=-30, orient="top"))
    y = alt.Y("setting:N", sort=settings, title=None, axis=alt.Axis(labelLimit=420))
    cells = {
        "faster": palette.CELL_FASTER,
        "slower": palette.CELL_SLOWER,
        "indistinguishable": palette.CELL_SAME,
        "invalid": palette.CELL_INVALID,
    }
    colour = alt.Color(
        "verdict:N", legend=None, scale=alt.Scale(domain=[*cells], range=[*cells.values()])
    )
    squares = alt.Chart().mark_rect().encode(x=x, y=y, color=colour)
    text = (
        alt.Chart().mark_text(fontSize=11, color=palette.CELL_INK).encode(x=x, y=y, text="shown:N")
    )
    chart: alt.FacetChart = (
        alt.layer(squares, text)
        .properties(width=alt.Step(76), height=alt.Step(24))
        .facet(
            facet=alt.Facet("scheme:N", sort=schemes, header=alt.Header(title=None)),
            columns=max(1, 900 // (76 * len(models) + 420)),
            data=inline_data(data),
        )
        .resolve_axis(x="independent", y="independent")
    )
    return chart


def _order(row: Speedup, found: Explanation) -> list[int]:
    """Settings as the factors have their levels."""
    varied, levels = found.factors.get(row.device, {}), levels_of(row)
    return [varied[name].index(levels[name]) for name in SETTING if name in varied]


# -- effects --------------------------------------------------------------------------------------


def _effects(effects: Sequence[Effect]) -> alt.LayerChart | None:
    """Draw each level against its reference, over all models and for each."""
    data: Rows = [
        {
            "change": clean(_change(each)),
            "scope": short(each.model or _ONE_MODEL),
            "ratio": each.found.ratio,
            "low": each.found.low,
            "high": each.found.high,
        }
        for each in effects
        if each.found is not None
    ]
    if not data:
        return None
    scale, axis = _log_axis(row[n] for row in data for n in ("low", "high", "ratio"))
    scopes = list(dict.fromkeys(row["scope"] for row in data))
    changes = list(dict.fromkeys(row["change"] for row in data))
    title = "multiplies the speed-up by (logarithmic)"
    y: dict[str, Any] = {
        "y": alt.Y("change:N", sort=changes, title=None, axis=alt.Axis(labelLimit=420)),
        "yOffset": alt.YOffset("scope:N", sort=scopes),
    }
    overall = [palette.light("ink")] if scopes[0] == _ONE_MODEL else []
    colour = alt.Color(
        "scope:N",
        title="models",
        scale=alt.Scale(domain=scopes, range=overall + _colours(len(scopes) - len(overall))),
        legend=alt.Legend(orient="top", columns=4),
    )
    base = alt.Chart(inline_data(data))
    one = (
        alt.Chart(inline_data([{}]))
        .mark_rule(strokeDash=[3, 3], color=palette.light("quiet"))
        .encode(x=alt.datum(1, type="quantitative", scale=scale, axis=axis, title=title))
    )
    interval = base.mark_rule(strokeWidth=1.5).encode(
        x=alt.X("low:Q", scale=scale, axis=axis, title=title), x2="high:Q", color=colour, **y
    )
    point = base.mark_point(filled=True, size=40, opacity=1).encode(
        x=alt.X("ratio:Q", scale=scale, axis=axis, title=title), color=colour, **y
    )
    chart: alt.LayerChart = alt.layer(one, interval, point).properties(
        width=430, height=alt.Step(14)
    )
    return chart


def _change(each: Effect) -> str:
    """Short: the references are in the table."""
    if each.factors == ("isa",):
        return place_in_full(each.device, each.levels[0])
    return words.levels(each)
