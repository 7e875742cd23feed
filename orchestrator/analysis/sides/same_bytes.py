"""Which places give the same bytes for the same file, and where one place does not with itself.

A process tells a digest of what it answered to inputs that are the same in all of them, and a trial
of accuracy one of its samples' answers. Two places agree where every digest that both have is
equal. A place is a device and all factors. Pure.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from orchestrator.analysis.sides.side import Side
from orchestrator.analysis.table import Place, SameBytes
from orchestrator.measurement import Finding
from orchestrator.runs.records import RunRecord, TrialRecord

#: A file as it was fed: what may be the same bytes.
_Fed = tuple[str, str, str, int, int]
#: What was answered → the digest of the answer.
_Told = Mapping[Hashable, str]

#: The key of the answer to the inputs that every process is given.
_CHECK = "check"


def same_bytes(run: RunRecord) -> tuple[SameBytes, ...]:
    """Group the places of every file that ran in several, in the order of the trials."""
    files: dict[_Fed, dict[Place, _Answers]] = {}
    for record in (*run.trials, *run.checks):
        told = _told(record)
        if record.artifact_sha256 is None or not told:
            continue
        trial = record.trial
        factors = trial.factors
        variant = trial.variant
        fed = (
            variant.model,
            variant.scheme,
            record.artifact_sha256,
            factors.batch,
            factors.input_size,
        )
        place = Place(trial.device, factors)
        files.setdefault(fed, {}).setdefault(place, _Answers()).add(told)
    return tuple(_grouped(fed, places) for fed, places in files.items() if len(places) > 1)


@dataclass
class _Answers:
    """What one place told: every digest of each answer."""

    digests: dict[Hashable, set[str]] = field(default_factory=dict)

    def add(self, told: _Told) -> None:
        for what, digest in told.items():
            self.digests.setdefault(what, set()).add(digest)

    @property
    def vary(self) -> bool:
        return any(len(each) > 1 for each in self.digests.values())

    def agrees(self, other: _Answers) -> bool:
        """Whether the two have answers to the same, and all of those alike."""
        shared = self.digests.keys() & other.digests.keys()
        return bool(shared) and all(self.digests[what] == other.digests[what] for what in shared)


def _told(record: TrialRecord) -> _Told:
    measured = record.measurement
    if measured is None:
        return {}
    told: dict[Hashable, str] = {}
    outputs, answers = measured.outputs, measured.answers
    if outputs is not None and outputs.problem is None and outputs.summaries:
        told[_CHECK] = " ".join(each.digest for each in outputs.summaries)
    if answers is not None:
        told[answers.first, answers.count] = answers.digest
    return told


def _grouped(fed: _Fed, places: Mapping[Place, _Answers]) -> SameBytes:
    model, scheme, sha256, batch, input_size = fed
    groups: list[tuple[list[Place], _Answers]] = []
    for place, answers in places.items():
        if answers.vary:
            continue
        for members, together in groups:
            if answers.agrees(together):
                members.append(place)
                together.digests.update(answers.digests)
                break
        else:
            groups.append(([place], _Answers(dict(answers.digests))))
    found = sorted((members for members, _ in groups), key=len, reverse=True)
    return SameBytes(
        model=model,
        scheme=scheme,
        sha256=sha256,
        batch=batch,
        input_size=input_size,
        groups=tuple(map(tuple, found)),
        varying=tuple(place for place, answers in places.items() if answers.vary),
    )


def findings(sides: Iterable[Side]) -> Iterator[Finding]:
    """Say of which sides the processes answered unlike, fed the same in one place."""
    for side in sides:
        digests = _varying(side.records)
        if digests:
            yield Finding(
                "outputs_vary",
                f"{side.scheme} answers the same inputs in {digests} ways from process to "
                "process, in one place",
                "see whether it does with one thread and without the delegate; where it must "
                "not, do not use this runtime, and judge accuracy over several runs",
            )


def _varying(records: Sequence[TrialRecord]) -> int:
    """The most digests of one answer of one file, where they are more than one; else 0."""
    by_file: dict[str, _Answers] = {}
    for record in records:
        if record.artifact_sha256 is not None:
            by_file.setdefault(record.artifact_sha256, _Answers()).add(_told(record))
    most = max((len(d) for a in by_file.values() for d in a.digests.values()), default=0)
    return most if most > 1 else 0
