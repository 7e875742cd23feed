"""What schemes get wrong: the answers of their trials, held against labels and each other. Pure.

``comparison`` makes the rows of the table; ``classifying`` and ``detecting`` score one task each.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from orchestrator.analysis.sides.groups import ComparisonGroup
from orchestrator.analysis.table import AccuracyComparison, Speedup
from orchestrator.runs.records import RunRecord


def compare_accuracy(
    run: RunRecord, groups: Iterable[ComparisonGroup]
) -> tuple[AccuracyComparison, ...]:
    """Return a row for every treatment whose accuracy was asked for, in the order of the groups."""
    if run.samples is None:
        return ()
    # numpy and what it needs take a while to import, and most runs do without
    from orchestrator.analysis.accuracy.comparison import compare  # noqa: PLC0415

    return compare(run, run.samples, groups)


def with_accuracy(
    rows: Iterable[Speedup], found: Iterable[AccuracyComparison]
) -> tuple[Speedup, ...]:
    """Return the rows of speed-ups with the accuracy of the same comparison in them."""
    by_place = {(each.device, each.model, each.factors, each.scheme): each for each in found}
    filled = []
    for row in rows:
        factors = row.factors
        place = None if factors is None else (row.device, row.model, factors, row.scheme)
        filled.append(_filled(row, by_place.get(place) if place else None))
    return tuple(filled)


def _filled(row: Speedup, found: AccuracyComparison | None) -> Speedup:
    if found is None:
        return row
    return replace(
        row,
        accuracy_metric=found.metric,
        baseline_accuracy=found.baseline.value,
        treatment_accuracy=found.treatment.value,
        accuracy_verdict=found.verdict,
    )
