"""``orchestrate plan``: what would run, from the files alone."""

from __future__ import annotations

import json

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
from orchestrator.commands.plan import PlanArguments
from orchestrator.fleet import lease
from orchestrator.report.plan import describe_plan


def answer(arguments: PlanArguments) -> Answer:
    """Tell what would run, from the files alone."""
    inventory = inventory_of(arguments)
    suite = suite_of(arguments, inventory)
    devices = reachable(inventory, arguments.device)
    seed = seed_of(arguments)
    places = campaign.Places(arguments.results, arguments.models, building_of(arguments))
    prepared = campaign.prepare(devices, suite, places, seed=seed)
    made, known = prepared.plan, {**prepared.built, **prepared.own.artifacts}
    sizes = {variant: artifact.size_bytes for variant, artifact in known.items()}
    if arguments.json:
        trials = [trial.to_json() for device in made.devices for trial in device.trials]
        document = {"format": 1, "seed": seed, "suite": prepared.suite.to_json()}
        document["leases_too_short"] = list(lease.shortfalls(made, devices))
        document["trials"] = trials
        return Answer(json.dumps(document, indent=1) + "\n")
    bundles = prepared.bundle_sizes
    width, color = answer_width(), colour_wanted()
    text = describe_plan(made, sizes, bundles, width=width, color=color)
    return Answer(text + "".join(f"{each}\n" for each in lease.shortfalls(made, devices)))
