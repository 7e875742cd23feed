"""The simulation that chose how a speed-up's interval is computed; prints its tables.

``python -m benchmarks.interval_methods [comparisons]``. Under four kinds of noise, three numbers of
blocks and a true ratio that is known, it compares candidate 95 % intervals by how often they cover
the truth and how wide they are; then how often a whole table of baselines against themselves is
called different anywhere; then what stopping at a precision costs. Seeded; vectorised over
comparisons. ``by_the_product`` and ``any_called`` are the product's own code, one comparison or
table at a time; a test holds the vectorised forms of both against them.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from orchestrator.analysis import statistics
from orchestrator.analysis.statistics import estimate, holm, p_value

Array: TypeAlias = "NDArray[np.float64]"
#: One row a comparison, one column a block → lower and upper bounds.
Method: TypeAlias = "Callable[[Array], tuple[Array, Array]]"

BLOCKS = (6, 10, 20)
TRUTH = np.log(1.3)
COMPARISONS_A_TABLE = 18
ALPHA = 0.05


# -- noise: the log of each process's time, shape (comparisons, blocks, processes of a block)


def log_normal(shape: tuple[int, int, int], rng: np.random.Generator) -> Array:
    return rng.normal(0, 0.02, shape)


def bimodal(shape: tuple[int, int, int], rng: np.random.Generator) -> Array:
    """Each process is, with a chance of 15 %, 10 to 30 % slower."""
    slow = rng.random(shape) < 0.15
    return rng.normal(0, 0.01, shape) + slow * np.log1p(rng.uniform(0.1, 0.3, shape))


def heavy_tails(shape: tuple[int, int, int], rng: np.random.Generator) -> Array:
    return 0.01 * rng.standard_t(2, shape)


def drift(shape: tuple[int, int, int], rng: np.random.Generator) -> Array:
    """A trend and a random walk over the processes in the order they ran, random in a block."""
    comparisons, blocks, each = shape
    position = np.argsort(rng.random(shape), axis=2) + each * np.arange(blocks)[None, :, None]
    trend = rng.normal(0, 0.3, (comparisons, 1, 1)) / (each * blocks) * position
    walk = np.cumsum(rng.normal(0, 0.004, (comparisons, each * blocks)), axis=1)
    walked = np.take_along_axis(walk, position.reshape(comparisons, -1), 1).reshape(shape)
    return rng.normal(0, 0.01, shape) + trend + walked


NOISES = {"log-normal": log_normal, "bimodal": bimodal, "heavy tails": heavy_tails, "drift": drift}


# -- candidates


def signed_rank(logs: Array) -> tuple[Array, Array]:
    """What the product does, for all rows at once."""
    found = wilcoxon(logs)
    return found.low, found.high


def by_the_product(logs: Array) -> tuple[Array, Array]:
    """What the product does, by its own code."""
    found = [estimate(list(row)).interval for row in logs]
    bounds = np.array([(i.low, i.high) for i in found if i is not None])
    return bounds[:, 0], bounds[:, 1]


@dataclass(frozen=True)
class Wilcoxon:
    """Of each row: Hodges-Lehmann centre, signed-rank bounds, and the product's p-value."""

    centre: Array
    low: Array
    high: Array
    p: Array


def wilcoxon(logs: Array) -> Wilcoxon:
    """Centre, bounds and p-value of each row, as ``analysis.statistics`` defines them."""
    n = logs.shape[1]
    first, second = np.triu_indices(n)
    averages = np.sort((logs[:, first] + logs[:, second]) / 2, axis=1)
    null = np.asarray(statistics._null_table(n))
    rank = statistics._interval_rank(n)
    assert rank is not None
    outside = np.minimum((averages <= 0).sum(axis=1), (averages >= 0).sum(axis=1))
    by_rank = np.minimum(1, 2 * null[outside])
    by_t = np.asarray(stats.ttest_1samp(logs, 0, axis=1).pvalue)
    return Wilcoxon(
        centre=np.median(averages, axis=1),
        low=averages[:, rank],
        high=averages[:, -1 - rank],
        p=np.minimum(1, 2 * np.minimum(by_rank, by_t)),
    )


