"""What the sides of a comparison answered, out of the raw logs of their trials. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

from orchestrator.analysis.sides.side import Side
from orchestrator.errors import JournalError
from orchestrator.measurement import Finding, Outcome
from orchestrator.measures.accuracy.answers import SampleAnswer, in_common
from orchestrator.runs.records import RunRecord, TrialRecord
from orchestrator.trial import TrialKind

#: The answers of both sides to the same samples, in the same order.
Pair: TypeAlias = "tuple[Sequence[SampleAnswer], Sequence[SampleAnswer]]"


def trials_of(side: Side) -> tuple[TrialRecord, ...]:
    """Return the side's trials of accuracy, in the order of their samples."""
    trials = (r for r in side.records if r.trial.kind is TrialKind.ACCURACY)
    return tuple(sorted(trials, key=lambda each: each.trial.replicate))


def answers_of(run: RunRecord, side: Side) -> tuple[tuple[SampleAnswer, ...], tuple[Finding, ...]]:
    """Return what a side answered, and why a part of that is missing."""
    answers: list[SampleAnswer] = []
    findings: list[Finding] = []
    for record in trials_of(side):
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


def pair_of(
    ours: Sequence[SampleAnswer], theirs: Sequence[SampleAnswer]
) -> tuple[Pair, tuple[Finding, ...]]:
    """Return the answers to the samples that both sides have, in one order."""
    try:
        return in_common(ours, theirs), ()
    except ValueError as exc:
        twice = Finding("answers_unreadable", str(exc), "restore the run from a copy", forbids=True)
        return ((), ()), (twice,)
