"""A run's trials by what is compared with each other: groups, and a side of each scheme. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from orchestrator.analysis.sides.pairing import GroupKey, group_key
from orchestrator.analysis.sides.side import Side
from orchestrator.errors import JournalError
from orchestrator.frameworks.registry import find_framework_of
from orchestrator.runs.records import ArtifactRecord, RunRecord, TrialRecord
from orchestrator.trial import Factors


@dataclass(frozen=True)
class ComparisonGroup:
    """A comparison group as it came out. ``factors`` is None where nothing of it was sent;
    ``treatments`` are by scheme."""

    device: str
    model: str
    factors: Factors | None
    baseline: Side
    treatments: Mapping[str, Side]

    @property
    def sides(self) -> Iterator[Side]:
        """The baseline, then the treatments."""
        yield self.baseline
        yield from self.treatments.values()


def comparison_groups(run: RunRecord) -> tuple[ComparisonGroup, ...]:
    """Every group that was planned or measured, and one without factors for each model of which
    there is nothing on a device: devices as the inventory has them, then factors, then models as
    the manifest has them.

    Raises JournalError where the run tells of one trial twice.
    """
    records: defaultdict[GroupKey, defaultdict[str, list[TrialRecord]]]
    records = defaultdict(lambda: defaultdict(list))
    for trial in run.planned:
        records[trial.device, trial.variant.model, trial.factors][trial.variant.scheme]
    for record in run.trials:
        records[group_key(record)][record.trial.variant.scheme].append(record)
    groups = [
        _group(run, device, model, factors, by_scheme)
        for (device, model, factors), by_scheme in records.items()
    ]
    reached = {(group.device, group.model) for group in groups}
    groups += [
        _group(run, device, model, None, {})
        for device in run.devices
        for model in {variant.model for variant in run.artifacts}
        if (device, model) not in reached
    ]
    return tuple(sorted(groups, key=lambda group: _place(run, group)))


def _group(
    run: RunRecord,
    device: str,
    model: str,
    factors: Factors | None,
    records: Mapping[str, Sequence[TrialRecord]],
) -> ComparisonGroup:
    sides = _sides(run, _files_of(run, model, factors), records)
    baseline = sides.pop(run.baseline, None) or Side(run.baseline, (), None)
    return ComparisonGroup(device, model, factors, baseline, sides)


def _place(run: RunRecord, group: ComparisonGroup) -> tuple[object, ...]:
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


def _files_of(run: RunRecord, model: str, factors: Factors | None) -> dict[str, ArtifactRecord]:
    """Each scheme's file that is measured under ``factors``; None: the first one there is."""
    of = None if factors is None else find_framework_of(factors.runner)
    mine = ("", of.name if of else "")
    files: dict[str, ArtifactRecord] = {}
    for variant, artifact in run.artifacts.items():
        fits = factors is None or (variant.export == factors.export and variant.framework in mine)
        if variant.model == model and fits:
            files.setdefault(variant.scheme, artifact)
    return files


def _sides(
    run: RunRecord,
    files: Mapping[str, ArtifactRecord],
    records: Mapping[str, Sequence[TrialRecord]],
) -> dict[str, Side]:
    """Every scheme of a model that has an artifact, a plan or a trial; artifacts' order first."""
    schemes = [*files, *sorted(records.keys() - files.keys())]
    for of_scheme in records.values():
        _refuse_duplicates(run.run_id, of_scheme)
    return {
        scheme: Side(
            scheme,
            tuple(sorted(records.get(scheme, ()), key=lambda r: r.trial.trial_id)),
            files.get(scheme),
        )
        for scheme in schemes
    }


def _refuse_duplicates(run_id: str, records: Sequence[TrialRecord]) -> None:
    """Raise JournalError where one scheme fills a place of the plan twice in one group."""
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
