"""Figures other than time, each compared by its own rule, with a floor and a verdict. Pure.

The pairs are those of the speed-ups, block by block, and so are interval, noise floor and Holm's
correction, which is taken over the comparisons of one figure.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from statistics import median

from orchestrator.analysis.audit import audit
from orchestrator.analysis.sides.groups import ComparisonGroup
from orchestrator.analysis.sides.pairing import (
    Centres,
    Pairs,
    amounts,
    compared_replicate,
    figures_of,
    pair,
)
from orchestrator.analysis.sides.side import Side
from orchestrator.analysis.speedups.verdicts import doubt
from orchestrator.analysis.statistics import (
    Estimate,
    Interval,
    estimate,
    floor_of,
    holm_of_known,
    p_value,
)
from orchestrator.analysis.table import FigureComparison, FigureVerdict
from orchestrator.figures import Comparison, Figure
from orchestrator.runs.records import RunRecord

#: What the audit says of times alone: their precision, and that there are none.
_OF_TIMES = ("noisy", "no_time")

_CERTAIN = (
    "the interval excludes {nothing}, the effect is beyond the noise floor, and it passes Holm's "
    "correction"
)


def without_time(group: ComparisonGroup) -> bool:
    """Whether the group's trials found figures, and none of them a time."""
    found = [r.measurement for side in group.sides for r in side.timed if r.measurement is not None]
    return bool(found) and all(each.steady is None for each in found)


def compare_figures(
    run: RunRecord, groups: Iterable[ComparisonGroup]
) -> tuple[FigureComparison, ...]:
    """Compare every figure other than time of every treatment, in the order of the groups."""
    found = list(_rows(run, groups))
    adjusted = {
        name: holm_of_known([p if row.figure.name == name else None for row, p in found])
        for name in {row.figure.name for row, _ in found}
    }
    return tuple(
        _judged(row, adjusted[row.figure.name][place]) for place, (row, _) in enumerate(found)
    )


def _rows(
    run: RunRecord, groups: Iterable[ComparisonGroup]
) -> Iterator[tuple[FigureComparison, float | None]]:
    """Compare each figure; the verdict is still open, its p-value given, gains not yet as they are
    shown."""
    for group in groups:
        factors = group.factors
        if factors is None:
            continue
        for figure in figures_of(r for side in group.sides for r in side.records):
            base = amounts(group.baseline.records, figure)
            floor = floor_of(pair(base.get(0, {}), base.get(1, {}), figure).logs)
            for side in group.treatments.values():
                pairs = _pairs(group.baseline, base, side, figure)
                findings = tuple(
                    finding
                    for finding in audit(run, group.baseline, side, pairs, device=group.device)
                    if finding.code not in _OF_TIMES
                )
                forbidden = any(finding.forbids for finding in findings)
                found = None if forbidden or not len(pairs) else estimate(pairs.logs)
                row = FigureComparison(
                    device=group.device,
                    model=group.model,
                    factors=factors,
                    scheme=side.scheme,
                    baseline_scheme=group.baseline.scheme,
                    figure=figure,
                    blocks=len(pairs),
                    baseline=_median(pairs.baseline),
                    treatment=_median(pairs.treatment),
                    gain=found.centre if found else None,
                    low=found.interval.low if found and found.interval else None,
                    high=found.interval.high if found and found.interval else None,
                    noise_floor=floor,
                    p_adjusted=None,
                    verdict=FigureVerdict.INVALID,
                    reason="",
                    findings=findings,
                )
                yield row, p_value(pairs.logs) if found else None


def _pairs(baseline: Side, base: Mapping[int, Centres], treatment: Side, figure: Figure) -> Pairs:
    replicate = compared_replicate(treatment.partners, baseline.records)
    own = amounts(treatment.records, figure).get(0, {})
    return pair(base.get(replicate, {}), own, figure)


def _median(values: Sequence[float]) -> float | None:
    return median(values) if values else None


def _judged(row: FigureComparison, p_adjusted: float | None) -> FigureComparison:
    figure = row.figure
    floor = None if row.noise_floor is None else figure.shown(math.log(row.noise_floor))
    if row.gain is None:
        because = next((f for f in row.findings if f.forbids), None)
        reason = because.message if because else "nothing was measured"
        return replace(row, noise_floor=floor, reason=reason)
    interval = None
    if row.low is not None and row.high is not None:
        interval = Interval(row.low, row.high)
    nothing = "1" if figure.comparison is Comparison.RATIO else "0"
    why = doubt(Estimate(row.gain, interval), row.noise_floor, p_adjusted, nothing)
    verdict = FigureVerdict.BETTER if row.gain > 0 else FigureVerdict.WORSE
    return replace(
        row,
        gain=figure.shown(row.gain),
        low=None if interval is None else figure.shown(interval.low),
        high=None if interval is None else figure.shown(interval.high),
        noise_floor=floor,
        p_adjusted=p_adjusted,
        verdict=FigureVerdict.INDISTINGUISHABLE if why else verdict,
        reason=why or _CERTAIN.format(nothing=nothing),
    )
