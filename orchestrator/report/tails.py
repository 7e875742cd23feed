"""Percentiles of single inferences as a reader meets them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from orchestrator.analysis.table import Tail
from orchestrator.report import figures
from orchestrator.report.clean import clean

HEADER = (
    "Model",
    "Scheme",
    "Percentile",
    "Time, ms, 95 % interval",
    "At most, ms",
    "Speed-up, 95 % interval",
    "n",
)
METHOD = (
    "Tail latency: percentiles of all steady inferences of a scheme, whichever process they ran "
    "in; intervals resample processes, and for the speed-up blocks. At most: an upper bound of the "
    "percentile, 99 % certain where inferences are independent, by MLPerf's early stopping rule, "
    "which also says how many inferences a percentile needs; with fewer it has no interval. The "
    "worst has none ever: a longer run finds a worse one. Where processes differ more than the "
    "inferences of one, a high percentile is that of the slowest few, and its time's interval is "
    "too short with few processes; the speed-up's suffers less. n: processes × inferences of each."
)


def name(tail: Tail) -> str:
    """``p95``, or ``worst``."""
    return "worst" if tail.percentile == 100 else f"p{tail.percentile}"


def cells(tail: Tail) -> tuple[str, ...]:
    """One line of the table."""
    time = figures.number(tail.ms)
    if tail.low_ms is not None and tail.high_ms is not None:
        time = figures.bounded(tail.ms, tail.low_ms, tail.high_ms)
    of_worst = tail.percentile == 100 and tail.speedup is not None
    ratio = (
        f"{figures.number(tail.speedup)}×"
        if of_worst
        else figures.ratio(tail.speedup, tail.speedup_low, tail.speedup_high)
    )
    return (
        clean(tail.model),
        clean(tail.scheme),
        name(tail),
        time,
        figures.number(tail.at_most_ms),
        ratio,
        f"{tail.processes} × {tail.inferences / tail.processes:.0f}",
    )


def problems(tails: Iterable[Tail]) -> Iterator[str]:
    """Say which percentiles too few inferences stand behind."""
    short: dict[tuple[str, str, int], list[Tail]] = {}
    for tail in tails:
        if tail.inferences < tail.needs:
            short.setdefault((tail.model, tail.scheme, tail.inferences), []).append(tail)
    for (model, scheme, inferences), found in short.items():
        needs = ", ".join(f"{name(each)} needs {each.needs}" for each in found)
        yield clean(f"{model} {scheme}: {inferences} inferences are too few: {needs}")