def student(logs: Array) -> tuple[Array, Array]:
    n = logs.shape[1]
    half = stats.t.ppf(1 - ALPHA / 2, n - 1) * logs.std(axis=1, ddof=1) / np.sqrt(n)
    return logs.mean(axis=1) - half, logs.mean(axis=1) + half


def order_statistics(logs: Array) -> tuple[Array, Array]:
    n = logs.shape[1]
    left_out = int(stats.binom.ppf(ALPHA / 2, n, 0.5)) - 1
    ordered = np.sort(logs, axis=1)
    return ordered[:, left_out], ordered[:, -1 - left_out]


def bca(statistic: Callable[..., Array], resamples: int = 999) -> Method:
    """The bias-corrected and accelerated bootstrap (Efron 1987), on the first 2,000 rows."""

    def method(logs: Array) -> tuple[Array, Array]:
        rng = np.random.default_rng(7)
        n = logs.shape[1]
        draws = rng.integers(0, n, (resamples, n))
        bounds = np.array([_bca_row(row, row[draws], statistic) for row in logs[:2000]])
        return bounds[:, 0], bounds[:, 1]

    return method


def _bca_row(row: Array, resampled: Array, statistic: Callable[..., Array]) -> Array:
    boot = np.asarray(statistic(resampled, axis=1))
    below = np.mean(boot < statistic(row)) + np.mean(boot == statistic(row)) / 2
    bias = stats.norm.ppf(np.clip(below, 1 / len(boot), 1 - 1 / len(boot)))
    left_out = np.array([statistic(np.delete(row, i)) for i in range(len(row))])
    pull = left_out.mean() - left_out
    scale = 6 * (pull**2).sum() ** 1.5
    acceleration = (pull**3).sum() / scale if scale else 0.0
    z = bias + stats.norm.ppf([ALPHA / 2, 1 - ALPHA / 2])
    bounds: Array = np.quantile(boot, stats.norm.cdf(bias + z / (1 - acceleration * z)))
    return bounds


METHODS: dict[str, Method] = {
    "signed-rank": signed_rank,
    "t on log ratios": student,
    "order statistics": order_statistics,
    "BCa, mean": bca(np.mean),
    "BCa, median": bca(np.median),
}


# -- what is measured


def paired_logs(noise: str, comparisons: int, blocks: int, seed: int) -> tuple[Array, Array]:
    """Log ratios, of the first baseline and of the geometric mean of both, against a treatment."""
    logs = NOISES[noise]((comparisons, blocks, 3), np.random.default_rng(seed))
    first = logs[..., 0] - logs[..., 2] + TRUTH
    both = (logs[..., 0] + logs[..., 1]) / 2 - logs[..., 2] + TRUTH
    return first, both


def coverage(method: Method, logs: Array) -> tuple[float, float]:
    """How often the truth is inside, and the mean width."""
    low, high = method(logs)
    return float(np.mean((low <= TRUTH) & (high >= TRUTH))), float(np.mean(high - low))


def stopped_coverage(logs: Array, precision: float, first: int = 6) -> tuple[float, float]:
    """The same when blocks are added until the precision is reached; and the mean blocks used."""
    inside, used = 0, 0
    for row in logs:
        for n in range(first, len(row) + 1):
            interval = estimate(list(row[:n])).interval
            assert interval is not None
            if interval.half_width <= precision or n == len(row):
                inside += interval.low <= TRUTH <= interval.high
                used += n
                break
    return inside / len(logs), used / len(logs)


def aa_tables(noise: str, tables: int, blocks: int, seed: int) -> Array:
    """Tables of nothing: six groups of three treatments, which share their group's baseline and its
    noise floor. Shape (tables, groups, blocks, processes of a block)."""
    groups = COMPARISONS_A_TABLE // 3
    logs = NOISES[noise]((tables * groups, blocks, 5), np.random.default_rng(seed))
    return logs.reshape(tables, groups, blocks, 5)


