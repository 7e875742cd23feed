"""Charts as files and inside a page: one description each, drawn in the process itself, offline.

``drawings`` describes them with altair, and Vega-Lite (vl-convert) renders them, where the extra
``charts`` is installed; where it is not there is no chart, and the tables say the same.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from typing import TYPE_CHECKING

from orchestrator.analysis.table import SpeedupTable, Sweep
from orchestrator.errors import OrchestrateError

if TYPE_CHECKING:
    from orchestrator.analysis.explain.explanation import Explanation
    from orchestrator.report.background import Background
    from orchestrator.report.drawings import Drawing

#: What to install for charts.
EXTRA = "pip install 'orchestrate-quantized[charts]'"

#: Of how many devices, or settings of one, a page has charts: some seconds each to draw, and some
#: 300 kB.
MOST_DRAWN = 12

_PNG_SCALE = 2.0


def available() -> bool:
    """Whether the extra ``charts`` is installed."""
    return all(importlib.util.find_spec(name) for name in ("altair", "vl_convert"))


def drawings(
    table: SpeedupTable, background: Background | None = None, most: int | None = None
) -> tuple[Drawing, ...]:
    """Every chart that the table has figures for, of ``most`` sections of it at most; none without
    the extra."""
    if not available():
        return ()
    from orchestrator.report.drawings import describe  # noqa: PLC0415  # altair takes a second

    return describe(table, () if background is None else background.curves, most)


def explanation(found: Explanation, most: int | None = None) -> tuple[Drawing, ...]:
    """Every chart of an explanation, of ``most`` devices of it at most; none without the extra."""
    if not available():
        return ()
    from orchestrator.report.explain.drawings import describe  # noqa: PLC0415  # as above

    return describe(found, most)


def draw(sweeps: Sequence[Sweep]) -> dict[str, bytes]:
    """The chart of the sweeps as SVG and PNG, by file name; none where nothing varied or nothing
    can draw."""
    if not available():
        return {}
    from orchestrator.report.drawings import describe_sweeps  # noqa: PLC0415  # as above

    found: dict[str, bytes] = {}
    for drawing in describe_sweeps(sweeps):
        found |= files(drawing)
    return found


def files(drawing: Drawing) -> dict[str, bytes]:
    """One chart as ``NAME.svg`` and ``NAME.png``."""
    return {f"{drawing.name}.svg": to_svg(drawing).encode(), f"{drawing.name}.png": to_png(drawing)}


def to_svg(drawing: Drawing) -> str:
    """Raises OrchestrateError where Vega-Lite refuses the chart."""
    import vl_convert  # noqa: PLC0415  # 30 MB of it, for charts alone

    try:
        # our charts carry their figures with them; none may be fetched
        svg: str = vl_convert.vegalite_to_svg({**drawing.specification}, allowed_base_urls=[])
    except ValueError as exc:
        raise _refused(drawing, exc) from exc
    return svg


def to_png(drawing: Drawing) -> bytes:
    """Raises OrchestrateError where Vega-Lite refuses the chart."""
    import vl_convert  # noqa: PLC0415  # as above

    try:
        return bytes(
            vl_convert.vegalite_to_png(
                {**drawing.specification}, scale=_PNG_SCALE, allowed_base_urls=[]
            )
        )
    except ValueError as exc:
        raise _refused(drawing, exc) from exc


def _refused(drawing: Drawing, exc: ValueError) -> OrchestrateError:
    why = str(exc).strip().splitlines()
    return OrchestrateError(
        f"the chart {drawing.name} cannot be drawn ({why[0] if why else 'no reason given'}); "
        f"the tables have its figures; update the extra: {EXTRA}"
    )
