"""Time by time, what one process of a scheme did: read from the raw logs, for warm-up curves.

The journal has summaries; the measuring children print the time of every inference, and their logs
keep it. ``benchmark_model`` prints none, and has no curve.
"""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.frameworks.reading import child_output
from orchestrator.measurement import Outcome
from orchestrator.runs.directory import RunDirectory
from orchestrator.runs.rawlog import read_log, stdout_of
from orchestrator.runs.records import RunRecord, TrialRecord
from orchestrator.trial import Factors, TrialKind


@dataclass(frozen=True)
class Curve:
    """The inferences of one process in their order, in milliseconds."""

    device: str
    model: str
    scheme: str
    factors: Factors
    block: int
    warmup_ms: tuple[float, ...]
    steady_ms: tuple[float, ...]


def read_curves(directory: RunDirectory, run: RunRecord) -> tuple[Curve, ...]:
    """One process a scheme, that of its first block that ended ok.

    A log that is missing, or tells no single times, has no curve: the figures do not rest on it.
    """
    first: dict[tuple[object, ...], TrialRecord] = {}
    for record in run.trials:
        trial = record.trial
        if record.outcome is Outcome.OK and trial.kind is TrialKind.TIMING:
            key = (trial.device, trial.variant, trial.factors)
            best = first.setdefault(key, record)
            if _place(record) < _place(best):
                first[key] = record
    curves = (_curve(directory, record) for record in first.values())
    return tuple(curve for curve in curves if curve is not None)


def _place(record: TrialRecord) -> tuple[int, int]:
    return (record.trial.block, record.trial.replicate)


def _curve(directory: RunDirectory, record: TrialRecord) -> Curve | None:
    trial = record.trial
    try:
        said = stdout_of(read_log(directory.path, trial.trial_id))
        told = child_output.only(said.splitlines(), child_output.RESULT)
        warmup = child_output.times_of(told, "warmup_us")
        steady = child_output.times_of(told, "steady_us")
    except (OSError, ValueError):
        return None
    return Curve(
        trial.device,
        trial.variant.model,
        trial.variant.scheme,
        trial.factors,
        trial.block,
        tuple(time / 1000 for time in warmup),
        tuple(time / 1000 for time in steady),
    )