def differing_tables(noise: str, tables: int, blocks: int, seed: int) -> float:
    """The share of A/A tables that call any comparison different."""
    return float(np.mean(called(aa_tables(noise, tables, blocks, seed))))


def called(tables: Array) -> NDArray[np.bool_]:
    """Of each table, whether the product's three conditions call any treatment different."""
    count, groups, blocks, _ = tables.shape
    base = tables[..., :1]
    aa = wilcoxon((base - tables[..., 1:2]).reshape(-1, blocks))
    floor = np.maximum(abs(aa.low), abs(aa.high)).reshape(count, groups, 1)
    ratios = np.moveaxis(base - tables[..., 2:], 2, 3).reshape(-1, blocks)
    found = wilcoxon(ratios)
    excludes = ((found.low > 0) | (found.high < 0)).reshape(count, groups, 3)
    beyond = abs(found.centre).reshape(count, groups, 3) > floor
    p = found.p.reshape(count, -1)
    order = np.argsort(p, axis=1)
    step_down = np.take_along_axis(p, order, 1) * np.arange(p.shape[1], 0, -1)
    adjusted = np.minimum(1, np.maximum.accumulate(step_down, axis=1))
    passes = np.zeros(p.shape, bool)
    np.put_along_axis(passes, order, adjusted <= ALPHA, 1)
    different = passes.reshape(excludes.shape) & excludes & beyond
    return np.asarray(different.any(axis=(1, 2)), dtype=np.bool_)


def any_called(logs: Array) -> bool:
    """Whether the product's three conditions together call any treatment of a table different."""
    effects, p_values = [], []
    for group in logs:
        aa = estimate(list(group[:, 0] - group[:, 1])).interval
        assert aa is not None
        floor = max(abs(aa.low), abs(aa.high))
        for treatment in range(2, group.shape[1]):
            ratios = list(group[:, 0] - group[:, treatment])
            found = estimate(ratios)
            assert found.interval is not None
            effects.append(found.interval.excludes_zero and abs(found.centre) > floor)
            p = p_value(ratios)
            assert p is not None
            p_values.append(p)
    return any(e and p <= ALPHA for e, p in zip(effects, holm(p_values), strict=True))


def main(comparisons: int = 10_000) -> None:
    print(f"coverage of 95 % intervals in percent (mean width in log space), {comparisons} each\n")
    print(f"{'noise':<12}{'n':>3}  " + "".join(f"{name:>20}" for name in METHODS), end="")
    print(f"{'both baselines':>20}")
    for noise in NOISES:
        for blocks in BLOCKS:
            first, both = paired_logs(noise, comparisons, blocks, seed=blocks)
            cells = [coverage(method, first) for method in METHODS.values()]
            cells.append(coverage(signed_rank, both))
            shown = "".join(f"{f'{100 * c:.1f} ({w:.4f})':>20}" for c, w in cells)
            print(f"{noise:<12}{blocks:>3}  {shown}")
    print("\nsigned-rank, stopping at a precision between 6 and 20 blocks: coverage, mean blocks\n")
    for noise in NOISES:
        first, _ = paired_logs(noise, comparisons, 20, seed=99)
        cells = [stopped_coverage(first, precision) for precision in (0.01, 0.02)]
        shown = "".join(f"{f'{100 * c:.1f} ({n:.1f})':>16}" for c, n in cells)
        print(f"{noise:<12}   ±1 %, ±2 %:{shown}")
    tables = comparisons
    print(f"\n{tables} A/A tables of {COMPARISONS_A_TABLE}: any comparison called different, %\n")
    for noise in NOISES:
        rates = [100 * differing_tables(noise, tables, blocks, seed=3) for blocks in BLOCKS]
        print(f"{noise:<12}   n = 6, 10, 20:" + "".join(f"{rate:>8.2f}" for rate in rates))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
