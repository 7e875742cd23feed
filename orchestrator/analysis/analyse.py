"""A run's trials become its table of speed-ups. Pure: the same run always gives the same table."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypedDict

from orchestrator.analysis.audit import Side, audit, most_common, no_noise_floor
from orchestrator.analysis.control import control
from orchestrator.analysis.distributions import distributions
from orchestrator.analysis.energy import energy
from orchestrator.analysis.pairing import GroupKey, Pairs, centres, group_key, median_ms, pair
from orchestrator.analysis.statistics import MIN_PAIRS, Estimate, estimate, holm, p_value
from orchestrator.analysis.summaries import (
    memory_mb,
    microarchitecture,
    runtime_versions,
    size_mb,
)
from orchestrator.analysis.sweeps import sweeps
from orchestrator.analysis.table import NoiseFloor, Problem, Speedup, SpeedupTable, Verdict
from orchestrator.errors import JournalError
from orchestrator.measurement import Outcome
from orchestrator.plan import Factors, Group, TrialKind, Variant
from orchestrator.runs.records import RunRecord, TrialRecord

#: Family-wise error rate of a table.
ALPHA = 0.05

_CERTAIN = (
    "the interval excludes 1, the effect is beyond the noise floor, and it passes Holm's correction"
)


@dataclass(frozen=True)
class _Group:
    """A comparison group as it came out. ``factors`` is None where nothing of it was sent."""

    device: str
    model: str
    factors: Factors | None
    sides: Mapping[str, Side]


def analyse(run: RunRecord) -> SpeedupTable:
    """Every comparison that was planned, with what is certain about it and what is not.

    Raises JournalError where the run tells of one trial twice.
    """
    rows: list[Speedup] = []
    floors: list[NoiseFloor] = []
    for group in _groups(run):
        baseline = group.sides.get(run.baseline) or Side(run.baseline, (), None)
        floor = _noise_floor(group, baseline)
        if group.factors is not None:
            floors.append(floor)
        rows.extend(
            _compare(run, group, baseline, side, floor)
            for scheme, side in group.sides.items()
            if scheme != run.baseline
        )
    judged = _judge(rows)
    return SpeedupTable(
        run_id=run.run_id,
        baseline=run.baseline,
        devices=run.devices,
        rows=judged,
        noise_floors=tuple(floors),
        problems=_problems(run),
        lost=dict(run.lost),
        stopped=dict(run.stopped),
        outcomes=dict(Counter(r.outcome for r in run.trials)),
        unfinished=len({t.trial_id for t in run.planned} - {r.trial.trial_id for r in run.trials}),
        precision=run.precision,
        min_blocks=run.min_blocks,
        max_blocks=run.max_blocks,
        sweeps=sweeps(run, judged),
        distributions=distributions(run),
    )


def _refuse_duplicates(run_id: str, records: Sequence[TrialRecord]) -> None:
    """Of one scheme in one group, a place in the plan may be filled once."""
    seen = set()
    for record in records:
        trial = record.trial
        place = (trial.kind, trial.block, trial.replicate)
        if place in seen:
            raise JournalError(
                f"run {run_id}: the journal finishes trial {trial.trial_id} twice; "
                "nothing is computed from it, look at its lines in journal.jsonl"
            )
        seen.add(place)


def _groups(run: RunRecord) -> list[_Group]:
    """Every group that was planned or measured, and one without factors for each model of which
    there is nothing on a device."""
    records: dict[GroupKey, dict[str, list[TrialRecord]]] = {}
    for trial in run.planned:
        key = (trial.device, trial.variant.model, trial.factors)
        records.setdefault(key, {}).setdefault(trial.variant.scheme, [])
    for record in run.trials:
        by_scheme = records.setdefault(group_key(record), {})
        by_scheme.setdefault(record.trial.variant.scheme, []).append(record)
    groups = [
        _Group(device, model, factors, _sides(run, model, by_scheme))
        for (device, model, factors), by_scheme in records.items()
    ]
    reached = {(group.device, group.model) for group in groups}
    groups += [
        _Group(device, model, None, _sides(run, model, {}))
        for device in run.devices
        for model in {variant.model for variant in run.artifacts}
        if (device, model) not in reached
    ]
    return sorted(groups, key=lambda group: _place(run, group))


def _place(run: RunRecord, group: _Group) -> tuple[object, ...]:
    """Devices as the inventory has them, then factors, then models as the manifest has them."""
    models = list(dict.fromkeys(variant.model for variant in run.artifacts))
    return (
        _index(run.devices, group.device),
        group.device,
        (1,) if group.factors is None else (0, group.factors),
        _index(models, group.model),
        group.model,
    )


def _index(items: Sequence[str], item: str) -> int:
    return items.index(item) if item in items else len(items)


def _sides(
    run: RunRecord, model: str, records: Mapping[str, Sequence[TrialRecord]]
) -> dict[str, Side]:
    """Every scheme of ``model`` that has an artifact, a plan or a trial; artifacts' order first."""
    schemes = [variant.scheme for variant in run.artifacts if variant.model == model]
    schemes += sorted(records.keys() - set(schemes))
    for of_scheme in records.values():
        _refuse_duplicates(run.run_id, of_scheme)
    return {
        scheme: Side(
            scheme,
            tuple(sorted(records.get(scheme, ()), key=lambda r: r.trial.trial_id)),
            run.artifacts.get(Variant(model, scheme)),
        )
        for scheme in schemes
    }


