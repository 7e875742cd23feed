"""Finds out which of a run's devices answer, and gives each what it needs."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass

from orchestrator.campaign.words import Contacts
from orchestrator.config import Device, Inventory
from orchestrator.console import Console
from orchestrator.errors import (
    DeviceError,
    NoDeviceReachedError,
    PermanentDeviceError,
    TransientDeviceError,
)
from orchestrator.fleet import lease
from orchestrator.fleet.agent_archive import AgentArchive
from orchestrator.fleet.materials import SuppliedDevice
from orchestrator.fleet.progress import DeviceProgress, State
from orchestrator.fleet.provision import ReachedDevice, check_executable, check_suitability
from orchestrator.fleet.reach import Way, reach_device, transport_to
from orchestrator.plan import Plan
from orchestrator.supply import Supplies


@dataclass(frozen=True)
class Fleet:
    """The devices of a run, what is asked of them, and how to reach them."""

    inventory: Inventory
    devices: tuple[Device, ...]
    plan: Plan
    archive: AgentArchive
    run_id: str
    way: Way = transport_to

    def reach(self, device: Device) -> ReachedDevice:
        """Connect to one device and its agent. Raises DeviceError."""
        if device.lease_ends is not None and lease.left_s(device.lease_ends) <= 0:
            raise PermanentDeviceError(
                f"its lease ended at {lease.shown(device.lease_ends)}; with a new one correct "
                f"`lease_ends:` in the inventory",
                device=device.name,
            )
        return reach_device(device, self.inventory, self.archive, run_id=self.run_id, way=self.way)

    def reach_fit(self, device: Device) -> ReachedDevice:
        """Reach the device, and see at once whether it is the right one and has what it needs."""
        node = self.reach(device)
        try:
            # the runtimes are looked for, and provided, once all devices are reached
            plan = self.plan.device(device.name)
            check_suitability(node, device.expect, plan, device.cpus, plan.runtimes)
            check_executable(node, plan)
        except DeviceError:
            node.close()
            raise
        return node


def reach_all(
    fleet: Fleet, console: Console, *, all_may_be_late: bool = False
) -> Contacts[ReachedDevice]:
    """Reach every device at once.

    Raises NoDeviceReachedError where none answers; with ``all_may_be_late`` only where none can be
    expected to.
    """
    results = _at_once(lambda device: _try_to_reach(fleet, device, console), fleet.devices)
    nodes = {result.device: result for result in results if isinstance(result, ReachedDevice)}
    errors = tuple(result for result in results if isinstance(result, DeviceError))
    expected = all_may_be_late and any(isinstance(e, TransientDeviceError) for e in errors)
    if not nodes and not expected:
        raise NoDeviceReachedError("\n".join(["no device could be reached", *map(str, errors)]))
    return Contacts(nodes, errors)


def _at_once(
    reach: Callable[[Device], ReachedDevice | DeviceError], devices: Sequence[Device]
) -> list[ReachedDevice | DeviceError]:
    """Reach each device in a thread of its own; Ctrl-C does not wait for those that do not
    answer."""
    results: list[Future[ReachedDevice | DeviceError]] = [Future() for _ in devices]

    def keep(device: Device, result: Future[ReachedDevice | DeviceError]) -> None:
        try:
            result.set_result(reach(device))
        except BaseException as exc:  # noqa: BLE001 (raised where the result is asked for)
            result.set_exception(exc)

    for device, result in zip(devices, results, strict=True):
        # a daemon: the threads of a pool would be waited for when Python ends
        threading.Thread(target=keep, args=(device, result), daemon=True).start()
    return [result.result() for result in results]


def _try_to_reach(fleet: Fleet, device: Device, console: Console) -> ReachedDevice | DeviceError:
    console.observe(DeviceProgress(device.name, State.CONNECTING))
    try:
        node = fleet.reach_fit(device)
    except DeviceError as exc:
        console.observe(DeviceProgress(device.name, State.LOST, exc.reason))
        return exc
    console.observe(DeviceProgress(device.name, State.READY))
    return node


@contextmanager
def closing(reached: Contacts[ReachedDevice]) -> Iterator[None]:
    """Let go of every device at the end, also of those whose turn never came."""
    try:
        yield
    finally:
        for node in reached.nodes.values():
            node.close()


def supply_all(
    fleet: Fleet, reached: Contacts[ReachedDevice], supplies: Supplies, console: Console
) -> Contacts[SuppliedDevice]:
    """Have what every reached device needs; one for which it cannot be had is lost."""
    nodes: dict[str, SuppliedDevice] = {}
    errors = list(reached.errors)
    for device in fleet.devices:
        node = reached.nodes.get(device.name)
        if node is None:
            continue
        try:
            nodes[device.name] = SuppliedDevice(node, supplies.complete(device, node))
        except DeviceError as exc:
            console.observe(DeviceProgress(device.name, State.LOST, exc.reason))
            errors.append(exc)
            node.close()
    return Contacts(nodes, tuple(errors))


def reach_and_supply(fleet: Fleet, supplies: Supplies, device: Device) -> SuppliedDevice:
    """Connect to ``device`` and have what it needs. Raises DeviceError, JournalError."""
    node = fleet.reach(device)
    try:
        return SuppliedDevice(node, supplies.complete(device, node))
    except BaseException:
        node.close()
        raise
