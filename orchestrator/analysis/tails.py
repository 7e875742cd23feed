"""Percentiles of single inferences over all processes, and the speed-up at each. Pure.

A percentile is that of all steady inferences of a scheme, whichever process they ran in: of ``n``
times the one at index ⌊n·p/100⌋ of the sorted times, from 0, as ``benchmark_model`` and MLPerf's
LoadGen count. Its interval resamples whole processes, since inferences of one process share its
luck; that of the speed-up resamples blocks, so that both sides of a block stay together. Intervals
are expanded percentile intervals, 95 % (Hesterberg, *What teachers should know about the
bootstrap*, The American Statistician 69 (2015) 371). ``benchmarks/tail_intervals.py`` simulates how
often they hold the truth (100 runs): in 6 blocks, with processes that differ by 6 % and inferences
of one by 2 %, the interval of the time holds it in 94 (p50), 56 (p90), 45 (p95) and 94 % (p99) of
runs, that of the speed-up in 94, 87, 86 and 98 %; in 10 blocks in 95, 78, 56 and 95 %, and in 96,
87, 85 and 98 %. A percentile that the slowest few processes decide is misjudged by few of them.

How many inferences a percentile needs is MLPerf's early stopping rule, as LoadGen has it for a
single stream (MLPerf Inference Rules, appendix on early stopping; ``loadgen/results.cc`` and
``loadgen/early_stopping.cc`` of mlcommons/inference): with ``t`` inferences left out, fewer than
``t + 1`` over the percentile have to be less likely than 1 %. The first that passes has ``t`` = 1:
11 inferences for the median, 64 for p90, 130 for p95, 662 for p99. What the rule gives is an upper
bound, 99 % certain where inferences are independent: ``at_most_ms``. With fewer the percentile is
shown alone. The worst has neither: a longer run finds a worse one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from statistics import NormalDist
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from orchestrator.analysis.sides.groups import ComparisonGroup, comparison_groups
from orchestrator.analysis.sides.pairing import compared_replicate
from orchestrator.analysis.sides.side import Side
from orchestrator.analysis.statistics import CONFIDENCE, MIN_PAIRS
from orchestrator.analysis.table import SpeedupTable, Tail, Verdict
from orchestrator.factors import Factors
from orchestrator.runs.records import RunRecord, TrialRecord
from orchestrator.trial import TrialKind

_Doubles: TypeAlias = "NDArray[np.float64]"
#: A block's steady inferences, in µs.
_Blocks: TypeAlias = "Mapping[int, Sequence[float]]"
_Key: TypeAlias = "tuple[str, str, Factors, str]"

#: In hundredths; the last is the worst.
PERCENTILES = (50, 90, 95, 99)
WORST = 100
#: LoadGen's.
_EARLY_STOPPING_DOUBT = 0.01

#: The tail of an interval over six processes is a quarter of a percent.
_MOST_RESAMPLES, _FEWEST_RESAMPLES = 4000, 1000
#: Inferences times resamples, so that a large run is not waited for.
_MOST_WORK = 200_000_000
_AT_ONCE = 4_000_000
_MOST_LOGS = 2000


def with_tails(run: RunRecord, table: SpeedupTable) -> SpeedupTable:
    """Return the table with the percentiles of every scheme whose single times can be read; they
    are in the raw logs.

    Raises JournalError where the run tells of one trial twice.
    """
    judged = {
        (row.device, row.model, row.factors, row.scheme): row.verdict
        for row in table.rows
        if row.factors is not None
    }
    found = [
        tail for group in comparison_groups(run) for tail in _of_group(group, run.times_of, judged)
    ]
    return replace(table, tails=tuple(found))


def with_quick_tails(run: RunRecord, table: SpeedupTable) -> SpeedupTable:
    """Return the same, unless reading every log of the run's timing trials would take more than
    seconds: then the table as it is."""
    timed = sum(record.trial.kind is TrialKind.TIMING for record in run.trials)
    return with_tails(run, table) if timed <= _MOST_LOGS else table


@dataclass(frozen=True)
class _Place:
    """Whose percentiles they are."""

    group: ComparisonGroup
    factors: Factors
    scheme: str


def _of_group(
    group: ComparisonGroup,
    times_of: Callable[[TrialRecord], tuple[float, ...]],
    judged: Mapping[_Key, Verdict],
) -> Iterator[Tail]:
    factors = group.factors
    if factors is None:
        return
    base = {0: _times(group.baseline, 0, times_of)}
    yield from _alone(_Place(group, factors, group.baseline.scheme), base[0])
    for side in group.treatments.values():
        place = _Place(group, factors, side.scheme)
        replicate = compared_replicate(side.partners, group.baseline.records)
        if replicate not in base:  # of duets
            base[replicate] = _times(group.baseline, replicate, times_of)
        own = _times(side, 0, times_of)
        verdict = judged.get((group.device, group.model, factors, side.scheme))
        if verdict in (None, Verdict.INVALID):
            yield from _alone(place, own)
        else:
            yield from _compared(place, base[replicate], own)


def _times(
    side: Side, replicate: int, times_of: Callable[[TrialRecord], tuple[float, ...]]
) -> dict[int, tuple[float, ...]]:
    """Single times by block, of the processes that tell them."""
    found = {r.trial.block: times_of(r) for r in side.timed if r.trial.replicate == replicate}
    return {block: times for block, times in sorted(found.items()) if _usable(times)}


def _usable(times: Sequence[float]) -> bool:
    return bool(times) and all(0 < time < math.inf for time in times)


# -- one scheme -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Pool:
    """All inferences of a scheme, sorted, and which process each ran in."""

    times: _Doubles
    process: NDArray[np.intp]
    processes: int

    def at(self, percentile: int) -> float:
        """The percentile of all of them, in µs."""
        return float(self.times[_index(len(self.times), percentile)])

    def resampled(self, percentile: int, counts: NDArray[np.int64]) -> _Doubles:
        """The percentile where each process is there as often as a row of ``counts`` says."""
        found = np.empty(len(counts))
        rows = max(1, _AT_ONCE // len(self.times))
        for start in range(0, len(counts), rows):
            there = np.cumsum(counts[start : start + rows, self.process], axis=1)
            wanted = there[:, -1:] * percentile // 100
            places = np.argmax(there > wanted, axis=1)
            found[start : start + rows] = self.times[places]
        return found


def pool_of(blocks: _Blocks, order: Sequence[int]) -> Pool:
    """Pool the inferences of these blocks; ``order`` says which process is which."""
    times = np.concatenate([np.asarray(blocks[block], dtype=float) for block in order])
    process = np.concatenate(
        [np.full(len(blocks[block]), place, dtype=np.intp) for place, block in enumerate(order)]
    )
    ranks = np.argsort(times, kind="stable")
    return Pool(times[ranks], process[ranks], len(order))


def _index(count: int, percentile: int) -> int:
    return min(count * percentile // 100, count - 1)


def resampled_counts(processes: int, inferences: int) -> NDArray[np.int64]:
    """How often each process is in each resample. The same each time."""
    most = _MOST_WORK // max(1, inferences)
    resamples = min(_MOST_RESAMPLES, max(_FEWEST_RESAMPLES, most))
    drawn = np.random.default_rng(0).multinomial(
        processes, [1 / processes] * processes, size=resamples
    )
    return drawn.astype(np.int64)


def interval_of(values: _Doubles, processes: int) -> tuple[float, float]:
    """The expanded percentile interval of resampled values."""
    # scipy takes a while to import
    from scipy.special import stdtrit  # noqa: PLC0415

    quantile = float(stdtrit(processes - 1, (1 - CONFIDENCE) / 2))
    tail = NormalDist().cdf(math.sqrt(processes / (processes - 1)) * quantile)
    low, high = np.quantile(values, [tail, 1 - tail])
    return float(low), float(high)


def _alone(place: _Place, blocks: _Blocks) -> Iterator[Tail]:
    """Percentiles without a speed-up: of the baseline, and of what may not be compared."""
    if not blocks:
        return
    pool = pool_of(blocks, list(blocks))
    counts = resampled_counts(pool.processes, len(pool.times))
    for percentile in (*PERCENTILES, WORST):
        enough = _enough(pool, percentile)
        resampled = pool.resampled(percentile, counts) if enough else None
        yield _tail(place, pool, percentile, resampled)


def _compared(place: _Place, base: _Blocks, own: _Blocks) -> Iterator[Tail]:
    order = sorted(base.keys() & own.keys())
    if not order:
        yield from _alone(place, own)
        return
    baseline, treatment = pool_of(base, order), pool_of(own, order)
    counts = resampled_counts(len(order), max(len(baseline.times), len(treatment.times)))
    for percentile in (*PERCENTILES, WORST):
        enough = _enough(baseline, percentile) and _enough(treatment, percentile)
        mine = treatment.resampled(percentile, counts) if enough else None
        low = high = None
        if mine is not None:
            logs = np.log(baseline.resampled(percentile, counts) / mine)
            low, high = (math.exp(each) for each in interval_of(logs, len(order)))
        yield replace(
            _tail(place, treatment, percentile, mine),
            baseline_ms=baseline.at(percentile) / 1000,
            speedup=baseline.at(percentile) / treatment.at(percentile),
            speedup_low=low,
            speedup_high=high,
        )


def _enough(pool: Pool, percentile: int) -> bool:
    """Whether there are processes enough for an interval, and inferences enough for the
    percentile."""
    return (
        percentile != WORST
        and pool.processes >= MIN_PAIRS
        and len(pool.times) >= inferences_needed(percentile)
    )


def _tail(place: _Place, pool: Pool, percentile: int, resampled: _Doubles | None) -> Tail:
    low, high = (None, None) if resampled is None else interval_of(resampled, pool.processes)
    bound = None if percentile == WORST else early_stopping_rank(len(pool.times), percentile)
    return Tail(
        device=place.group.device,
        model=place.group.model,
        factors=place.factors,
        scheme=place.scheme,
        baseline_scheme=place.group.baseline.scheme,
        percentile=percentile,
        processes=pool.processes,
        inferences=len(pool.times),
        needs=0 if percentile == WORST else inferences_needed(percentile),
        ms=pool.at(percentile) / 1000,
        low_ms=None if low is None else low / 1000,
        high_ms=None if high is None else high / 1000,
        at_most_ms=None if bound is None else float(pool.times[-bound]) / 1000,
    )


# -- MLPerf's early stopping rule -----------------------------------------------------------------


def early_stopping_rank(inferences: int, percentile: int) -> int | None:
    """Return which of the longest inferences bounds the percentile from above, counted from 1.

    It is the largest t for which t or fewer of so many are over the percentile with a probability
    below 1 %. None where even t = 1 is not certain enough.
    """
    # scipy takes a while to import
    from scipy.special import bdtr  # noqa: PLC0415

    over = 1 - percentile / 100
    low, high = 0, inferences
    while high - low > 1:  # invariant: passes(low) or low is 0, not passes(high)
        middle = (low + high) // 2
        passes = float(bdtr(middle, inferences, over)) < _EARLY_STOPPING_DOUBT
        low, high = (middle, high) if passes else (low, middle)
    return low or None


@lru_cache
def inferences_needed(percentile: int) -> int:
    """Return the fewest inferences of which the rule takes the percentile."""
    count = 2
    while early_stopping_rank(count, percentile) is None:
        count += 1
    return count
