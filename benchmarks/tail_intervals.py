"""How often the intervals of tail latency hold the truth, by simulation.

    python -m benchmarks.tail_intervals [--runs 400]

Each run has as many blocks as said, two processes a block and so many inferences a process. A
process has a luck of its own (log-normal, 5 %), a block one that both sides share (3 %), and its
inferences a heavy tail: log-normal noise of 2 %, and one in 50 takes from 1 to 3 times as long. The
treatment is the baseline made 1.5 times as fast. The truth is that of very many processes.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import numpy as np

from orchestrator.analysis.tails import PERCENTILES, interval_of, pool_of, resampled_counts

SPEEDUP = 1.5
BLOCKS = (6, 10, 20)
INFERENCES = 150


def one_run(rng: np.random.Generator, blocks: int, inferences: int) -> tuple[list[np.ndarray], ...]:
    """Return the baseline's processes and the treatment's, block by block."""
    sides: tuple[list[np.ndarray], ...] = ([], [])
    for _ in range(blocks):
        shared = rng.normal(0, 0.03)
        for side, factor in zip(sides, (1.0, 1 / SPEEDUP), strict=True):
            luck = shared + rng.normal(0, 0.05)
            slow = np.where(rng.random(inferences) < 0.02, rng.uniform(1, 3, inferences), 1.0)
            side.append(factor * np.exp(luck + rng.normal(0, 0.02, inferences)) * slow)
    return sides


def main(argv: Sequence[str] | None = None) -> None:
    """Print the coverage of each percentile's interval and of that of its speed-up."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=400)
    runs = parser.parse_args(argv).runs
    rng = np.random.default_rng(1)
    many, _ = one_run(rng, 4000, INFERENCES)
    truth = np.sort(np.concatenate(many))
    print(f"{runs} runs, {INFERENCES} inferences a process: coverage of 95 % intervals, %")
    print(f"{'blocks':>6}  {'percentile':>10}  {'time':>5}  {'speed-up':>8}  {'width, %':>8}")
    for blocks in BLOCKS:
        held = {percentile: [0, 0, 0.0] for percentile in PERCENTILES}
        for _ in range(runs):
            base, own = (
                pool_of(dict(enumerate(times.tolist() for times in side)), range(blocks))
                for side in one_run(rng, blocks, INFERENCES)
            )
            counts = resampled_counts(blocks, blocks * INFERENCES)
            for percentile in PERCENTILES:
                times = base.resampled(percentile, counts)
                low, high = interval_of(times, blocks)
                held[percentile][0] += low <= truth[len(truth) * percentile // 100] <= high
                logs = np.log(times / own.resampled(percentile, counts))
                low, high = interval_of(logs, blocks)
                held[percentile][1] += low <= np.log(SPEEDUP) <= high
                held[percentile][2] += high - low
        for percentile, (time, ratio, width) in held.items():
            print(
                f"{blocks:>6}  {f'p{percentile}':>10}  {100 * time / runs:5.1f}  "
                f"{100 * ratio / runs:8.1f}  {100 * width / runs:8.1f}"
            )


if __name__ == "__main__":
    main()
