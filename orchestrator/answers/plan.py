"""``orchestrate plan``: what would run, from the files alone."""

from __future__ import annotations

import json
from typing import Any

from orchestrator import campaign
from orchestrator.answer import Answer
from orchestrator.answers.selection import (
    building_of,
    inventory_of,
    reachable,
    seed_of,
    suite_of,
)
from orchestrator.answers.terminal import answer_width, colour_wanted
from orchestrator.campaign.samples import bytes_for
from orchestrator.commands.plan import PlanArguments
from orchestrator.fleet import lease
from orchestrator.plan import Plan
from orchestrator.report.plan import PlannedSamples, accuracy_trials, describe_plan


def answer(arguments: PlanArguments) -> Answer:
    """Tell what would run, from the files alone."""
    inventory = inventory_of(arguments)
    suite = suite_of(arguments, inventory)
    devices = reachable(inventory, arguments.device)
    seed = seed_of(arguments)
    places = campaign.Places(arguments.results, arguments.models, building_of(arguments))
    prepared = campaign.prepare(devices, suite, places, seed=seed, open_samples=False)
    made, known = prepared.plan, {**prepared.built, **prepared.own.artifacts}
    sizes = {variant: artifact.size_bytes for variant, artifact in known.items()}
    samples = planned_samples(prepared)
    if arguments.json:
        trials = [trial.to_json() for device in made.devices for trial in device.trials]
        document = {"format": 1, "seed": seed, "suite": prepared.suite.to_json()}
        document["leases_too_short"] = list(lease.shortfalls(made, devices))
        if samples is not None:
            document["accuracy"] = _accuracy(made, samples)
        document["trials"] = trials
        return Answer(json.dumps(document, indent=1) + "\n")
    bundles = prepared.bundle_sizes
    width, color = answer_width(), colour_wanted()
    text = describe_plan(made, sizes, bundles, width=width, color=color, samples=samples)
    return Answer(text + "".join(f"{each}\n" for each in lease.shortfalls(made, devices)))


def planned_samples(prepared: campaign.Preparation) -> PlannedSamples | None:
    """Say what accuracy will be measured on; None where it will not be."""
    drawn = prepared.samples
    if drawn is None:
        return None
    return PlannedSamples(
        count=len(drawn.dataset.items),
        shards=drawn.section.shards,
        source=drawn.dataset.source,
        sizes={device.device: bytes_for(drawn, device) for device in prepared.plan.devices},
    )


def _accuracy(plan: Plan, samples: PlannedSamples) -> dict[str, Any]:
    """What accuracy costs, by device."""
    devices = {
        device.device: {
            "trials": accuracy_trials(device),
            "bytes_to_push": samples.sizes[device.device],
        }
        for device in plan.devices
    }
    return {
        "source": samples.source,
        "samples": samples.count,
        "shards": samples.shards,
        "devices": devices,
    }
