"""What a scheme's speed costs: speed-up, change of accuracy and size side by side. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from orchestrator.analysis.table import AccuracyComparison, Speedup, TradeOff
from orchestrator.factors import Factors

_Place = tuple[str, Factors, str]


def trade_offs(
    rows: Iterable[Speedup], accuracy: Iterable[AccuracyComparison]
) -> tuple[TradeOff, ...]:
    """Return every scheme of which a speed-up and a change of accuracy are known, in the order of
    ``rows``, the baseline of each model before them, and mark those that nothing dominates."""
    known = {(a.device, a.factors, a.model, a.scheme): a for a in accuracy}
    places: dict[_Place, list[TradeOff]] = {}
    for row in rows:
        factors = row.factors
        if factors is None or row.speedup is None:
            continue
        found = known.get((row.device, factors, row.model, row.scheme))
        if found is None or found.difference is None:
            continue
        place = row.device, factors, row.model
        places.setdefault(place, [_baseline(row, factors)]).append(_treatment(row, factors, found))
    return tuple(each for some in places.values() for each in with_front(some))


def with_front(some: Sequence[TradeOff]) -> tuple[TradeOff, ...]:
    """Mark those that none of the others is as good as in speed, accuracy and size, and better in
    one of them, by the estimates. One without a known size is on the front."""
    return tuple(
        replace(one, front=not any(_dominates(each, one) for each in some)) for one in some
    )


def _dominates(one: TradeOff, other: TradeOff) -> bool:
    if one.size_mb is None or other.size_mb is None:
        return False
    better = (
        one.speedup - other.speedup,
        one.difference - other.difference,
        other.size_mb - one.size_mb,
    )
    return min(better) >= 0 and max(better) > 0


def _baseline(row: Speedup, factors: Factors) -> TradeOff:
    return TradeOff(
        device=row.device,
        model=row.model,
        factors=factors,
        scheme=row.baseline_scheme,
        speedup=1.0,
        ci_low=None,
        ci_high=None,
        difference=0.0,
        low=None,
        high=None,
        size_mb=row.baseline_size_mb,
        size_share=None if row.baseline_size_mb is None else 1.0,
    )


def _treatment(row: Speedup, factors: Factors, found: AccuracyComparison) -> TradeOff:
    sizes = row.treatment_size_mb, row.baseline_size_mb
    return TradeOff(
        device=row.device,
        model=row.model,
        factors=factors,
        scheme=row.scheme,
        speedup=row.speedup or 1.0,
        ci_low=row.ci_low,
        ci_high=row.ci_high,
        difference=found.difference or 0.0,
        low=found.low,
        high=found.high,
        size_mb=row.treatment_size_mb,
        size_share=sizes[0] / sizes[1] if sizes[0] is not None and sizes[1] else None,
    )
