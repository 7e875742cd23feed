"""Charts as files and inside a page: one description each, drawn offline.

``drawings`` describes them with altair, and Vega-Lite (vl-convert) renders them, both in a child
process (``draughtsman``), where the extra ``charts`` is installed; where it is not there is no
chart, and the tables say the same.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from orchestrator.analysis.table import SpeedupTable, Sweep
from orchestrator.report.draughtsman import Draughtsman, NotDrawnError
from orchestrator.report.drawing import Drawing

if TYPE_CHECKING:
    from orchestrator.analysis.explain.explanation import Explanation
    from orchestrator.report.background import Background

#: Whether every chart is held against Vega-Lite's schema (see ``drawings``).
VALIDATE = False

#: What to install for charts.
EXTRA = "pip install 'orchestrate-quantized[charts]'"

#: Of how many devices, or settings of one, a page has charts: some seconds each to draw, and some
#: 300 kB.
MOST_DRAWN = 12

_DRAUGHTSMAN = Draughtsman()


def available() -> bool:
    """Whether the extra ``charts`` is installed."""
    return all(importlib.util.find_spec(name) for name in ("altair", "vl_convert"))


def drawings(
    table: SpeedupTable, background: Background | None = None, most: int | None = None
) -> tuple[Drawing, ...]:
    """Every chart that the table has figures for, of ``most`` sections of it at most; none without
    the extra. Raises NotDrawnError, an OrchestrateError."""
    curves = () if background is None else background.curves
    return _described("table", table, curves, most)


def explanation(found: Explanation, most: int | None = None) -> tuple[Drawing, ...]:
    """Every chart of an explanation, of ``most`` devices of it at most; none without the extra.
    Raises NotDrawnError, an OrchestrateError."""
    return _described("explanation", found, most)


def _described(what: str, *arguments: object) -> tuple[Drawing, ...]:
    if not available():
        return ()
    return _DRAUGHTSMAN.describe(what, *arguments, validate=VALIDATE)


def draw(sweeps: Sequence[Sweep], say: Callable[[str], None]) -> dict[str, bytes]:
    """The chart of the sweeps as SVG and PNG, by file name; none where nothing varied or nothing
    can draw. Of one that cannot be drawn ``say`` is told why."""
    if not sweeps:
        return {}
    try:
        return all_files(_described("sweeps", sweeps), say)
    except NotDrawnError as exc:
        say(str(exc))
        return {}


def all_files(some: Iterable[Drawing], say: Callable[[str], None]) -> dict[str, bytes]:
    """The files of all that can be drawn; of the others ``say`` is told why they are left out."""
    found: dict[str, bytes] = {}
    for drawing in some:
        try:
            found |= files(drawing)
        except NotDrawnError as exc:
            say(str(exc))
    return found


def files(drawing: Drawing) -> dict[str, bytes]:
    """One chart as ``NAME.svg`` and ``NAME.png``."""
    return {f"{drawing.name}.svg": to_svg(drawing).encode(), f"{drawing.name}.png": to_png(drawing)}


def to_svg(drawing: Drawing) -> str:
    """Raises NotDrawnError, an OrchestrateError, where it cannot be drawn."""
    return _DRAUGHTSMAN.draw(drawing, "svg").decode()


def to_png(drawing: Drawing) -> bytes:
    """Raises NotDrawnError, an OrchestrateError, where it cannot be drawn."""
    return _DRAUGHTSMAN.draw(drawing, "png")
