"""The first inventory: this machine, and what ~/.ssh/config knows, to be taken in by hand."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import yaml

from orchestrator.discovery.found import FoundDevice, device_name
from orchestrator.discovery.ssh_hosts import from_ssh_config
from orchestrator.errors import UsageError

#: What this machine is called.
HERE = "here"


def hosts_beside() -> tuple[tuple[FoundDevice, ...], tuple[str, ...]]:
    """Return the hosts of ``~/.ssh/config`` and sentences on what was not taken over; nothing where
    there is no such file."""
    try:
        found = from_ssh_config(None)
    except UsageError as exc:
        there = (Path.home() / ".ssh" / "config").exists()
        return (), (str(exc),) if there else ()
    devices = tuple(
        FoundDevice(device_name(device.name, {HERE}), device.keys) for device in found.devices
    )
    return devices, found.notes


def beginning_text(hosts: Sequence[FoundDevice], notes: Sequence[str], *, name: str) -> str:
    """Return the inventory that ``orchestrate init`` writes to the file ``name``: valid as it is,
    and with every comment sign taken away from the hosts."""
    lines = [
        "# The machines to measure on. This file needs no change for the one in front of you:",
        f"#   orchestrate devices --inventory {name}    reaches and checks each of them",
        f"#   orchestrate run     --inventory {name}    measures, and prints the table",
        "",
        "suite: quick                   # a suite's name, or its file; `--suite` overrides it",
        "",
        "devices:",
        f"  - name: {HERE}",
        "    transport: local",
    ]
    if hosts:
        lines += [
            "",
            "  # From ~/.ssh/config, which goes on saying how to reach them. Take the `# ` away",
            "  # from those to measure on.",
        ]
        for each in hosts:
            one = yaml.safe_dump(
                [{"name": each.name, **each.keys}], sort_keys=False, allow_unicode=True
            )
            lines += [f"  # {line}" for line in one.splitlines()]
    lines += [f"  # Not taken over: {' '.join(note.split())}" for note in notes]
    return "\n".join(lines) + "\n"
