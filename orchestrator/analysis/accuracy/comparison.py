"""The accuracy of every treatment beside its baseline's, with a verdict. Pure.

What a trial answered is read from its raw log, one comparison at a time, so that memory does not
grow with the run.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TypeAlias

from orchestrator.analysis.accuracy.classifying import score_classifiers, shown
from orchestrator.analysis.accuracy.detecting import METRICS as OF_OBJECTS
from orchestrator.analysis.accuracy.detecting import score_detectors
from orchestrator.analysis.accuracy.score import Difference, Score
from orchestrator.analysis.sides.groups import ComparisonGroup
from orchestrator.analysis.sides.outputs import RANDOM
from orchestrator.analysis.sides.side import Side
from orchestrator.analysis.statistics import holm_of_known
from orchestrator.analysis.table import AccuracyComparison, Agreement
from orchestrator.errors import JournalError
from orchestrator.measurement import Finding, Outcome
from orchestrator.measures.accuracy import audit
from orchestrator.measures.accuracy.agreement import OutputAgreement, agreement
from orchestrator.measures.accuracy.answers import SampleAnswer, in_common
from orchestrator.measures.accuracy.samples import SampleSet
from orchestrator.runs.records import RunRecord, TrialRecord
from orchestrator.trial import Factors, TrialKind

#: The answers of both sides to the same samples, in the same order.
_Pair: TypeAlias = "tuple[Sequence[SampleAnswer], Sequence[SampleAnswer]]"

INVALID = "invalid"
#: What is compared where nobody knows what is right.
AGREEMENT = "agreement"
#: The figure that is judged, by task.
METRICS = {"classification": "top-1", **OF_OBJECTS}


def compare(
    run: RunRecord, samples: SampleSet, groups: Iterable[ComparisonGroup]
) -> tuple[AccuracyComparison, ...]:
    """Return a row for every treatment whose accuracy was asked for, in the order of the groups."""
    rows, differences = [], []
    for group in groups:
        if group.factors is None or not _trials(group.baseline):
            continue
        ours, unread = _answers(run, group.baseline)
        for side in group.treatments.values():
            theirs, more = _answers(run, side)
            pair, twice = _pair(ours, theirs)
            row, difference = _row(samples, group, side, pair, (*unread, *more, *twice))
            rows.append(row)
            differences.append(difference)
    adjusted = holm_of_known([None if each is None else each.p for each in differences])
    return tuple(
        _judged(row, difference, p)
        for row, difference, p in zip(rows, differences, adjusted, strict=True)
    )


def _trials(side: Side) -> tuple[TrialRecord, ...]:
    """The side's trials of accuracy, in the order of their samples."""
    trials = (r for r in side.records if r.trial.kind is TrialKind.ACCURACY)
    return tuple(sorted(trials, key=lambda each: each.trial.replicate))


def _answers(run: RunRecord, side: Side) -> tuple[tuple[SampleAnswer, ...], tuple[Finding, ...]]:
    """What a side answered, and why a part of that is missing."""
    answers: list[SampleAnswer] = []
    findings: list[Finding] = []
    for record in _trials(side):
        if record.outcome is not Outcome.OK:
            findings.append(
                Finding(
                    "shard_missing",
                    f"{side.scheme} did not answer a part of the samples "
                    f"({record.outcome.value}: {record.reason})",
                    "see the trial's log; a run that is resumed tries again what was interrupted",
                )
            )
            continue
        try:
            answers += run.answers_of(record)
        except JournalError as exc:
            findings.append(
                Finding("answers_unreadable", str(exc), "restore the run from a copy", forbids=True)
            )
    # of many shards that failed alike, one says it
    return tuple(answers), tuple({(f.code, f.message): f for f in findings}.values())


def _pair(
    ours: Sequence[SampleAnswer], theirs: Sequence[SampleAnswer]
) -> tuple[_Pair, tuple[Finding, ...]]:
    """Return the answers to the samples that both sides have, in one order."""
    try:
        return in_common(ours, theirs), ()
    except ValueError as exc:
        twice = Finding("answers_unreadable", str(exc), "restore the run from a copy", forbids=True)
        return ((), ()), (twice,)


def _row(
    samples: SampleSet,
    group: ComparisonGroup,
    side: Side,
    answers: _Pair,
    unread: tuple[Finding, ...],
) -> tuple[AccuracyComparison, Difference | None]:
    ours, theirs = answers
    score = _score(samples, group, side, ours, theirs)
    findings = (*unread, *_of_answers(samples, group, side, (ours, theirs)), *score.findings)
    findings = tuple(sorted(findings, key=lambda each: not each.forbids))
    forbidden = any(each.forbids for each in findings)
    factors = group.factors
    if factors is None:
        raise ValueError("a group without factors has no trials")
    row = AccuracyComparison(
        device=group.device,
        model=group.model,
        factors=factors,
        scheme=side.scheme,
        baseline_scheme=group.baseline.scheme,
        metric=score.metric,
        samples=len(ours),
        margin=samples.margin,
        baseline=score.baseline,
        treatment=score.treatment,
        difference=None,
        low=None,
        high=None,
        lost=None,
        gained=None,
        p_value=None,
        p_adjusted=None,
        verdict="",
        reason="",
        others=score.others,
        agreement=_agreements(ours, theirs),
        classes=score.classes,
        changed=score.changed,
        changes=score.changes,
        outcomes=score.outcomes,
        findings=findings,
    )
    return row, None if forbidden else score.difference


