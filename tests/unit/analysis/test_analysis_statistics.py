"""Estimate, interval and test: by hand, against SciPy, and by simulation with a known truth."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from benchmarks.interval_methods import (
    BLOCKS,
    NOISES,
    aa_tables,
    any_called,
    by_the_product,
    called,
    coverage,
    differing_tables,
    paired_logs,
    signed_rank,
    wilcoxon,
)
from orchestrator.analysis import statistics
from orchestrator.analysis.statistics import (
    MIN_PAIRS,
    estimate,
    holm,
    holm_of_known,
    p_value,
    signed_rank_p,
    t_p,
)

LOGS = st.lists(st.floats(-3, 3).map(lambda x: round(x, 6)), min_size=MIN_PAIRS, max_size=25)


def test_six_pairs_by_hand() -> None:
    # Six pairs: the interval is the whole range, since 1/64 < 2.5 % <= 2/64. Of the 21 Walsh
    # averages of 1..5 and 9 the 11th in order is 3.5.
    found = estimate([1.0, 2.0, 3.0, 4.0, 5.0, 9.0])
    assert found.centre == pytest.approx(3.5)
    assert found.interval == statistics.Interval(1.0, 9.0)


def test_ten_pairs_leave_out_eight_walsh_averages_at_either_end() -> None:
    # The tables of the signed-rank statistic: n = 10, two-sided 5 %: critical value 8.
    logs = [float(2**k) for k in range(10)]
    averages = sorted((a + b) / 2 for i, a in enumerate(logs) for b in logs[i:])
    interval = estimate(logs).interval
    assert interval == statistics.Interval(averages[8], averages[-9])


@pytest.mark.parametrize(
    ("pairs", "critical"), [(6, 0), (7, 2), (8, 3), (12, 13), (20, 52), (25, 89)]
)
def test_critical_values_are_those_of_the_published_tables(pairs: int, critical: int) -> None:
    assert statistics._interval_rank(pairs) == critical


@pytest.mark.parametrize("pairs", range(1, MIN_PAIRS))
def test_below_six_pairs_there_is_no_interval(pairs: int) -> None:
    found = estimate([0.5 + i / 100 for i in range(pairs)])
    assert found.interval is None
    assert 0.5 <= found.centre < 0.6


def test_no_pairs_is_an_error() -> None:
    with pytest.raises(ValueError, match="no pairs"):
        estimate([])


def test_the_normal_limit_meets_the_exact_distribution(monkeypatch: pytest.MonkeyPatch) -> None:
    exact = [statistics._null_table(100)[k] for k in (1900, 2000, 2525)]
    monkeypatch.setattr(statistics, "_EXACT_UP_TO", 99)
    limit = [statistics._null_cdf(100, k) for k in (1900, 2000, 2525)]
    assert limit == pytest.approx(exact, abs=5e-4)


@pytest.mark.parametrize("pairs", [6, 9, 14, 25])
def test_p_values_agree_with_scipy(pairs: int) -> None:
    rng = random.Random(pairs)
    logs = [rng.gauss(0.3, 1) for _ in range(pairs)]
    assert signed_rank_p(logs) == pytest.approx(stats.wilcoxon(logs, method="exact").pvalue)
    assert t_p(logs) == pytest.approx(stats.ttest_1samp(logs, 0).pvalue)


def test_the_p_value_is_twice_the_smaller_of_the_two() -> None:
    logs = [0.9, 1.0, 1.1, 1.0, 0.95, 1.05]
    assert p_value(logs) == pytest.approx(2 * t_p(logs))
    hung = [0.1, 0.11, 0.09, 0.1, 0.12, 0.1, 0.11, 0.1, 0.09, 0.1, 0.1, -4.0]
    assert t_p(hung) > 0.3
    assert p_value(hung) == pytest.approx(2 * signed_rank_p(hung))
    assert signed_rank_p(hung) < 0.05


def test_a_large_effect_in_six_blocks_passes_a_large_table() -> None:
    logs = [math.log(4) + 0.01 * (i - 2.5) for i in range(6)]
    p = p_value(logs)
    assert p is not None
    assert holm([p] + [1.0] * 359)[0] < 0.001


def test_holm_passes_over_what_has_no_p_value() -> None:
    assert holm_of_known([0.01, None, 0.04, None]) == [0.02, None, 0.04, None]
    assert holm_of_known([]) == []


def test_identical_pairs_are_certain_or_nothing() -> None:
    assert p_value([0.0] * 6) == 1.0
    assert p_value([0.2] * 6) == 0.0
    assert p_value([0.2]) is None


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


@given(LOGS)
def test_swapping_the_sides_mirrors_the_interval(logs: list[float]) -> None:
    there, back = estimate(logs), estimate([-x for x in logs])
    assert there.interval is not None
    assert back.interval is not None
    assert back.centre == pytest.approx(-there.centre)
    assert (back.interval.low, back.interval.high) == pytest.approx(
        (-there.interval.high, -there.interval.low)
    )
    assert there.interval.low <= there.centre <= there.interval.high


@given(LOGS)
def test_the_interval_and_the_signed_rank_p_value_say_the_same(logs: list[float]) -> None:
    interval = estimate(logs).interval
    assert interval is not None
    assert interval.excludes_zero == (signed_rank_p(logs) <= 0.05)


@given(LOGS, st.randoms(use_true_random=False))
def test_the_order_of_blocks_does_not_matter(logs: list[float], rng: random.Random) -> None:
    shuffled = list(logs)
    rng.shuffle(shuffled)
    assert estimate(shuffled) == estimate(logs)


# -- the simulation that chose the interval: benchmarks/interval_methods.py
#
# 2,000 comparisons are what was asked for; their coverage has a standard error of half a point, and
# the least true one lies half a point above the bound. So the seed is fixed there, and the same is
# asked of 40,000 (a tenth of a point), with their own uncertainty counted against us.

MANY = 40_000
#: Of a share of one in twenty among ``MANY``: the normal 99 % bound, one-sided.
MARGIN = 2.33 * math.sqrt(0.05 * 0.95 / MANY)


@pytest.mark.parametrize("noise", NOISES)
@pytest.mark.parametrize("blocks", BLOCKS)
def test_intervals_cover_the_truth(noise: str, blocks: int) -> None:
    first, _ = paired_logs(noise, 2000, blocks, seed=1)
    covered, _ = coverage(signed_rank, first)
    assert covered >= 0.94
    assert blocks < 10 or covered <= 0.975


@pytest.mark.parametrize("noise", NOISES)
@pytest.mark.parametrize("blocks", BLOCKS)
def test_intervals_cover_the_truth_whatever_the_seed(noise: str, blocks: int) -> None:
    first, _ = paired_logs(noise, MANY, blocks, seed=11)
    covered, _ = coverage(signed_rank, first)
    assert covered - MARGIN >= 0.94
    assert blocks < 10 or covered + MARGIN <= 0.975


def test_at_six_blocks_coverage_is_that_of_the_whole_range() -> None:
    # 1 - 2/2^6: with six pairs the interval can be no narrower, hence no upper bound there
    first, _ = paired_logs("log-normal", MANY, 6, seed=5)
    assert coverage(signed_rank, first)[0] == pytest.approx(1 - 2 / 2**6, abs=MARGIN)


def test_two_baselines_averaged_would_not_cover() -> None:
    # The reason why the second baseline serves the noise floor alone.
    _, both = paired_logs("bimodal", MANY, 20, seed=2)
    covered, _ = coverage(signed_rank, both)
    assert covered + MARGIN < 0.94


@pytest.mark.parametrize("noise", NOISES)
@pytest.mark.parametrize("blocks", BLOCKS)
def test_at_most_one_table_in_twenty_of_nothing_calls_anything_different(
    noise: str, blocks: int
) -> None:
    assert differing_tables(noise, 2000, blocks, seed=4) <= 0.05


@pytest.mark.parametrize("noise", NOISES)
@pytest.mark.parametrize("blocks", BLOCKS)
def test_the_simulation_does_what_the_product_does(noise: str, blocks: int) -> None:
    first, _ = paired_logs(noise, 100, blocks, seed=6)
    found = wilcoxon(first)
    assert np.allclose(by_the_product(first), (found.low, found.high))
    assert [p_value(list(row)) for row in first] == pytest.approx(list(found.p))
    assert np.allclose([estimate(list(row)).centre for row in first], found.centre)
    # an effect in some tables, so that both answers are there to be compared
    tables = aa_tables(noise, 24, blocks, seed=7)
    tables[::2, :, :, 2] += np.linspace(0, 0.6, 12)[:, None, None]
    expected = [any_called(table) for table in tables]
    assert list(called(tables)) == expected
    assert len(set(expected)) == 2


def test_the_simulations_truth_is_where_it_says() -> None:
    first, _ = paired_logs("log-normal", 500, 20, seed=3)
    assert float(np.exp(np.median(first))) == pytest.approx(1.3, rel=0.01)
