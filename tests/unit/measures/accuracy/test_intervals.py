"""A small part of the simulation behind the judgement of accuracy differences."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.accuracy_intervals import (
    Pair,
    counts,
    coverage,
    pairs,
    two_detectors,
    verdicts,
    wrongly_different,
    wrongly_no_worse,
)
from orchestrator.measures.accuracy.classification import paired
from orchestrator.measures.accuracy.shares import newcombe

COMPARISONS = 20_000


def changed_answers(pair: Pair, n: int) -> float:
    cells = pair.cells
    assert cells is not None
    return float(n * (cells[1] + cells[2]))


@pytest.mark.parametrize("n", [100, 1000])
def test_the_interval_holds_the_truth_as_often_as_it_says(n: int) -> None:
    """From ten changed answers on: with fewer it is wider than it needs to be."""
    for pair in pairs():
        held = coverage(pair, n, COMPARISONS)
        assert held > 0.94, (pair, held)
        if changed_answers(pair, n) >= 10:
            assert held < 0.975, (pair, held)


@pytest.mark.parametrize("n", [30, 100, 1000, 10_000])
def test_a_loss_of_the_margin_is_seldom_called_none_and_equal_models_seldom_different(
    n: int,
) -> None:
    for pair in pairs((0.0, 0.01)):
        assert wrongly_no_worse(pair, n, COMPARISONS) <= 0.05, pair
        assert wrongly_different(pair, n, COMPARISONS) <= 0.05, pair


def test_the_simulation_judges_as_the_product_does() -> None:
    pair = Pair(0.76, 0.02, 0.5)
    drawn = np.concatenate([counts(pair, n, 60, seed=n) for n in (30, 300, 3000)])
    _, low, high = newcombe(*drawn.T)
    for row, told, below, above in zip(drawn, verdicts(drawn), low, high, strict=True):
        both, lost, gained, neither = (int(each) for each in row)
        baseline = np.repeat([True, True, False, False], [both, lost, gained, neither])
        treatment = np.repeat([True, False, True, False], [both, lost, gained, neither])
        found = paired(baseline, treatment, margin_points=1.0)
        assert found.verdict.value == told
        assert (found.low, found.high) == (below, above)


def test_the_two_detectors_of_the_simulation_differ() -> None:
    pytest.importorskip("pycocotools")
    one, other = two_detectors(30, 0)
    assert one.figures.ap is not None and other.figures.ap is not None
    assert one.figures.ap > other.figures.ap > 0.1