def _score(
    samples: SampleSet,
    group: ComparisonGroup,
    side: Side,
    ours: Sequence[SampleAnswer],
    theirs: Sequence[SampleAnswer],
) -> Score:
    metric = METRICS.get(samples.task, AGREEMENT)
    if not ours:
        nothing = Finding(
            "nothing_answered",
            f"{group.baseline.scheme} and {side.scheme} answered no sample both",
            "see why the trials of accuracy failed: their raw output is in the run's logs/",
            forbids=True,
        )
        return Score(metric, findings=(nothing,))
    if samples.task == "classification":
        return score_classifiers(samples, ours, theirs)
    if samples.task in METRICS:
        size = _factors(group).input_size
        framework = side.records[0].trial.variant.framework
        feed = samples.feed(group.model, framework, size)
        return score_detectors(samples, feed, ours, theirs)
    return Score(metric)


def _factors(group: ComparisonGroup) -> Factors:
    if group.factors is None:
        raise ValueError("a group without factors has no trials")
    return group.factors


def _of_answers(
    samples: SampleSet,
    group: ComparisonGroup,
    side: Side,
    answers: _Pair,
) -> Iterable[Finding]:
    """Findings that need no label, and that of weights nobody trained."""
    ours, theirs = answers
    if ours:
        if samples.task not in OF_OBJECTS:  # of those the places that count are looked at
            yield from audit.not_finite(theirs)
        yield from audit.constant_outputs(theirs)
        yield from _of_calibration(samples, group, side)
    untrained = [
        each.scheme
        for each in (group.baseline, side)
        if each.artifact is not None and each.artifact.weights.startswith(RANDOM)
    ]
    if untrained and samples.task != AGREEMENT:
        yield Finding(
            "random_weights",
            f"the weights of {' and '.join(untrained)} are random: what is right by chance is "
            "not accuracy",
            "build the models with trained weights (`--weights imagenet`), or measure agreement "
            "(`task: agreement`)",
            forbids=True,
        )


def _of_calibration(samples: SampleSet, group: ComparisonGroup, side: Side) -> Iterable[Finding]:
    """Findings about what the sides were calibrated on, as far as anybody knows."""
    for each in (group.baseline, side):
        if each.artifact is None or each.artifact.calibration is None:
            continue
        found = each.artifact.calibration
        yield from audit.calibrated_on_evaluation(
            each.scheme, found.sampled, len(samples.keys), samples.margin
        )
        # nothing is lost of weights that were never trained
        if found.kind == RANDOM and not each.artifact.weights.startswith(RANDOM):
            yield from audit.calibration_random(each.scheme, found.count)


def _agreements(
    ours: Sequence[SampleAnswer], theirs: Sequence[SampleAnswer]
) -> tuple[Agreement, ...]:
    try:
        return tuple(map(_agreement, agreement(ours, theirs))) if ours else ()
    except ValueError:  # outputs of unlike sizes: nothing of them can be held against each other
        return ()


def _agreement(found: OutputAgreement) -> Agreement:
    return Agreement(
        output=found.name,
        samples=found.n,
        same_top1=None if found.same_top1 is None else shown(found.same_top1),
        same_bytes=found.same_bytes.value or 0.0,
        cosine=None if found.cosine is None else found.cosine.median,
        snr_db=None if found.snr_db is None else found.snr_db.median,
        worst_snr_db=None if found.snr_db is None else found.snr_db.minimum,
        largest_deviation=found.largest_deviation,
        estimated=found.estimated,
    )


def _judged(
    row: AccuracyComparison, difference: Difference | None, p_adjusted: float | None
) -> AccuracyComparison:
    if difference is None or p_adjusted is None:
        because = next((each for each in row.findings if each.forbids), None)
        if because is None:
            return replace(row, reason="no labels: nothing is right or wrong")
        return replace(row, verdict=INVALID, reason=because.message)
    judged = difference.adjusted(p_adjusted)
    findings = (*row.findings, *audit.coarser_is_better(judged, row.scheme))
    return replace(
        row,
        difference=judged.difference,
        low=judged.low,
        high=judged.high,
        lost=getattr(judged, "lost", None),
        gained=getattr(judged, "gained", None),
        p_value=judged.p,
        p_adjusted=p_adjusted,
        verdict=judged.verdict.value,
        reason=_reason(judged, row.margin),
        would_tell=judged.samples_that_would_tell,
        findings=findings,
    )


def _reason(judged: Difference, margin: float) -> str:
    interval = f"the interval [{100 * judged.low:+.1f}, {100 * judged.high:+.1f}] points"
    if judged.verdict.value == "no worse":
        return f"{interval} rules out a loss of {margin:g} points"
    if judged.verdict.value == "cannot tell":
        more = judged.samples_that_would_tell
        enough = f"; about {more} samples would tell" if more else ""
        return f"{interval} holds both no loss and one of {margin:g} points{enough}"
    return f"{interval} excludes 0, and it passes Holm's correction over the table"
