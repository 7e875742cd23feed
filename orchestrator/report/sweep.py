"""Latency against a factor, as rows for every format."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from orchestrator.analysis.table import Sweep, SweepPoint
from orchestrator.factors import factor_named
from orchestrator.frameworks.settings import title_of
from orchestrator.report.clean import clean
from orchestrator.report.figures import NONE, bounded, ratio
from orchestrator.report.notes import place_in_full

HEADER = ("Scheme", "Value", "ms an inference", "ms an item", "Speed-up", "n")

METHOD = (
    "Latency: centre over blocks of each process's median, with its 95 % interval (Hodges-Lehmann "
    "and signed-rank, of the logarithm); an item is one of a batch. Speed-up: over the baseline "
    "under the same factors."
)


def title(sweep: Sweep, without: Collection[str] = ()) -> str:
    """``Latency against batch: foo on here (litert, delegate xnnpack, threads 1, isa native)``;
    ``without`` names factors that vary under the title, too."""
    where = place_in_full(sweep.device, sweep.factors.isa)
    held = title_of(sweep.factors, without=(sweep.factor, *without))
    return clean(f"Latency against {_name(sweep)}: {sweep.model} on {where} ({held})")


def _name(sweep: Sweep) -> str:
    return factor_named(sweep.factor).label


def header(sweep: Sweep) -> tuple[str, ...]:
    return tuple(_name(sweep).capitalize() if n == "Value" else n for n in HEADER)


def value_of(sweep: Sweep, point: SweepPoint) -> str:
    """Show the level of a point; the level 0 is the model's own."""
    return str(point.value) if point.value else "own"


def cells(sweep: Sweep) -> Sequence[tuple[str, ...]]:
    return [
        (
            clean(point.scheme),
            value_of(sweep, point),
            _latency(point, 1),
            _latency(point, point.batch),
            ratio(point.speedup, point.speedup_low, point.speedup_high)
            if point.speedup is not None
            else NONE,
            str(point.blocks),
        )
        for point in sweep.points
    ]


def problems(sweep: Sweep) -> list[str]:
    """A line a point that was not measured, and why."""
    return [
        clean(f"{point.scheme}, {_name(sweep)} {value_of(sweep, point)}: {point.problem}")
        for point in sweep.points
        if point.problem
    ]


def _latency(point: SweepPoint, items: int) -> str:
    if point.latency_ms is None:
        return NONE
    low, high = (None if ms is None else ms / items for ms in (point.low_ms, point.high_ms))
    return bounded(point.latency_ms / items, low, high)
