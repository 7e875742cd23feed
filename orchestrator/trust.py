"""What a run's folder would have started: asked about once, unless it is the user's own.

A run goes on with the inventory that stands in its folder, and the folder may be somebody else's.
An inventory that the users name is their own; what it starts here is remembered outside of every
run, by hash, so that their own runs go on without a question. So is the program that a suite
describes, which is started on the devices: a run keeps its suite, whoever's inventory it goes on
with.
"""

from __future__ import annotations

import hashlib
import json
import os
import shlex
from collections.abc import Iterable, Iterator
from pathlib import Path

from orchestrator import plain_files
from orchestrator.config import Device, Inventory, Suite
from orchestrator.errors import UsageError

#: One hash a line.
_FILE = "trusted-programs"
_MOST_BYTES = 4 * 2**20


def remember(inventory: Inventory | None, suite: Suite | None = None) -> None:
    """Note that the user wants what this inventory starts here, and this suite on the devices.

    Where it cannot be noted, nothing is said: a later run is asked about then.
    """
    try:
        folder = _folder()
        known = _known(folder)
        new = {_hash(each) for _, each in _started(inventory, suite)} - known
        if new:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            fd = plain_files.descriptor(folder, _FILE, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            with os.fdopen(fd, "ab") as file:
                file.write("".join(f"{each}\n" for each in sorted(new)).encode())
    except (OSError, RuntimeError):  # RuntimeError: nobody's home
        return


def check(inventory: Inventory | None, run_id: str, suite: Suite | None = None) -> None:
    """Raise UsageError where what stands in a run's folder would start something that nobody has
    wanted before: its inventory here, its suite on the devices.

    ``inventory`` None: it goes on with one of the user's own.
    """
    try:
        known = _known(_folder())
    except (OSError, RuntimeError):
        known = frozenset()
    unknown = [
        (name, each) for name, each in _started(inventory, suite) if _hash(each) not in known
    ]
    if unknown:
        listed = "\n".join(f"  {name}: {words}" for name, words in unknown)
        of_suite = suite is not None and any(name == suite.name for name, _ in unknown)
        instead = "" if of_suite else ", or name an inventory of your own with --inventory"
        where = "have your devices run" if of_suite else "have this machine start"
        raise UsageError(
            f"{run_id}: its folder would {where} what no {'suite' if of_suite else 'inventory'} of "
            f"yours has:\n"
            f"{listed}\n"
            f"read that as you would read a script; then add --trust, which is asked for once"
            f"{instead}"
        )


def _started(inventory: Inventory | None, suite: Suite | None) -> Iterator[tuple[str, str]]:
    if inventory is not None:
        yield from _programs(inventory.devices)
    if suite is not None:
        yield from _of_suite(suite)


def _of_suite(suite: Suite) -> Iterator[tuple[str, str]]:
    """(suite, what it has the devices run, as it is written): all that decides what happens there,
    the bytes of a program that is sent included."""
    section, program = suite.command, suite.program
    if section is None or program is None:
        return
    variables = [f"{name}={value}" for name, value in sorted(section.environment.items())]
    sent = [] if section.sha256 is None else [f"(program: SHA-256 {section.sha256})"]
    own = [
        f"({model} {scheme}: {shlex.join(words)})"
        for (model, scheme), words in sorted(program.arguments.items())
    ]
    words = [*map(shlex.quote, variables), shlex.join(section.argv), *sent, *own]
    yield suite.name, f"command: {' '.join(words)}"


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
