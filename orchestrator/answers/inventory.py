"""``orchestrate inventory``: an inventory of machines that are written down elsewhere."""

from __future__ import annotations

from pathlib import Path

from orchestrator.answer import Answer
from orchestrator.commands.inventory import InventoryOfArguments
from orchestrator.config.modeline import modeline
from orchestrator.discovery import (
    Discovery,
    from_ansible,
    from_openstack,
    from_ssh_config,
    inventory_text,
)
from orchestrator.errors import UsageError


def answer(arguments: InventoryOfArguments) -> Answer:
    """Print it, or write it to a file that is not there yet. Raises UsageError."""
    found, source = _found(arguments.source, arguments.file)
    output: Path | None = arguments.output
    # what goes to stdout is most likely sent to a file here
    folder = Path() if output is None else output.parent
    text = modeline("inventory", folder) + inventory_text(found, source)
    if output is None:
        return Answer(text)
    try:
        with output.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError as exc:
        raise UsageError(f"{output}: is there already; name another --output") from exc
    except OSError as exc:
        raise UsageError(f"{output}: cannot be written ({exc.strerror})") from exc
    return Answer(f"{output}: {len(found.devices)} devices\n")


def _found(source: str, file: Path | None) -> tuple[Discovery, str]:
    if source == "ansible":
        if file is None:
            raise UsageError("which Ansible inventory? `orchestrate inventory --from ansible FILE`")
        return from_ansible(file), f"the Ansible inventory {file}"
    if source == "ssh-config":
        return from_ssh_config(file), f"the hosts of {file or '~/.ssh/config'}"
    if file is not None:
        raise UsageError(f"{source} is asked over its network; leave out {file}")
    where = "Chameleon" if source == "chameleon" else "OpenStack"
    return from_openstack(chameleon=source == "chameleon"), f"the servers of a project on {where}"
