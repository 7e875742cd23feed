"""The accuracy of every treatment beside its baseline's, with a verdict. Pure.

What a trial answered is read from its raw log, one comparison at a time, so that memory does not
grow with the run.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from orchestrator.analysis.accuracy import batches
from orchestrator.analysis.accuracy.answering import Pair, answers_of, pair_of, trials_of
from orchestrator.analysis.accuracy.classifying import score_classifiers, shown
from orchestrator.analysis.accuracy.detecting import METRICS as OF_OBJECTS
from orchestrator.analysis.accuracy.detecting import score_detectors
from orchestrator.analysis.accuracy.doubts import (
    AGREEMENT,
    CLASSIFICATION,
    doubts,
)
from orchestrator.analysis.accuracy.score import Difference, Score
from orchestrator.analysis.sides.groups import ComparisonGroup
from orchestrator.analysis.sides.side import Side
from orchestrator.analysis.statistics import holm_of_known
from orchestrator.analysis.table import AccuracyComparison, Agreement
from orchestrator.measurement import Finding
from orchestrator.measures.accuracy import audit
from orchestrator.measures.accuracy.agreement import OutputAgreement, agreement
from orchestrator.measures.accuracy.answers import SampleAnswer
from orchestrator.measures.accuracy.samples import FeedRecord, SampleSet
from orchestrator.runs.records import RunRecord

INVALID = "invalid"
#: The figure that is judged, by task.
METRICS = {CLASSIFICATION: "top-1", **OF_OBJECTS}


def compare(
    run: RunRecord, samples: SampleSet, groups: Iterable[ComparisonGroup]
) -> tuple[AccuracyComparison, ...]:
    """Return a row for every treatment whose accuracy was asked for, in the order of the groups."""
    rows, differences = [], []
    measured = [g for g in groups if g.factors is not None and trials_of(g.baseline)]
    for group in measured:
        smaller = batches.smallest(group, measured)
        ours, unread = answers_of(run, group.baseline)
        of_baseline = batches.findings(run, smaller, group.baseline, ours)
        for side in group.treatments.values():
            theirs, more = answers_of(run, side)
            pair, twice = pair_of(ours, theirs)
            of_batch = batches.findings(run, smaller, side, theirs)
            known = (*unread, *more, *twice, *of_baseline, *of_batch)
            row, difference = _row(samples, group, side, pair, known)
            rows.append(row)
            differences.append(difference)
    adjusted = holm_of_known([None if each is None else each.p for each in differences])
    return tuple(
        _judged(row, difference, p)
        for row, difference, p in zip(rows, differences, adjusted, strict=True)
    )


def _row(
    samples: SampleSet,
    group: ComparisonGroup,
    side: Side,
    answers: Pair,
    unread: tuple[Finding, ...],
) -> tuple[AccuracyComparison, Difference | None]:
    ours, theirs = answers
    feed = _feed(samples, group, side)
    score = _score(samples, group, side, answers, feed)
    findings = (
        *unread,
        *doubts(samples, group, side, answers, feed=feed, score=score),
        *score.findings,
    )
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
    answers: Pair,
    feed: FeedRecord | None,
) -> Score:
    ours, theirs = answers
    metric = METRICS.get(samples.task, AGREEMENT)
    if not ours:
        nothing = Finding(
            "nothing_answered",
            f"{group.baseline.scheme} and {side.scheme} answered no sample both",
            "see why the trials of accuracy failed: their raw output is in the run's logs/",
            forbids=True,
        )
        return Score(metric, findings=(nothing,))
    if samples.task == CLASSIFICATION:
        return score_classifiers(samples, ours, theirs)
    if samples.task in OF_OBJECTS and feed is not None:
        return score_detectors(samples, feed, ours, theirs)
    return Score(metric)


def _feed(samples: SampleSet, group: ComparisonGroup, side: Side) -> FeedRecord | None:
    """What the model was fed; None where the manifest does not say it."""
    if group.factors is None or not side.records:
        return None
    framework = side.records[0].trial.variant.framework
    try:
        return samples.feed(group.model, framework, group.factors.input_size)
    except KeyError:
        return None


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
