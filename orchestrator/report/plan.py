"""A plan as a person reads it: what would run, at least how long, how much to push."""

from __future__ import annotations

from collections.abc import Mapping

from orchestrator.plan import DevicePlan, Plan
from orchestrator.report.grid import render_grid
from orchestrator.runtimes import parse_runtime
from orchestrator.trial import TrialKind, Variant

_HEADER = ("device", "runner", "comparisons", "trials", "at least", "to push at most")


def describe_plan(
    plan: Plan,
    sizes: Mapping[Variant, int],
    bundles: Mapping[str, int],
    *,
    width: int,
    color: bool,
) -> str:
    """Return one row a device, then what must be built. ``sizes`` in bytes, of variants that are
    there; ``bundles`` the same of pinned runtimes that were provided before, for whatever node.

    The time is the warm-up and steady phases alone, which end no sooner than their seconds: slow
    models, starting processes and building models come on top.
    """
    rows = [_row(plan, device, sizes, bundles) for device in plan.devices]
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
    if missing:
        notes.append(f"to be built first: {', '.join(missing)}")
    unpinned = {r for d in plan.devices for r in d.runtimes if parse_runtime(r).version is None}
    if unpinned:
        asked = {each.size for d in plan.devices for r in unpinned for each in d.choices.get(r, ())}
        sizes_of = " or ".join(sorted(asked))
        notes.append(f"a device without a runtime of its own is given one: {sizes_of} more to push")
    return render_grid(_HEADER, rows, width=width, color=color) + "\n".join(notes) + "\n"


def _row(
    plan: Plan, device: DevicePlan, sizes: Mapping[Variant, int], bundles: Mapping[str, int]
) -> tuple[str, ...]:
    timing = [t for t in device.trials if t.kind is TrialKind.TIMING]
    fewest_timing = sum(t.block < plan.min_blocks for t in timing)
    fewest = len(device.unblocked) + fewest_timing
    variants = {trial.variant for trial in device.trials}
    known = sum(sizes.get(variant, 0) for variant in variants)
    unknown = " + what is to be built" if variants - sizes.keys() else ""
    pinned = {r for r in device.runtimes if parse_runtime(r).version is not None}
    known += sum(bundles.get(runtime, 0) for runtime in pinned)
    unknown += " + runtimes" if pinned - bundles.keys() else ""
    return (
        device.device,
        ", ".join(sorted({group.factors.runner for group in device.groups})),
        str(sum(len(group.schemes) - 1 for group in device.groups)),
        f"{fewest} to {len(device.trials)}",
        f"{plan.fewest_s(device) / 60:.1f} min",
        f"{known / 1e6:.0f} MB{unknown}",
    )
