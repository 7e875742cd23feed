"""The hosts of ``~/.ssh/config``: OpenSSH's own configuration goes on saying how to reach them."""

from __future__ import annotations

from pathlib import Path

from orchestrator.discovery.found import Discovery, FoundDevice, acceptable, device_name
from orchestrator.errors import UsageError
from orchestrator.fleet.ssh import SshConfigError, configured_hosts


def from_ssh_config(file: Path | None) -> Discovery:
    """Every ``Host`` that is not a pattern, of ``file`` or of the user's own. Raises UsageError."""
    try:
        aliases = configured_hosts(file)
    except SshConfigError as exc:
        raise UsageError(str(exc)) from exc
    devices: list[FoundDevice] = []
    notes: list[str] = []
    for alias in aliases:
        keys, said = acceptable(
            alias, {"host": alias, "ssh_config": None if file is None else str(file.absolute())}
        )
        notes += said
        if "host" in keys:
            name = device_name(alias, {device.name for device in devices})
            devices.append(FoundDevice(name, {"transport": "ssh", **keys}))
    if not devices:
        where = file or "~/.ssh/config"
        raise UsageError(f"{where}: names no host; write `Host NAME` lines, or an inventory")
    return Discovery(tuple(devices), tuple(notes))
