"""Latency against a factor that varied: batch, threads, input size. Pure.

Every point is one group's side: the Hodges-Lehmann centre of its blocks' latencies with the exact
signed-rank 95 % interval, both of the logarithm, as for speed-ups. The second baseline of a block
is not used, so that every scheme has one sample a block.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from orchestrator.analysis.audit import most_common
from orchestrator.analysis.sides.groups import ComparisonGroup
from orchestrator.analysis.sides.pairing import Statistic
from orchestrator.analysis.sides.side import Side
from orchestrator.analysis.statistics import estimate
from orchestrator.analysis.table import Speedup, Sweep, SweepPoint
from orchestrator.factors import SWEPT, Factor, Factors
from orchestrator.measurement import Outcome
from orchestrator.runs.records import RunRecord, TrialRecord


@dataclass(frozen=True)
class _At:
    """A side, and where it stands."""

    device: str
    model: str
    factors: Factors
    side: Side


def sweeps(
    run: RunRecord, groups: Iterable[ComparisonGroup], rows: Sequence[Speedup]
) -> tuple[Sweep, ...]:
    """A sweep for each axis that varied, each device and model, and each setting of the rest."""
    placed = [
        _At(group.device, group.model, group.factors, side)
        for group in groups
        if group.factors is not None
        for side in group.sides
    ]
    speedups: dict[object, Speedup] = {
        (row.device, row.model, row.scheme, row.factors): row for row in rows
    }
    found: dict[tuple[str, str, str, Factors], list[SweepPoint]] = {}
    for axis in SWEPT:
        # an imported log may not tell its threads, written 0; a model's own input size is 0 as well
        told = [at for at in placed if axis.default == 0 or axis.of(at.factors) > 0]
        settings: dict[str, set[int]] = {}
        for at in told:
            settings.setdefault(at.device, set()).add(axis.of(at.factors))
        for at in told:
            if len(settings[at.device]) < 2:
                continue
            rest = axis.without(at.factors)
            point = _point(at, axis, speedups)
            found.setdefault((axis.name, at.device, at.model, rest), []).append(point)
    order = _Order(run)
    return tuple(
        Sweep(axis, device, model, rest, tuple(sorted(points, key=order.point)))
        for (axis, device, model, rest), points in sorted(found.items(), key=order.sweep)
        if len({point.value for point in points}) > 1
    )


def _point(at: _At, axis: Factor, speedups: Mapping[object, Speedup]) -> SweepPoint:
    side = at.side
    times = side.times[Statistic.CENTRE, 0].values()
    found = estimate([math.log(time) for time in times]) if times else None
    interval = found.interval if found else None
    row = speedups.get((at.device, at.model, side.scheme, at.factors))
    return SweepPoint(
        scheme=side.scheme,
        value=axis.of(at.factors),
        batch=at.factors.batch,
        blocks=len(times),
        latency_ms=math.exp(found.centre) / 1000 if found else None,
        low_ms=math.exp(interval.low) / 1000 if interval else None,
        high_ms=math.exp(interval.high) / 1000 if interval else None,
        speedup=row.speedup if row else None,
        speedup_low=row.ci_low if row else None,
        speedup_high=row.ci_high if row else None,
        problem="" if found else _problem(side.records),
    )


def _problem(records: Sequence[TrialRecord]) -> str:
    """``killed: out of memory: …``: how most of the trials that did not end ok ended."""
    bad = [r for r in records if r.outcome is not Outcome.OK]
    if not bad:
        return "not measured"
    return most_common([f"{r.outcome.value}: {r.reason or 'no reason recorded'}" for r in bad])


class _Order:
    """Devices as the inventory has them; schemes as the manifest has them, then values."""

    def __init__(self, run: RunRecord) -> None:
        names = dict.fromkeys(variant.scheme for variant in run.artifacts)
        self._axes = {axis.name: place for place, axis in enumerate(SWEPT)}
        self._devices = {name: place for place, name in enumerate(run.devices)}
        self._places = {name: place for place, name in enumerate(names)}

    def sweep(self, item: tuple[tuple[str, str, str, Factors], object]) -> tuple[object, ...]:
        axis, device, model, rest = item[0]
        return (self._axes[axis], self._devices.get(device, 0), device, model, rest)

    def point(self, point: SweepPoint) -> tuple[int, str, int]:
        place = self._places.get(point.scheme, len(self._places))
        return (place, point.scheme, point.value)
