"""A run's trials become its table of speed-ups. Pure: the same run always gives the same table."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TypedDict

from orchestrator.analysis.accuracy import compare_accuracy, with_accuracy
from orchestrator.analysis.accuracy.trade_offs import trade_offs
from orchestrator.analysis.audit import aa_effect, audit, most_common, no_noise_floor
from orchestrator.analysis.sides.control import control
from orchestrator.analysis.sides.energy import energy
from orchestrator.analysis.sides.groups import ComparisonGroup, comparison_groups
from orchestrator.analysis.sides.pairing import Pairs, Statistic, median_ms, pair
from orchestrator.analysis.sides.same_bytes import same_bytes
from orchestrator.analysis.sides.side import Side
from orchestrator.analysis.sides.summaries import (
    delegated,
    inputs_fed,
    isa_way,
    looked_at,
    microarchitecture,
    runtime_from,
    runtime_versions,
    size_mb,
)
from orchestrator.analysis.speedups import alternatives
from orchestrator.analysis.speedups.across import counterparts, two_files, wider
from orchestrator.analysis.speedups.distributions import distributions
from orchestrator.analysis.speedups.figures import compare_figures, without_time
from orchestrator.analysis.speedups.published import Publication, with_published
from orchestrator.analysis.speedups.sweeps import sweeps
from orchestrator.analysis.speedups.verdicts import ALPHA, CERTAIN, doubt
from orchestrator.analysis.statistics import (
    MIN_PAIRS,
    Estimate,
    Interval,
    estimate,
    floor_of,
    holm_of_known,
    p_value,
)
from orchestrator.analysis.table import (
    Alternative,
    FailedTrials,
    NoiseFloor,
    RunnerComparison,
    Speedup,
    SpeedupTable,
    Verdict,
)
from orchestrator.factors import untold
from orchestrator.frameworks.registry import group_of
from orchestrator.measurement import Finding, Outcome
from orchestrator.measures.memory.comparison import memory_mb
from orchestrator.runs.records import RunRecord
from orchestrator.trial import TrialKind


def analyse(run: RunRecord, published: Iterable[Publication] = ()) -> SpeedupTable:
    """Return every comparison that was planned, with what is certain about it and what is not, and
    with what is ``published`` of the same.

    Raises JournalError where the run tells of one trial twice.
    """
    # A group whose trials report no time at all (one measured for another figure) has no speed-up,
    # and must not take part in the corrections below; ``figures`` has it.
    every = comparison_groups(run)
    groups = [group for group in every if not without_time(group)]
    # Before any treatment is looked at: what the baseline yields against itself, group by group.
    # An effect there is a finding on each of the group's rows.
    floors = [_noise_floor(group) for group in groups]
    effects = _aa_effects(groups, floors)
    compared = [
        (_compare(run, group, side, floor, effect), group.baseline, side)
        for group, floor, effect in zip(groups, floors, effects, strict=True)
        for side in group.treatments.values()
    ]
    crossed = [
        (_across(run, (groups[one], groups[other]), (floors[one], floors[other])), one)
        for one, other in counterparts(run.compare, groups)
    ]
    rows_across = _judge(row for rows, _ in crossed for row in rows)
    references = [groups[one].factors for rows, one in crossed for _ in rows]
    # Verdicts come after all rows are there: Holm's correction needs every p-value of the table.
    # The other statistics and the published figures are held against finished verdicts.
    judged = with_published(
        _with_alternatives(_judge(row for row, _, _ in compared), compared), published
    )
    accuracy = compare_accuracy(run, every)
    judged = with_accuracy(judged, accuracy)
    return SpeedupTable(
        run_id=run.run_id,
        baseline=run.baseline,
        devices=run.devices,
        rows=judged,
        noise_floors=tuple(
            floor for group, floor in zip(groups, floors, strict=True) if group.factors is not None
        ),
        problems=_problems(run),
        lost=dict(run.lost),
        stopped=dict(run.stopped),
        outcomes=dict(Counter(r.outcome for r in run.trials)),
        unfinished=len({t.trial_id for t in run.planned} - {r.trial.trial_id for r in run.trials}),
        precision=run.precision,
        min_blocks=run.min_blocks,
        max_blocks=run.max_blocks,
        sweeps=sweeps(run, groups, judged),
        distributions=distributions(groups),
        duet=run.duet,
        figures=compare_figures(run, every),
        accuracy=accuracy,
        trade_offs=trade_offs(judged, accuracy),
        same_bytes=same_bytes(run),
        across=tuple(
            RunnerComparison(row, factors)
            for row, factors in zip(rows_across, references, strict=True)
            if factors is not None
        ),
    )


def _noise_floor(group: ComparisonGroup) -> NoiseFloor:
    pairs = _aa(group.baseline)
    found = estimate(pairs.logs) if len(pairs) else None
    interval = found.interval if found else None
    return NoiseFloor(
        device=group.device,
        model=group.model,
        factors=group.factors or untold(""),
        blocks=len(pairs),
        ratio=math.exp(found.centre) if found else None,
        low=math.exp(interval.low) if interval else None,
        high=math.exp(interval.high) if interval else None,
        floor=floor_of(pairs.logs),
    )


def _aa(baseline: Side) -> Pairs:
    return pair(baseline.times[Statistic.CENTRE, 0], baseline.times[Statistic.CENTRE, 1])


def _aa_effects(
    groups: Sequence[ComparisonGroup], floors: Sequence[NoiseFloor]
) -> list[tuple[Finding, ...]]:
    """Find where the baseline differs from itself, after Holm's correction over all A/A
    comparisons."""
    adjusted = holm_of_known([p_value(_aa(group.baseline).logs) for group in groups])
    return [
        (aa_effect(floor),) if floor.excludes_one and p is not None and p <= ALPHA else ()
        for p, floor in zip(adjusted, floors, strict=True)
    ]


def _across(
    run: RunRecord,
    groups: tuple[ComparisonGroup, ComparisonGroup],
    floors: tuple[NoiseFloor, NoiseFloor],
) -> list[Speedup]:
    """The baseline of one runner beside everything that another one ran."""
    reference, group = groups
    baseline = replace(group, baseline=reference.baseline)
    of_group = (two_files(reference, group),)
    return [
        _compare(run, baseline, side, wider(*floors), of_group, across=True) for side in group.sides
    ]


def _compare(
    run: RunRecord,
    group: ComparisonGroup,
    treatment: Side,
    floor: NoiseFloor,
    of_group: Iterable[Finding],
    *,
    across: bool = False,
) -> Speedup:
    """Make one row, its verdict still open: that needs the other rows' p-values."""
    baseline = group.baseline
    base = baseline.times_for(treatment, Statistic.CENTRE)
    pairs = pair(base, treatment.times[Statistic.CENTRE, 0])
    findings = [
        *audit(run, baseline, treatment, pairs, device=group.device, across=across),
        *of_group,
    ]
    # with fewer pairs too_few_blocks is said already, and the floor is the lesser lack
    if floor.floor is None and len(pairs) >= MIN_PAIRS:
        findings.append(no_noise_floor(floor.blocks))
    # No estimate at all where a finding forbids: a number that stands in a table is read, whatever
    # verdict is beside it.
    forbidden = any(finding.forbids for finding in findings)
    found = None if forbidden or not len(pairs) else estimate(pairs.logs)
    base_memory, treatment_memory, memory_kind = memory_mb(baseline.memory, treatment.memory)
    used = energy(baseline, treatment, run.grid_gco2_per_kwh.get(group.device))
    failures = baseline.failures + treatment.failures
    return Speedup(
        run_id=run.run_id,
        device=group.device,
        microarchitecture=microarchitecture(run, group.device),
        factors=group.factors,
        isa_way=isa_way(baseline, treatment),
        inputs=inputs_fed(baseline, group.factors),
        looked_at=looked_at(run, baseline, treatment),
        runtime_version=runtime_versions(baseline, treatment),
        runtime_from=runtime_from(baseline, treatment),
        baseline_delegated=delegated(baseline),
        treatment_delegated=delegated(treatment),
        model=group.model,
        scheme=treatment.scheme,
        baseline_scheme=run.baseline,
        blocks=len(pairs),
        baseline_ms=_ms(pairs, pairs.baseline, baseline),
        treatment_ms=_ms(pairs, pairs.treatment, treatment),
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
        duet=run.duet,
    )


