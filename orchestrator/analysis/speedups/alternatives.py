"""Holds the comparisons by other statistics of each process: its mean and its minimum. Pure.

A verdict that depends on which statistic of a process one takes is a verdict about the statistic.
So each is held against a noise floor of its own kind, with Holm's correction over its own p-values,
and where they do not all say the same, a finding does.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from orchestrator.analysis.sides.conditions import statistic_of
from orchestrator.analysis.sides.pairing import Statistic, pair
from orchestrator.analysis.sides.side import Side
from orchestrator.analysis.speedups.verdicts import doubt
from orchestrator.analysis.statistics import Estimate, estimate, holm_of_known, p_value
from orchestrator.analysis.table import Alternative, Speedup, Verdict
from orchestrator.measurement import Finding

#: Those other than the centre, which the table's own columns are made of.
STATISTICS = (Statistic.MEAN, Statistic.MINIMUM)


@dataclass(frozen=True)
class Comparison:
    """One comparison by one statistic, before Holm's correction. ``floor`` is the noise floor."""

    found: Estimate
    floor: float | None
    p_value: float | None


def compare(baseline: Side, treatment: Side, statistic: Statistic) -> Comparison | None:
    """Compare by ``statistic``, over the blocks in which both sides have it; None where there is
    none."""
    logs = pair(baseline.times_for(treatment, statistic), treatment.times[statistic, 0]).logs
    if not logs:
        return None
    return Comparison(estimate(logs), baseline.floors[statistic], p_value(logs))


def judge(comparisons: Sequence[Comparison | None]) -> list[Alternative | None]:
    """Give a table's comparisons by one statistic their verdicts, in the order given."""
    adjusted = holm_of_known([c.p_value if c else None for c in comparisons])
    return [_alternative(c, p) if c else None for c, p in zip(comparisons, adjusted, strict=True)]


def _alternative(comparison: Comparison, p_adjusted: float | None) -> Alternative:
    found = comparison.found
    interval = found.interval
    verdict = Verdict.FASTER if found.centre > 0 else Verdict.SLOWER
    if doubt(found, comparison.floor, p_adjusted) is not None:
        verdict = Verdict.INDISTINGUISHABLE
    return Alternative(
        speedup=math.exp(found.centre),
        ci_low=math.exp(interval.low) if interval else None,
        ci_high=math.exp(interval.high) if interval else None,
        verdict=verdict,
    )


def disagreement(
    row: Speedup, mean: Alternative | None, minimum: Alternative | None, baseline: Side
) -> Finding | None:
    """Return the finding that the statistics do not agree on ``row``."""
    if row.speedup is None:
        return None
    others = {"mean": mean, "minimum": minimum}
    told = {name: each for name, each in others.items() if each is not None}
    if all(each.verdict is row.verdict for each in told.values()):
        return None
    own = Alternative(row.speedup, row.ci_low, row.ci_high, row.verdict)
    known = {statistic_of(baseline.timed): own} | told
    figures = ", ".join(f"{name} {_figures(each)}" for name, each in known.items())
    return Finding(
        "estimator_disagreement",
        f"the verdict depends on which statistic of a process is taken: {figures}",
        "say which statistic a figure is; look for inferences that are interrupted or throttled, "
        "and quieten the machine",
    )


def _figures(each: Alternative) -> str:
    bounds = ""
    if each.ci_low is not None and each.ci_high is not None:
        bounds = f" [{each.ci_low:.3f}, {each.ci_high:.3f}]"
    return f"{each.speedup:.3f}{bounds} {each.verdict.value}"
