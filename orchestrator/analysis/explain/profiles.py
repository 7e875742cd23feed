"""Which operators quantizing made slower and which faster, from profile trials. Pure.

A quantized operator has another name than the one it takes the place of: ``Fully Connected (NC,
F32) GEMM`` becomes ``Fully Connected (NC, QD8, F32, QC8W) GEMM``, ``aten::mkldnn_convolution``
becomes ``quantized::conv2d_relu``. They are matched by family, which is what is left without number
formats and name spaces; what has no counterpart, such as converting between formats, stands alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from orchestrator.analysis.explain.cells import levels_of, setting_levels
from orchestrator.analysis.table import Speedup
from orchestrator.runs.records import RunRecord, TrialRecord
from orchestrator.trial import TrialKind

#: A runtime may have several names for what a model calls one thing.
_ONE_NAME = (
    (re.compile(r"conv"), "convolution"),
    (re.compile(r"linear|addmm|matmul|\bmm\b"), "linear"),
    (re.compile(r"quantize"), "quantize and dequantize"),
)


#: Families that take less than this share of the baseline's inference, before and after, are added
#: up: a profiler names dozens of them.
_LEAST_SHARE = 0.01
OTHERS = "all others"


@dataclass(frozen=True)
class OperatorChange:
    """A family of operators: its time in an inference before and after, in microseconds; 0 where
    there is none of it."""

    family: str
    baseline_us: float
    treatment_us: float


@dataclass(frozen=True)
class Profile:
    """One comparison operator by operator, the largest changes for the worse first. Families of
    less than 1 % of the baseline's time are one, ``OTHERS``."""

    row: Speedup
    changes: tuple[OperatorChange, ...]


def profiles(run: RunRecord, rows: Iterable[Speedup]) -> tuple[Profile, ...]:
    """Compare the operators in every comparison of ``rows``, which are those of ``run``, whose both
    sides were profiled."""
    found: dict[tuple[str, ...], list[TrialRecord]] = {}
    for record in run.trials:
        trial, measured = record.trial, record.measurement
        if trial.kind is TrialKind.PROFILE and measured is not None and measured.operators:
            variant = trial.variant
            key = (trial.device, variant.model, variant.scheme, *setting_levels(trial.factors))
            found.setdefault(key, []).append(record)
    times = {key: _times(records) for key, records in found.items()}
    made = []
    for row in rows:
        model, _, *setting = levels_of(row).values()
        baseline = times.get((row.device, model, run.baseline, *setting))
        treatment = times.get((row.device, model, row.scheme, *setting))
        if baseline is not None and treatment is not None:
            made.append(Profile(row, _changes(baseline, treatment)))
    return tuple(made)


def _times(records: Sequence[TrialRecord]) -> dict[str, float]:
    """Return the microseconds of each family: the median over trials, 0 in one that has none of
    it."""
    each = [_by_family(record) for record in records]
    families = dict.fromkeys(name for times in each for name in times)
    return {name: median(times.get(name, 0.0) for times in each) for name in families}


def _by_family(record: TrialRecord) -> dict[str, float]:
    found: dict[str, float] = {}
    for operator in record.measurement.operators if record.measurement else ():
        name = family(operator.kind)
        found[name] = found.get(name, 0.0) + operator.us
    return found


def family(kind: str) -> str:
    """Reduce a kind to its family: ``Fully Connected (NC, F32) GEMM`` is of ``Fully Connected
    GEMM``."""
    name = " ".join(re.sub(r"\([^)]*\)", " ", kind).split()) or kind
    space, separator, own = name.rpartition("::")
    if not separator or " " in space:
        return name
    return next((word for pattern, word in _ONE_NAME if pattern.search(own)), own)


def _changes(
    baseline: Mapping[str, float], treatment: Mapping[str, float]
) -> tuple[OperatorChange, ...]:
    least = _LEAST_SHARE * sum(baseline.values())
    shown: dict[str, tuple[float, float]] = {}
    for name in dict.fromkeys((*baseline, *treatment)):
        times = (baseline.get(name, 0.0), treatment.get(name, 0.0))
        under = name if max(times) >= least else OTHERS
        before, after = shown.get(under, (0.0, 0.0))
        shown[under] = (before + times[0], after + times[1])
    changes = (OperatorChange(name, *times) for name, times in shown.items())
    return tuple(sorted(changes, key=lambda each: each.baseline_us - each.treatment_us))