def _noise_floor(group: _Group, baseline: Side) -> NoiseFloor:
    pairs = pair(centres(baseline.records), centres(baseline.records, replicate=1))
    found = estimate(pairs.logs) if len(pairs) else None
    interval = found.interval if found else None
    return NoiseFloor(
        device=group.device,
        model=group.model,
        factors=group.factors or Factors("", "", "", 0, 0, ""),
        blocks=len(pairs),
        ratio=math.exp(found.centre) if found else None,
        low=math.exp(interval.low) if interval else None,
        high=math.exp(interval.high) if interval else None,
        floor=math.exp(max(abs(interval.low), abs(interval.high))) if interval else None,
    )


def _compare(
    run: RunRecord, group: _Group, baseline: Side, treatment: Side, floor: NoiseFloor
) -> Speedup:
    """One row, its verdict still open: that needs the other rows' p-values."""
    pairs = pair(centres(baseline.records), centres(treatment.records))
    findings = list(audit(run, baseline, treatment, pairs, device=group.device))
    if floor.floor is None and len(pairs) >= MIN_PAIRS:
        findings.append(no_noise_floor(floor.blocks))
    forbidden = any(finding.forbids for finding in findings)
    found = None if forbidden or not len(pairs) else estimate(pairs.logs)
    base_memory, treatment_memory, memory_kind = memory_mb(baseline, treatment)
    used = energy(baseline, treatment, run.grid_gco2_per_kwh.get(group.device))
    factors = group.factors
    failures = baseline.failures + treatment.failures
    return Speedup(
        run_id=run.run_id,
        device=group.device,
        microarchitecture=microarchitecture(run, group.device),
        isa=factors.isa if factors else "",
        runner=factors.runner if factors else "",
        runtime=factors.runtime if factors else "",
        runtime_version=runtime_versions(baseline, treatment),
        delegate=factors.delegate if factors else "",
        threads=factors.threads if factors else None,
        batch=factors.batch if factors else None,
        input_size=factors.input_size if factors else None,
        engine=factors.engine if factors and factors.framework == "torch" else "",
        processor=factors.processor if factors and factors.framework == "torch" else "",
        model=group.model,
        scheme=treatment.scheme,
        baseline_scheme=run.baseline,
        blocks=len(pairs),
        baseline_ms=_ms(pairs, pairs.baseline_us, baseline),
        treatment_ms=_ms(pairs, pairs.treatment_us, treatment),
        **_ratios(found),
        p_value=None if found is None else p_value(pairs.logs),
        noise_floor=floor.floor,
        aa_ratio=floor.ratio,
        aa_low=floor.low,
        aa_high=floor.high,
        aa_blocks=floor.blocks,
        verdict=Verdict.INVALID if found is None else Verdict.INDISTINGUISHABLE,
        reason="",
        baseline_size_mb=size_mb(baseline),
        treatment_size_mb=size_mb(treatment),
        baseline_memory_mb=base_memory,
        treatment_memory_mb=treatment_memory,
        memory_kind=memory_kind,
        findings=tuple(findings),
        baseline_weights=baseline.artifact.weights if baseline.artifact else "",
        treatment_weights=treatment.artifact.weights if treatment.artifact else "",
        stopped=_stopped(run, group),
        failures=dict(sorted(failures.items())),
        control=control(run.facts.get(group.device, {}), baseline.states + treatment.states),
        baseline_energy_mj=used.baseline_mj,
        treatment_energy_mj=used.treatment_mj,
        baseline_co2_ug=used.baseline_co2_ug,
        treatment_co2_ug=used.treatment_co2_ug,
        energy_source=used.source,
    )