def _ms(pairs: Pairs, paired_us: Sequence[float], side: Side) -> float | None:
    """Take the median over the blocks compared; where there are none, over all that was
    measured."""
    return median_ms(paired_us if len(pairs) else side.times[Statistic.CENTRE, 0].values())


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


def _stopped(run: RunRecord, group: ComparisonGroup) -> str:
    if group.factors is None:
        return ""
    key = group_of(group.device, group.model, group.factors, (), run.baseline).key
    return run.stopped.get(key) or run.paused.get(key, "")


def _judge(rows: Iterable[Speedup]) -> tuple[Speedup, ...]:
    """Give every row its verdict, after Holm's correction over all of them."""
    rows = list(rows)
    return tuple(map(_with_verdict, rows, holm_of_known([row.p_value for row in rows])))


def _with_verdict(row: Speedup, p_adjusted: float | None) -> Speedup:
    if row.speedup is None:
        because = next((f for f in row.findings if f.forbids), None)
        return replace(row, reason=because.message if because else "nothing was measured")
    interval = None
    if row.ci_low is not None and row.ci_high is not None:
        interval = Interval(math.log(row.ci_low), math.log(row.ci_high))
    found = Estimate(math.log(row.speedup), interval)
    # the verdict is the sign alone, and only where nothing gives doubt: interval, floor, correction
    why = doubt(found, row.noise_floor, p_adjusted)
    verdict = Verdict.FASTER if row.speedup > 1 else Verdict.SLOWER
    return replace(
        row,
        p_adjusted=p_adjusted,
        verdict=Verdict.INDISTINGUISHABLE if why else verdict,
        reason=why or CERTAIN,
    )


def _with_alternatives(
    rows: Sequence[Speedup], compared: Sequence[tuple[Speedup, Side, Side]]
) -> tuple[Speedup, ...]:
    """Give every row the verdicts by mean and by minimum, and say whether they agree with its
    own."""
    by_mean, by_minimum = (
        alternatives.judge(
            [
                None if row.speedup is None else alternatives.compare(baseline, side, statistic)
                for row, baseline, side in compared
            ]
        )
        for statistic in alternatives.STATISTICS
    )
    return tuple(
        _with_alternative(row, mean, minimum, baseline)
        for row, mean, minimum, (_, baseline, _) in zip(
            rows, by_mean, by_minimum, compared, strict=True
        )
    )


def _with_alternative(
    row: Speedup, mean: Alternative | None, minimum: Alternative | None, baseline: Side
) -> Speedup:
    finding = alternatives.disagreement(row, mean, minimum, baseline)
    findings = (*row.findings, finding) if finding else row.findings
    return replace(row, by_mean=mean, by_minimum=minimum, findings=findings)


def _problems(run: RunRecord) -> tuple[FailedTrials, ...]:
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
        FailedTrials(*key, reason=most_common(texts), count=len(texts))
        for key, texts in sorted(reasons.items())
    )
