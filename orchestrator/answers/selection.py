"""From the command line's arguments to inventory, devices and suite."""

from __future__ import annotations

import secrets
from collections.abc import Sequence

from orchestrator.commands.devices import DevicesArguments
from orchestrator.commands.shared import BuildingArguments, InventoryArguments, PlanningArguments
from orchestrator.config import Device, Inventory, Suite, load_inventory, load_suite, with_overrides
from orchestrator.errors import UsageError
from orchestrator.frameworks.building import BuildOptions

#: The arguments that say how missing models are built; each is None where it was not given.
BUILDING = ("weights", "representative", "calibration", "dataset")
_OVERRIDES = ("suite", "blocks", "precision", "budget", "seed", *BUILDING)


def building_of(arguments: BuildingArguments) -> BuildOptions:
    """How missing models are to be built, so far as the command line says."""
    given = {name: getattr(arguments, name) for name in BUILDING}
    return BuildOptions(**{name: value for name, value in given.items() if value is not None})


def refuse_overrides(arguments: PlanningArguments, option: str) -> None:
    """Raise UsageError for what would change the plan of the run that ``option`` names."""
    given = [name for name in _OVERRIDES if getattr(arguments, name) is not None]
    if given:
        raise UsageError(
            f"--{given[0]} does not go with {option}: a run keeps the plan it began with; "
            f"leave it out, or begin a new run"
        )


def seed_of(arguments: PlanningArguments) -> int:
    """The seed given, else a fresh one."""
    return secrets.randbits(32) if arguments.seed is None else arguments.seed


def inventory_of(arguments: InventoryArguments) -> Inventory:
    """The inventory named. Raises UsageError."""
    if arguments.inventory is None:
        raise UsageError("which machines? name an inventory: --inventory inventory.yaml")
    return load_inventory(arguments.inventory)


def reachable(inventory: Inventory, names: Sequence[str]) -> tuple[Device, ...]:
    """The devices named, or all that can be reached from here. Raises UsageError."""
    devices = inventory.select(names)
    for device in devices:
        if names and device.transport == "bundle":
            raise UsageError(
                f"device {device.name} has `transport: bundle`: nothing reaches it from here; "
                f"`orchestrate bundle --device {device.name}` makes one file to run there"
            )
    found = tuple(device for device in devices if device.transport != "bundle")
    if not found:
        raise UsageError(
            f"{inventory.path}: none of its devices can be reached from here; `orchestrate bundle` "
            f"makes one file for each, to run there"
        )
    return found


def suite_of(arguments: PlanningArguments | DevicesArguments, inventory: Inventory) -> Suite:
    """The suite named on the command line or in the inventory, with what overrides it."""
    name = arguments.suite or inventory.suite
    if name is None:
        raise UsageError(
            f"what to measure? give --suite quick, or write `suite: quick` in {inventory.path}"
        )
    suite = load_suite(name, relative_to=inventory.path)
    if isinstance(arguments, DevicesArguments):
        return suite
    return with_overrides(
        suite,
        blocks=arguments.blocks,
        precision=arguments.precision,
        budget=arguments.budget,
    )
