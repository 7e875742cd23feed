"""What a run's folder would have this machine start: asked about once, unless it is the user's own.

A run goes on with the inventory that stands in its folder, and the folder may be somebody else's.
An inventory that the users name is their own; what it starts is remembered outside of every run,
by hash, so that their own runs go on without a question.
"""

from __future__ import annotations

import hashlib
import json
import os
import shlex
from collections.abc import Iterable, Iterator
from pathlib import Path

from orchestrator import plain_files
from orchestrator.config import Device, Inventory
from orchestrator.errors import UsageError

#: One hash a line.
_FILE = "trusted-programs"
_MOST_BYTES = 4 * 2**20


def remember(inventory: Inventory) -> None:
    """Note that the user wants what this inventory starts here.

    Where it cannot be noted, nothing is said: a later run is asked about then.
    """
    try:
        folder = _folder()
        known = _known(folder)
        new = {_hash(each) for _, each in _programs(inventory.devices)} - known
        if new:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            fd = plain_files.descriptor(folder, _FILE, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            with os.fdopen(fd, "ab") as file:
                file.write("".join(f"{each}\n" for each in sorted(new)).encode())
    except (OSError, RuntimeError):  # RuntimeError: nobody's home
        return


def check(inventory: Inventory, run_id: str) -> None:
    """Raise UsageError where the inventory out of a run's folder would start something here that
    nobody has wanted before."""
    try:
        known = _known(_folder())
    except (OSError, RuntimeError):
        known = frozenset()
    unknown = [
        (name, each) for name, each in _programs(inventory.devices) if _hash(each) not in known
    ]
    if unknown:
        listed = "\n".join(f"  {name}: {words}" for name, words in unknown)
        raise UsageError(
            f"{run_id}: its folder would have this machine start what no inventory of yours has:\n"
            f"{listed}\n"
            f"read that as you would read a script; then add --trust, which is asked for once, or "
            f"name an inventory of your own with --inventory"
        )


def _programs(devices: Iterable[Device]) -> Iterator[tuple[str, str]]:
    """(device, what of its entry is started on this machine, as it is written)."""
    for device in devices:
        if device.carrier is not None:
            yield device.name, f"exec: {shlex.join(device.carrier)}"
        if device.ssh_config is not None:  # `ProxyCommand` and `Match exec` in it are run
            yield device.name, f"ssh_config: {device.ssh_config}"
        if device.transport not in ("local", "adb"):
            continue
        if device.python is not None:
            yield device.name, f"python: {device.python}"
        binary = device.binary
        if device.transport == "local" and binary is not None and not binary.official:
            yield device.name, f"{binary.tool.name}: {binary.path or binary.url}"


def _hash(words: str) -> str:
    return hashlib.sha256(json.dumps(words).encode()).hexdigest()


def _known(folder: Path) -> frozenset[str]:
    try:
        data = plain_files.read(folder, _FILE, most_bytes=_MOST_BYTES)
    except FileNotFoundError:
        return frozenset()
    return frozenset(data.decode("ascii", "replace").split())


def _folder() -> Path:
    state = os.environ.get("XDG_STATE_HOME", "")
    base = Path(state) if state.startswith("/") else Path.home() / ".local" / "state"
    return base / "orchestrate"
