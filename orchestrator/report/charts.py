"""sweep.svg and sweep.png: latency against the factors that varied.

Drawn by Vega-Lite in the process itself, offline, where the extra ``charts`` is installed; where it
is not there is no chart, and the tables say the same.
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Sequence
from typing import Any

from orchestrator.analysis.table import Sweep, SweepPoint
from orchestrator.report.clean import clean
from orchestrator.report.sweep import title

#: Colours that stay apart for most kinds of colour blindness (Okabe and Ito).
_COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000"]
_SCHEMA = "https://vega.github.io/schema/vega-lite/v5.json"
_PNG_SCALE = 2.0
_AXES = {"batch": "batch", "threads": "threads", "input_size": "input size, pixels"}


def available() -> bool:
    """Whether the extra ``charts`` is installed."""
    return importlib.util.find_spec("vl_convert") is not None


def draw(sweeps: Sequence[Sweep]) -> dict[str, bytes]:
    """The chart as SVG and PNG, by file name; none where nothing varied or nothing can draw."""
    shown = [sweep for sweep in sweeps if any(_has_place(sweep, p) for p in sweep.points)]
    if not shown or not available():
        return {}
    import vl_convert  # noqa: PLC0415  # 30 MB of it, for runs with a sweep alone

    text = json.dumps(specification(shown))
    svg = vl_convert.vegalite_to_svg(text)
    png = vl_convert.vegalite_to_png(text, scale=_PNG_SCALE)
    return {"sweep.svg": svg.encode(), "sweep.png": bytes(png)}


def specification(sweeps: Sequence[Sweep]) -> dict[str, Any]:
    """The Vega-Lite document: a panel a sweep, a line a scheme, its intervals over blocks."""
    return {
        "$schema": _SCHEMA,
        "background": "white",
        "vconcat": [_panel(sweep) for sweep in sweeps],
        "resolve": {"scale": {"color": "shared"}},
    }


def _has_place(sweep: Sweep, point: SweepPoint) -> bool:
    """A model's own input size, written 0, has no place on the axis."""
    return point.latency_ms is not None and bool(sweep.factor != "input_size" or point.value)


def _panel(sweep: Sweep) -> dict[str, Any]:
    per_item = sweep.factor == "batch"
    rows = [
        {
            "scheme": clean(point.scheme),
            "value": point.value,
            "ms": (point.latency_ms or 0.0) / items,
            "low": None if point.low_ms is None else point.low_ms / items,
            "high": None if point.high_ms is None else point.high_ms / items,
        }
        for point in sweep.points
        for items in [point.batch if per_item else 1]
        if _has_place(sweep, point)
    ]
    x = {
        "field": "value",
        "type": "quantitative",
        "title": _AXES[sweep.factor],
        "axis": {
            "values": sorted({p.value for p in sweep.points if _has_place(sweep, p)}),
            "format": "d",
        },
        "scale": {"zero": False, "nice": False, "padding": 12},
    }
    colour = {
        "field": "scheme",
        "type": "nominal",
        "title": "scheme",
        "scale": {"range": _COLOURS},
    }
    what = "ms an item" if per_item else "ms an inference"
    latency = {"field": "ms", "type": "quantitative", "title": what, "scale": {"zero": True}}
    bar = {
        "mark": {"type": "rule", "strokeWidth": 1.5},
        "encoding": {
            "x": x,
            "y": {"field": "low", "type": "quantitative", "title": what},
            "y2": {"field": "high"},
            "color": colour,
        },
    }
    line = {
        "mark": {"type": "line", "point": True},
        "encoding": {"x": x, "y": latency, "color": colour},
    }
    return {
        "title": {"text": title(sweep), "anchor": "start", "fontSize": 12},
        "width": 480,
        "height": 240,
        "data": {"values": rows},
        "layer": [bar, line],
    }
