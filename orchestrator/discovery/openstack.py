"""The servers of an OpenStack project, and on Chameleon the end of their lease.

Log-in as OpenStack's own tools have it: the variables ``OS_…`` of an ``openrc`` file, or
``clouds.yaml``. Leases are those of the reservation service (Blazar), which Chameleon runs and
python-chi asks as well.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from orchestrator.discovery.found import Discovery, FoundDevice, acceptable, device_name
from orchestrator.errors import UsageError

if TYPE_CHECKING:
    from openstack.connection import Connection

#: Who an image of Chameleon's lets in.
CHAMELEON_USER = "cc"


def from_openstack(*, chameleon: bool) -> Discovery:
    """Every active server of the project that the environment logs in to.

    ``chameleon``: log in as its images have it, and take over when the lease ends. Raises
    UsageError.
    """
    try:
        import openstack  # noqa: PLC0415 (an extra, and slow to import)
        from keystoneauth1.exceptions import ClientException  # noqa: PLC0415
        from openstack.exceptions import SDKException  # noqa: PLC0415
    except ImportError as exc:
        raise UsageError(
            "OpenStack is asked by its own library: `pip install 'orchestrate-quantized"
            "[openstack]'`"
        ) from exc
    try:
        with openstack.connect() as connection:
            servers = list(connection.compute.servers(details=True))
            ends = _lease_ends(connection) if chameleon else []
            site = connection.config.get_region_name()
    except (SDKException, ClientException) as exc:
        raise UsageError(
            f"OpenStack: {str(exc)[:500]}; source your openrc file, or name a cloud of clouds.yaml "
            f"with OS_CLOUD"
        ) from exc
    return _discovered(servers, ends, site if isinstance(site, str) else None, chameleon=chameleon)


def _lease_ends(connection: Connection) -> list[str]:
    """When each active lease ends, UTC, earliest first."""
    answer = connection.session.get(
        "/leases", endpoint_filter={"service_type": "reservation", "interface": "public"}
    ).json()
    leases = answer.get("leases", []) if isinstance(answer, dict) else []
    active = (lease for lease in leases if lease.get("status") == "ACTIVE")
    # Blazar's times are UTC and do not say so
    return sorted(f"{str(lease['end_date'])[:19]}Z" for lease in active if lease.get("end_date"))


def _discovered(
    servers: Iterable[Any], ends: list[str], site: str | None, *, chameleon: bool
) -> Discovery:
    devices: list[FoundDevice] = []
    notes: list[str] = []
    for server in servers:
        if server.status != "ACTIVE":
            notes.append(f"{server.name}: its status is {server.status}")
            continue
        address, public = _address(server.addresses or {})
        keys, said = acceptable(
            str(server.name),
            {
                "host": address,
                "user": CHAMELEON_USER if chameleon else None,
                "site": site,
            },
        )
        notes += said
        if "host" not in keys:
            notes.append(f"{server.name}: it has no address")
            continue
        if not public:
            notes.append(f"{server.name}: no floating IP; name a `gateway:`, or give it one")
        if ends:
            keys["lease_ends"] = ends[0]
        name = device_name(str(server.name), {device.name for device in devices})
        devices.append(FoundDevice(name, {"transport": "ssh", **keys}))
    if len(set(ends)) > 1:
        notes.append(
            f"which of {len(ends)} leases a server belongs to; `lease_ends` is the earliest of "
            f"{', '.join(ends)}"
        )
    if chameleon and not ends:
        notes.append("when the lease ends: the reservation service knows of no active one")
    if not devices:
        raise UsageError("\n".join(["OpenStack: no active server with an address", *notes]))
    return Discovery(tuple(devices), tuple(notes))


def _address(networks: Mapping[str, Iterable[Mapping[str, Any]]]) -> tuple[str | None, bool]:
    """An IPv4 address, a floating one where there is one, and whether it is that."""
    every = [address for addresses in networks.values() for address in addresses]
    usable = [a for a in every if a.get("version") == 4]
    floating = [a for a in usable if a.get("OS-EXT-IPS:type") == "floating"]
    chosen = next(iter(floating or usable), None)
    return (None if chosen is None else str(chosen["addr"])), bool(floating)
