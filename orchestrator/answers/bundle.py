"""``orchestrate bundle``: one file for each device, to run where nothing reaches."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from orchestrator import campaign, trust
from orchestrator.answer import Answer
from orchestrator.answers.selection import (
    building_of,
    inventory_of,
    refuse_overrides,
    seed_of,
    suite_of,
)
from orchestrator.bundles import making
from orchestrator.commands.bundle import BundleArguments
from orchestrator.config import Device, Inventory, Suite
from orchestrator.console import Console
from orchestrator.errors import UsageError
from orchestrator.runs.directory import RunDirectory
from orchestrator.runs.manifest import read_manifest
from orchestrator.zoo import with_program


def answer(arguments: BundleArguments) -> Answer:
    """Write a file for each device named; the answer is their paths."""
    with Console() as console:
        if arguments.run is None:
            if arguments.trust:
                raise UsageError("--trust belongs to --run: a suite that you name is trusted")
            directory, names = _new_run(arguments, console)
        else:
            directory, names = _existing_run(arguments, arguments.run, console)
        paths = []
        for name in names:
            output = arguments.output or Path(f"bundle-{name}.pyz")
            made = making.make(
                directory,
                name,
                output,
                arguments.models,
                with_models=not arguments.without_models,
            )
            paths.append(made.path)
            models = " --models FOLDER_OR_URL" if arguments.without_models else ""
            console.say(
                f"{name}: {made.path}, {made.size_bytes / 1e6:.1f} MB, {made.trials} trials at "
                f"most; there: `python3 {made.path.name}{models}`, and here, with what it brings "
                f"back: `orchestrate import results-{name}.zip`"
            )
    return Answer("".join(f"{path}\n" for path in paths))


def _new_run(arguments: BundleArguments, console: Console) -> tuple[RunDirectory, Sequence[str]]:
    inventory = inventory_of(arguments)
    suite = suite_of(arguments, inventory)
    trust.remember(inventory, with_program(suite))
    devices = _bundled(inventory, arguments.device)
    _check_output(arguments, [device.name for device in devices])
    for device in devices:
        making.check(device, suite)
    for device in devices:  # what cannot be had leaves no run behind
        making.provide(device, suite, arguments.models, console)
    places = campaign.Places(arguments.results, arguments.models, building_of(arguments))
    directory = campaign.begin_without_devices(
        inventory, devices, suite, places, seed=seed_of(arguments), console=console
    )
    for device in devices:
        making.join(directory, device.name, inventory, arguments.models, console)
    return directory, [device.name for device in devices]


def _existing_run(
    arguments: BundleArguments, run: str, console: Console
) -> tuple[RunDirectory, Sequence[str]]:
    refuse_overrides(arguments, "--run")
    directory = RunDirectory.find(arguments.results, run)
    manifest = read_manifest(directory.path)
    if manifest.suite.get("runner") == "imported":
        raise UsageError(f"{directory.run_id} was imported: it has no plan to make a bundle of")
    suite = Suite.from_json(manifest.suite)
    if not arguments.trust:  # what it runs where it is carried to
        trust.check(None, directory.run_id, suite)
    trust.remember(None, suite)
    given = None if arguments.inventory is None else inventory_of(arguments)
    names = arguments.device
    if not names:
        known = given or Inventory.from_json(manifest.inventory)
        names = tuple(device.name for device in _bundled(known, []))
    _check_output(arguments, names)
    for name in names:
        making.join(directory, name, given, arguments.models, console)
    return directory, names


def _bundled(inventory: Inventory, names: Sequence[str]) -> tuple[Device, ...]:
    """The devices named, or all with `transport: bundle`. Raises UsageError where there is none."""
    devices = inventory.select(names)
    found = devices if names else tuple(d for d in devices if d.transport == "bundle")
    if not found:
        raise UsageError(
            f"{inventory.path}: none of its devices has `transport: bundle`; add one, for example "
            f"`- {{name: colab, transport: bundle}}`"
        )
    return found


def _check_output(arguments: BundleArguments, names: Sequence[str]) -> None:
    if arguments.output is not None and len(names) > 1:
        raise UsageError(
            f"--output names one file, and there are {len(names)} bundles to make "
            f"({', '.join(names)}); name one device with --device"
        )