def _ms(pairs: Pairs, paired_us: Sequence[float], side: Side) -> float | None:
    """Over the blocks compared; where there are none, over all that was measured."""
    return median_ms(paired_us if len(pairs) else centres(side.records).values())


class _Ratios(TypedDict):
    speedup: float | None
    ci_low: float | None
    ci_high: float | None
    achieved_precision: float | None


def _ratios(found: Estimate | None) -> _Ratios:
    interval = found.interval if found else None
    return {
        "speedup": math.exp(found.centre) if found else None,
        "ci_low": math.exp(interval.low) if interval else None,
        "ci_high": math.exp(interval.high) if interval else None,
        "achieved_precision": interval.half_width if interval else None,
    }


def _stopped(run: RunRecord, group: _Group) -> str:
    if group.factors is None:
        return ""
    key = Group(group.device, group.model, group.factors, (), run.baseline).key
    return run.stopped.get(key, "")


def _judge(rows: Iterable[Speedup]) -> tuple[Speedup, ...]:
    """Every row with its verdict, after Holm's correction over all of them."""
    rows = list(rows)
    tested = [(i, row.p_value) for i, row in enumerate(rows) if row.p_value is not None]
    adjusted = holm([p for _, p in tested])
    for (index, _), p_adjusted in zip(tested, adjusted, strict=True):
        rows[index] = replace(rows[index], p_adjusted=p_adjusted)
    return tuple(_with_verdict(row) for row in rows)


def _with_verdict(row: Speedup) -> Speedup:
    if row.speedup is None:
        because = next((f for f in row.findings if f.forbids), None)
        return replace(row, reason=because.message if because else "nothing was measured")
    doubt = _doubt(row)
    if doubt is not None:
        return replace(row, verdict=Verdict.INDISTINGUISHABLE, reason=doubt)
    verdict = Verdict.FASTER if row.speedup > 1 else Verdict.SLOWER
    return replace(row, verdict=verdict, reason=_CERTAIN)


def _doubt(row: Speedup) -> str | None:
    """Why the two sides may not be called different; None if they may."""
    if row.speedup is None or row.ci_low is None or row.ci_high is None:
        return "too few blocks for a 95 % interval"
    if row.ci_low <= 1 <= row.ci_high:
        return "the interval includes 1"
    if row.noise_floor is None:
        return "there is no noise floor to hold the effect against"
    if abs(math.log(row.speedup)) <= math.log(row.noise_floor):
        return f"the effect is within the noise floor ({row.noise_floor:.4g})"
    if row.p_adjusted is None or row.p_adjusted > ALPHA:
        return "it does not pass Holm's correction over the table"
    return None


def _problems(run: RunRecord) -> tuple[Problem, ...]:
    reasons: dict[tuple[str, str, str, TrialKind, Outcome], list[str]] = {}
    for record in run.trials:
        trial = record.trial
        if record.outcome is not Outcome.OK:
            key = (
                trial.device,
                trial.variant.model,
                trial.variant.scheme,
                trial.kind,
                record.outcome,
            )
            reasons.setdefault(key, []).append(record.reason or "no reason recorded")
    return tuple(
        Problem(*key, reason=most_common(texts), count=len(texts))
        for key, texts in sorted(reasons.items())
    )
