"""How a benchmark says what it found of pairs."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

from orchestrator.analysis.statistics import estimate


def ratio(name: str, logs: Sequence[float]) -> str:
    """A line: the ratio whose logarithms were observed, its 95 % interval, and a pair's spread."""
    found = estimate(logs)
    if found.interval is None:
        return f"  {name:<32} {math.exp(found.centre):.4f}, too few pairs for an interval"
    low, high = math.exp(found.interval.low), math.exp(found.interval.high)
    spread = statistics.pstdev(logs)
    line = f"  {name:<32} {math.exp(found.centre):.4f} [{low:.4f}, {high:.4f}]"
    return f"{line}, one pair ±{spread:.1%}"
