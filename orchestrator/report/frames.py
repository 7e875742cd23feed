"""A run as tidy pandas frames: for notebooks and further statistics."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from orchestrator.analysis.table import AccuracyComparison, Alternative, Speedup, SpeedupTable
from orchestrator.factors import NAMES
from orchestrator.report.flat import accuracy_to_frame, to_frame
from orchestrator.runs.records import RunRecord, TrialRecord

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class RunFrames:
    """Four frames, a row an observation; a figure that was not measured is missing.

    ``trials``: a row a process, in the order of the journal. Times in ms (``median_ms``,
    ``mean_ms``, ``min_ms`` and so on of its steady state, ``warmup_*`` of its warm-up, ``init_ms``,
    ``first_ms``), memory in MB (10⁶ bytes), ``wall_s`` in seconds.

    ``speedups``: a row a comparison, the columns of speedup.csv and after them what stands behind
    the verdict (``reason``, ``p_adjusted``, ``aa_*``, ``achieved_precision``, ``stopped``, …);
    ``mean_*`` and ``min_*`` are the comparison by those statistics.

    ``accuracy``: a row a comparison of accuracy, the columns of accuracy.csv: shares of 1, the
    difference to the baseline with its interval, the verdict, and how alike the answers are.

    ``findings``: a row a finding of a comparison, of a comparison of accuracy or of a trial,
    ``scope`` saying which.
    """

    run_id: str
    trials: pd.DataFrame
    speedups: pd.DataFrame
    accuracy: pd.DataFrame
    findings: pd.DataFrame


_BEHIND = (
    "reason",
    "achieved_precision",
    "p_value",
    "p_adjusted",
    "aa_ratio",
    "aa_low",
    "aa_high",
    "aa_blocks",
    "memory_kind",
    "baseline_weights",
    "treatment_weights",
    "stopped",
    "control",
    "baseline_energy_mj",
    "treatment_energy_mj",
    "baseline_co2_ug",
    "treatment_co2_ug",
    "runtime_from",
    "baseline_delegated",
    "treatment_delegated",
    "isa_way",
)
_STATISTICS = ("first", "min", "max", "mean", "std", "p5", "median", "p95")
_PLACE = ("device", "model", "scheme")
_TRIAL_COLUMNS = (
    "trial_id",
    *_PLACE,
    "kind",
    "block",
    "replicate",
    *NAMES,
    "outcome",
    "reason",
    "runtime_name",
    "runtime_version",
    "runtime_from",
    "delegated_nodes",
    "total_nodes",
    "isa_way",
    "init_ms",
    "first_ms",
    "warmup_count",
    *(f"warmup_{name}_ms" for name in _STATISTICS),
    "count",
    *(f"{name}_ms" for name in _STATISTICS),
    "memory_init_mb",
    "memory_overall_mb",
    "memory_peak_mb",
    "memory_gpu_peak_mb",
    "wall_s",
    "artifact_sha256",
    "binary_sha256",
    "duet_partner",
)
_FINDING_COLUMNS = (*_PLACE, "scope", "trial_id", "code", "message", "remedy", "forbids")


def to_frames(run: RunRecord, table: SpeedupTable) -> RunFrames:
    """The frames of a run and of the table that was made of it."""
    import pandas as pd  # noqa: PLC0415  # half a second, and most reports do without

    findings = [
        *_of_comparisons("comparison", table.rows),
        *_of_comparisons("accuracy", table.accuracy),
        *_of_trials(run),
    ]
    return RunFrames(
        run_id=run.run_id,
        trials=pd.DataFrame([_trial(r) for r in run.trials], columns=list(_TRIAL_COLUMNS)),
        speedups=_speedups(table),
        accuracy=accuracy_to_frame(table),
        findings=pd.DataFrame(findings, columns=list(_FINDING_COLUMNS)),
    )


def _speedups(table: SpeedupTable) -> pd.DataFrame:
    import pandas as pd  # noqa: PLC0415  # as above

    front, behind = to_frame(table), pd.DataFrame([_behind(row) for row in table.rows])
    # the file has some of these too, where a row has them
    behind = behind[[column for column in behind.columns if column not in front.columns]]
    joined: pd.DataFrame = pd.concat([front, behind], axis="columns")
    return joined


def _behind(row: Speedup) -> dict[str, Any]:
    alternatives = {"mean": row.by_mean, "min": row.by_minimum}
    found = {name: getattr(row, name) for name in _BEHIND}
    for name, each in alternatives.items():
        found |= _alternative(name, each)
    return found


def _alternative(name: str, each: Alternative | None) -> dict[str, Any]:
    return {
        f"{name}_speedup": each.speedup if each else None,
        f"{name}_ci_low": each.ci_low if each else None,
        f"{name}_ci_high": each.ci_high if each else None,
        f"{name}_verdict": each.verdict.value if each else None,
    }


def _trial(record: TrialRecord) -> list[Any]:
    trial, measured = record.trial, record.measurement
    values: dict[str, Any] = {
        "trial_id": trial.trial_id,
        "device": trial.device,
        "model": trial.variant.model,
        "scheme": trial.variant.scheme,
        "kind": trial.kind.value,
        "block": trial.block,
        "replicate": trial.replicate,
        "outcome": record.outcome.value,
        "reason": record.reason,
        "isa_way": record.isa_way,
        "wall_s": record.wall_s,
        "artifact_sha256": record.artifact_sha256,
        "binary_sha256": record.binary_sha256,
        "duet_partner": trial.duet.partner if trial.duet else None,
    }
    values |= {name: getattr(trial.factors, name) for name in NAMES}
    if measured is not None:
        values |= {
            "runtime_name": measured.runtime_name,
            "runtime_version": measured.runtime_version,
            "runtime_from": measured.runtime_from,
            "init_ms": _thousandth(measured.init_us),
            "first_ms": _thousandth(measured.first_us),
        }
        if measured.delegation is not None:
            values["delegated_nodes"] = measured.delegation.delegated_nodes
            values["total_nodes"] = measured.delegation.total_nodes
        for prefix, phase in (("", measured.steady), ("warmup_", measured.warmup)):
            if phase is not None:
                values[f"{prefix}count"] = phase.count
                values |= {
                    f"{prefix}{name}_ms": _thousandth(getattr(phase, f"{name}_us"))
                    for name in _STATISTICS
                }
        if measured.memory is not None:
            values |= {
                f"memory_{name}_mb": None if amount is None else amount / 1e6
                for name in ("init", "overall", "peak", "gpu_peak")
                for amount in [getattr(measured.memory, f"{name}_bytes")]
            }
    return [values.get(column) for column in _TRIAL_COLUMNS]


def _thousandth(us: float | None) -> float | None:
    return None if us is None else us / 1000


def _of_comparisons(
    scope: str, rows: Iterable[Speedup | AccuracyComparison]
) -> list[tuple[Any, ...]]:
    return [
        (row.device, row.model, row.scheme, scope, None, f.code, f.message, f.remedy, f.forbids)
        for row in rows
        for f in row.findings
    ]


def _of_trials(run: RunRecord) -> list[tuple[Any, ...]]:
    return [
        (
            t.device, t.variant.model, t.variant.scheme,
            "trial", t.trial_id, f.code, f.message, f.remedy, f.forbids,
        )
        for record in run.trials
        for t in [record.trial]
        for f in record.findings
    ]  # fmt: skip
