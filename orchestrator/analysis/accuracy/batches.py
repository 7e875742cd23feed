"""Whether a file answers the same samples alike at every batch that was measured. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from orchestrator.analysis.accuracy.answering import answers_of, trials_of
from orchestrator.analysis.sides.groups import ComparisonGroup
from orchestrator.analysis.sides.side import Side
from orchestrator.measurement import Finding
from orchestrator.measures.accuracy import audit
from orchestrator.measures.accuracy.agreement import agreement
from orchestrator.measures.accuracy.answers import SampleAnswer
from orchestrator.runs.records import RunRecord


def smallest(group: ComparisonGroup, groups: Iterable[ComparisonGroup]) -> ComparisonGroup | None:
    """Return the group that differs from this one in its batch alone, which is the smallest there
    is and smaller than this one's; None where there is none."""
    if group.factors is None:
        return None
    siblings = [
        each
        for each in groups
        if (each.device, each.model) == (group.device, group.model)
        and each.factors is not None
        and each.factors.batch < group.factors.batch
        and replace(each.factors, batch=group.factors.batch) == group.factors
    ]
    return min(siblings, key=lambda each: each.factors.batch if each.factors else 0, default=None)


def findings(
    run: RunRecord, smaller: ComparisonGroup | None, side: Side, answers: Sequence[SampleAnswer]
) -> tuple[Finding, ...]:
    """Find that a side answers otherwise than the same file does at the smaller batch; ``answers``
    are the side's own."""
    own = None if smaller is None else _same_scheme(smaller, side)
    if own is None or own.contents != side.contents or _digests(own) == _digests(side):
        return ()
    try:
        found = agreement(answers_of(run, own)[0], answers)
    except ValueError:  # a sample twice, or outputs of unlike sizes, which is said elsewhere
        return ()
    return audit.depends_on_the_batch(side.scheme, (_batch(own), _batch(side)), found)


def _same_scheme(group: ComparisonGroup, side: Side) -> Side | None:
    return next((each for each in group.sides if each.scheme == side.scheme), None)


def _batch(side: Side) -> int:
    return trials_of(side)[0].trial.factors.batch if trials_of(side) else 1


def _digests(side: Side) -> Mapping[tuple[int, int], str]:
    """The digests of the answers to every shard: where they are equal nothing has to be read."""
    measured = (record.measurement for record in trials_of(side))
    told = (each.answers for each in measured if each is not None and each.answers is not None)
    return {(each.first, each.count): each.digest for each in told}
