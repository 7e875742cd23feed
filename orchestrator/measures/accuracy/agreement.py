"""How alike two sides answer the same samples: what can be said without labels. Pure.

Either side may be another scheme of the model, or the same file on another device or runtime.
Integer outputs arrive multiplied out (:class:`answers.OutputAnswer`), so that both sides are in the
units of the model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from orchestrator.measures.accuracy.answers import (
    OutputAnswer,
    SampleAnswer,
    in_common,
    matched_outputs,
    outputs_of,
    tops,
)
from orchestrator.measures.accuracy.shares import Share, share

_Doubles: TypeAlias = "NDArray[np.float64]"


@dataclass(frozen=True, slots=True)
class Spread:
    """A figure over samples: its median, and the sample that is worst off."""

    median: float
    minimum: float


@dataclass(frozen=True, slots=True)
class OutputAgreement:
    """How alike one output of two sides is, over ``n`` samples.

    ``same_top1``: the share with the same highest place, None of an output that has no classes.
    ``same_bytes``: the share with the very same bytes as the runtimes gave them. ``not_finite``: in
    how many samples a side has a value that is not a number or is infinite; these count as
    disagreeing in ``same_top1``, and are left out of the three figures that follow, which are None
    where no sample is left. ``cosine`` is 1 for outputs of one direction. ``snr_db`` is the
    baseline's energy over that of the deviation, 10·log10(Σy² / Σ(y - ŷ)²): infinite for equal
    outputs, minus infinite where the baseline is all zero and the treatment is not.
    ``largest_deviation`` is in the output's own unit; None where a side's values were not kept.
    ``estimated``: cosine and ratio come from the sketches, because the values were not kept.
    """

    name: str
    treatment_name: str
    n: int
    same_top1: Share | None
    same_bytes: Share
    not_finite: int
    cosine: Spread | None
    snr_db: Spread | None
    largest_deviation: float | None
    estimated: bool


def agreement(
    baseline: Sequence[SampleAnswer], treatment: Sequence[SampleAnswer]
) -> tuple[OutputAgreement, ...]:
    """Compare two sides output by output, over the samples that both answered.

    Outputs are matched by :func:`answers.matched_outputs`; one that has no counterpart is left out.
    Raises ValueError where a sample occurs twice.
    """
    ours, theirs = in_common(baseline, treatment)
    if not ours:
        return ()
    return tuple(
        _of_output(ours, theirs, one, other) for one, other in matched_outputs(ours[0], theirs[0])
    )


def _of_output(
    ours: Sequence[SampleAnswer], theirs: Sequence[SampleAnswer], one: str, other: str
) -> OutputAgreement:
    pairs = tuple(zip(outputs_of(ours, one), outputs_of(theirs, other), strict=True))
    n = len(pairs)
    finite = np.array([a.finite and b.finite for a, b in pairs])
    whole = all(a.values is not None and b.values is not None for a, b in pairs)
    cosines, ratios, largest = [], [], []
    for (a, b), usable in zip(pairs, finite, strict=True):
        if not usable:
            continue
        y, z = _vector(a, whole=whole), _vector(b, whole=whole)
        if not y.size or not z.size:  # nothing but a digest was told, or masks
            continue
        if y.shape != z.shape:
            raise ValueError(f"output {one!r} has {y.size} values on one side, {z.size} on another")
        if whole:
            largest.append(float(np.max(np.abs(y - z), initial=0.0)))
        cosines.append(cosine(y, z))
        ratios.append(snr_db(y, z))
    return OutputAgreement(
        name=one,
        treatment_name=other,
        n=n,
        same_top1=_same_top1(ours, theirs, (one, other), finite),
        same_bytes=share(sum(a.digest == b.digest for a, b in pairs), n),
        not_finite=n - int(np.count_nonzero(finite)),
        cosine=_spread(cosines),
        snr_db=_spread(ratios),
        largest_deviation=max(largest, default=None),
        estimated=not whole,
    )


def _vector(output: OutputAnswer, *, whole: bool) -> _Doubles:
    chosen = output.values if whole and output.values is not None else output.sketch
    return np.asarray(chosen, dtype=np.float64).reshape(-1)


def _same_top1(
    ours: Sequence[SampleAnswer],
    theirs: Sequence[SampleAnswer],
    names: tuple[str, str],
    finite: NDArray[np.bool_],
) -> Share | None:
    if not all(a.top for a in (*outputs_of(ours, names[0]), *outputs_of(theirs, names[1]))):
        return None
    same = tops(ours, names[0], 1)[:, 0] == tops(theirs, names[1], 1)[:, 0]
    return share(int(np.count_nonzero(same & finite)), len(same))


def cosine(one: _Doubles, other: _Doubles) -> float:
    """Return the cosine of the angle between two outputs: 1 where both are zero, 0 where one is."""
    lengths = float(np.linalg.norm(one)), float(np.linalg.norm(other))
    if 0.0 in lengths:
        return 1.0 if lengths == (0.0, 0.0) else 0.0
    # rounding may lead a hair beyond 1
    return float(np.clip((one / lengths[0]) @ (other / lengths[1]), -1.0, 1.0))


def snr_db(baseline: _Doubles, treatment: _Doubles) -> float:
    """Return the signal-to-quantization-noise ratio of one output in decibels."""
    signal = float(np.sum(np.square(baseline)))
    noise = float(np.sum(np.square(baseline - treatment)))
    if noise == 0:
        return float("inf")
    return 10 * float(np.log10(signal / noise)) if signal else float("-inf")


def _spread(figures: Sequence[float]) -> Spread | None:
    if not figures:
        return None
    ordered = sorted(figures)
    middle = len(ordered) // 2
    low, high = ordered[(len(ordered) - 1) // 2], ordered[middle]
    # the mean of infinity and its like is that infinity, of unlike ones nothing: take the lower
    median = low if low == high or np.isinf([low, high]).any() else (low + high) / 2
    return Spread(median, ordered[0])
