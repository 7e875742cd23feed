"""Numbers as people read them: never more digits than are certain."""

from __future__ import annotations

from decimal import ROUND_CEILING, ROUND_FLOOR, ROUND_HALF_EVEN, Decimal

from orchestrator.analysis.table import NoiseFloor, Speedup

NONE = "–"


def significant(value: float, digits: int = 3, rounding: str = ROUND_HALF_EVEN) -> str:
    """``value`` with so many significant digits, never in scientific notation."""
    exact = _exact(value)
    if not exact:
        return "0"
    for _ in range(2):  # 9.996 rounds up to 10.00, which has a digit too many
        place = Decimal(1).scaleb(exact.adjusted() - digits + 1)
        exact = exact.quantize(place, rounding=rounding)
    return f"{exact:f}"


def number(value: float | None) -> str:
    return NONE if value is None else significant(value)


def ratio(centre: float | None, low: float | None, high: float | None, digits: int = 3) -> str:
    """``3.24× [3.21, 3.27]``, all to the decimal place that the lower bound needs.

    Bounds are rounded outwards: rounding must not make an interval narrower.
    """
    if centre is None:
        return NONE
    if low is None or high is None:
        return f"{significant(centre, digits)}× [no interval]"
    place = Decimal(1).scaleb(_exact(low).adjusted() - digits + 1)
    bounds = f"[{_to(low, place, ROUND_FLOOR)}, {_to(high, place, ROUND_CEILING)}]"
    return f"{_to(centre, place)}× {bounds}"


def difference(centre: float | None, low: float | None, high: float | None) -> str:
    """``−0.012 [−0.031, +0.008]``, all to the decimal place that two digits of the interval's width
    need; bounds are rounded outwards."""
    if centre is None:
        return NONE
    if low is None or high is None:
        return f"{_signed(_exact(centre))} [no interval]"
    width = _exact(high - low) or _exact(max(abs(low), abs(high), 0.001))
    place = Decimal(1).scaleb(width.adjusted() - 1)
    bounds = (
        _exact(bound).quantize(place, rounding=rounding)
        for bound, rounding in ((low, ROUND_FLOOR), (high, ROUND_CEILING))
    )
    shown = _signed(_exact(centre).quantize(place, rounding=ROUND_HALF_EVEN))
    return f"{shown} [{', '.join(map(_signed, bounds))}]"


def _signed(value: Decimal) -> str:
    sign = "+" if value > 0 else "−" if value < 0 else ""
    return f"{sign}{abs(value):f}"


def bounded(centre: float, low: float | None, high: float | None) -> str:
    """``12.4 [12.1, 12.9]``, rounded as a ratio is."""
    return ratio(centre, low, high).replace("×", "", 1)


def speedup(row: Speedup) -> str:
    return ratio(row.speedup, row.ci_low, row.ci_high)


def noise_floor(floor: NoiseFloor) -> str:
    """``1.013 (A/A 1.0021× [0.9951, 1.0128], 12 blocks)``; digits enough to see it is not 1."""
    if floor.floor is None:
        return f"unknown, only {counted(floor.blocks, 'block')} of A/A"
    aa = ratio(floor.ratio, floor.low, floor.high, 4)
    blocks = counted(floor.blocks, "block")
    return f"{significant(floor.floor, 4, ROUND_CEILING)} (A/A {aa}, {blocks})"


def change(before: float | None, after: float | None) -> str:
    """``112 → 28.1``, or a dash where neither is known."""
    return NONE if before is None and after is None else f"{number(before)} → {number(after)}"


def precision(row: Speedup) -> str:
    """The achieved half-width of the interval in log space, as percent."""
    if row.achieved_precision is None:
        return NONE
    return f"±{significant(100 * row.achieved_precision, 2, ROUND_CEILING)}%"


def counted(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _exact(value: float) -> Decimal:
    # 3.21 may have become 3.2099999999999995 on its way through exp(log())
    return Decimal(f"{value:.12g}")


def _to(value: float, place: Decimal, rounding: str = ROUND_HALF_EVEN) -> str:
    return f"{_exact(value).quantize(place, rounding=rounding):f}"
