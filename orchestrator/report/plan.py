"""A plan as a person reads it: what would run, at least how long, how much to push."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from orchestrator.plan import DevicePlan, Plan
from orchestrator.report.clean import clean
from orchestrator.report.figures import counted, significant
from orchestrator.report.grid import render_grid
from orchestrator.runtimes import parse_runtime
from orchestrator.trial import TrialKind, Variant

#: Devices that a line names.
_MOST_NAMED = 4


@dataclass(frozen=True)
class PlannedSamples:
    """The samples that accuracy is measured on: how many, in how many files, where from, and the
    bytes of them by device."""

    count: int
    shards: int
    source: str
    sizes: Mapping[str, int]


_HEADER = ("device", "runner", "comparisons", "trials", "at least", "to push at most")


def describe_plan(
    plan: Plan,
    sizes: Mapping[Variant, int],
    bundles: Mapping[str, int],
    *,
    width: int,
    color: bool,
    samples: PlannedSamples | None = None,
) -> str:
    """Return one row a device, then what must be built. ``sizes`` in bytes, of variants that are
    there; ``bundles`` the same of pinned runtimes that were provided before, for whatever node.
    ``samples`` is None where accuracy is not measured.

    The time is the warm-up and steady phases alone, which end no sooner than their seconds: slow
    models, starting processes and building models come on top.
    """
    rows = [_row(plan, device, sizes, bundles, samples) for device in plan.devices]
    missing = [str(v) for v in plan.variants if v not in sizes]
    how = f"the baseline {plan.baseline} twice"
    if plan.duet:
        how = f"every scheme and the baseline {plan.baseline} at the same time (duets)"
    notes = [
        f"seed {plan.seed}; {plan.min_blocks} to {plan.max_blocks} blocks, each with {how}; "
        f"a comparison stops at a precision of {plan.precision:g}"
    ]
    if plan.budget_s is not None:
        notes.append(f"after {plan.budget_s:g} s of measuring no block beyond the minimum begins")
    notes += plan.uncompared
    notes += _of_accuracy(plan, samples) if samples is not None else []
    if missing:
        notes.append(f"to be built first: {', '.join(missing)}")
    unpinned = {r for d in plan.devices for r in d.runtimes if parse_runtime(r).version is None}
    if unpinned:
        asked = {each.size for d in plan.devices for r in unpinned for each in d.choices.get(r, ())}
        sizes_of = " or ".join(sorted(asked))
        notes.append(f"a device without a runtime of its own is given one: {sizes_of} more to push")
    return render_grid(_HEADER, rows, width=width, color=color) + "\n".join(notes) + "\n"


def accuracy_trials(device: DevicePlan) -> int:
    """How many trials of a device's plan measure accuracy."""
    return sum(trial.kind is TrialKind.ACCURACY for trial in device.trials)


def _of_accuracy(plan: Plan, samples: PlannedSamples) -> list[str]:
    """What accuracy costs: a line for all devices that it costs the same."""
    costs: dict[str, list[str]] = {}
    for device in plan.devices:
        trials = counted(accuracy_trials(device), "trial")
        size = samples.sizes.get(device.device, 0)
        told = f"{trials}, {significant(size / 1e6, 3)} MB of samples to push"
        costs.setdefault(told, []).append(device.device)
    count, shards = counted(samples.count, "sample"), counted(samples.shards, "file")
    lines = [
        f"accuracy: {count} of {clean(samples.source)} in {shards}, "
        "each one trial of every scheme and setting (counted; none was opened)"
    ]
    for told, names in costs.items():
        more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
        lines.append(f"  {', '.join(names[:_MOST_NAMED])}{more}: {told}")
    return lines


def _row(
    plan: Plan,
    device: DevicePlan,
    sizes: Mapping[Variant, int],
    bundles: Mapping[str, int],
    samples: PlannedSamples | None,
) -> tuple[str, ...]:
    timing = [t for t in device.trials if t.kind is TrialKind.TIMING]
    fewest_timing = sum(t.block < plan.min_blocks for t in timing)
    fewest = len(device.unblocked) + fewest_timing
    variants = {trial.variant for trial in device.trials}
    known = sum(sizes.get(variant, 0) for variant in variants)
    unknown = " + what is to be built" if variants - sizes.keys() else ""
    pinned = {r for r in device.runtimes if parse_runtime(r).version is not None}
    known += sum(bundles.get(runtime, 0) for runtime in pinned)
    known += samples.sizes.get(device.device, 0) if samples is not None else 0
    unknown += " + runtimes" if pinned - bundles.keys() else ""
    return (
        device.device,
        ", ".join(sorted({group.factors.runner for group in device.groups})),
        str(sum(len(group.schemes) - 1 for group in device.groups)),
        f"{fewest} to {len(device.trials)}",
        f"{plan.fewest_s(device) / 60:.1f} min",
        f"{known / 1e6:.0f} MB{unknown}",
    )
