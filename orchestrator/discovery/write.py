"""The text of an inventory: what was found, and what is left to do."""

from __future__ import annotations

import yaml

from orchestrator.discovery.found import Discovery


def inventory_text(found: Discovery, source: str) -> str:
    """A complete inventory of ``found``, whose comments say where it is from and what was left out.

    ``source`` is a sentence's part, such as ``the Ansible inventory hosts.ini``.
    """
    lines = [
        f"# Made from {source}. Look through it, then:",
        "#   orchestrate devices --inventory THIS_FILE    reaches and identifies each of them",
        "#   orchestrate run     --inventory THIS_FILE",
        *(f"# Not taken over: {' '.join(note.split())}" for note in found.notes),
    ]
    devices = [{"name": device.name, **device.keys} for device in found.devices]
    body = yaml.safe_dump(
        {"suite": "quick", "devices": devices},
        sort_keys=False,
        allow_unicode=True,
        default_flow_style=False,
    )
    return "\n".join(lines) + "\n\n" + body
