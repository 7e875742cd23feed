"""From an inventory's device to the way there: which transport, through which hosts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Protocol

from orchestrator.config import Device, Inventory
from orchestrator.config.values import Hop
from orchestrator.errors import UsageError
from orchestrator.fleet.agent_archive import AgentArchive
from orchestrator.fleet.carried import CarriedTransport
from orchestrator.fleet.local import LocalTransport
from orchestrator.fleet.provision import AgentPlace, ReachedDevice, reach
from orchestrator.fleet.ssh import SshEndpoint, SshTransport
from orchestrator.fleet.transport import Transport

#: From a device of an inventory to a transport, nothing connected yet: ours, or a cluster's.
Way = Callable[[Device, Inventory], Transport]


class Cluster(Protocol):
    """Other machines that hold connections for us; see the package ``fleet.cluster``."""

    def transport(self, endpoint: SshEndpoint, site: str | None) -> Transport:
        """The way to a device from a machine at ``site``."""
        ...


def transport_to(
    device: Device, inventory: Inventory, *, through: Cluster | None = None
) -> Transport:
    """The transport that the inventory asks for; nothing is connected yet.

    ``through`` a cluster go the devices behind SSH; this machine is reached from here.
    Raises UsageError for a device that no transport reaches.
    """
    if device.transport in ("local", "adb"):  # an Android device's agent lives here
        return LocalTransport(device.name)
    if device.transport == "ssh":
        endpoint = endpoint_of(device, inventory)
        return (
            SshTransport(endpoint) if through is None else through.transport(endpoint, device.site)
        )
    if device.carrier is not None:
        return CarriedTransport(device.name, device.carrier)
    raise UsageError(
        f"device {device.name} has `transport: {device.transport}`: it cannot be reached from "
        f"here; leave it out with --device"
    )


def endpoint_of(device: Device, inventory: Inventory) -> SshEndpoint:
    """Say where and as whom to log in, jump hosts included. What is None is OpenSSH's to say."""
    own = SshEndpoint(
        device=device.name,
        host=device.host or device.name,
        port=device.port,
        user=device.user,
        key_file=device.key_file,
        ssh_config=device.ssh_config,
        known_hosts=device.known_hosts,
        connect_timeout_s=device.connect_timeout_s,
    )
    gateway = inventory.gateway_of(device)
    if gateway is None:
        return own
    if isinstance(gateway, Hop):
        through = _endpoint_of_hop(gateway, own)
    else:
        through = endpoint_of(gateway, inventory)
    return replace(own, gateway=through)


def _endpoint_of_hop(hop: Hop, device: SshEndpoint) -> SshEndpoint:
    before = None if hop.before is None else _endpoint_of_hop(hop.before, device)
    return replace(device, host=hop.host, port=hop.port, user=hop.user, gateway=before)


def place_on(device: Device) -> AgentPlace:
    """Say where the agent of ``device`` lives: there, or for an Android device, here."""
    if device.serial is None:
        return AgentPlace(device.python_command, device.workdir, answer_s=device.answer_within_s)
    # a home has one daemon, and a daemon one device
    home = f"{device.workdir.rstrip('/')}/adb/{device.serial}"
    return AgentPlace(
        device.python_command, home, adb=device.serial, answer_s=device.answer_within_s
    )


def reach_device(
    device: Device,
    inventory: Inventory,
    archive: AgentArchive,
    *,
    run_id: str | None = None,
    only_look: bool = False,
    way: Way = transport_to,
) -> ReachedDevice:
    """Connect to ``device`` and its agent. Raises DeviceError."""
    return reach(
        way(device, inventory), place_on(device), archive, run_id=run_id, only_look=only_look
    )
