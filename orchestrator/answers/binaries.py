"""``models binaries``: the official binary of each device of an inventory, there or missing."""

from __future__ import annotations

import json
import platform
from dataclasses import dataclass
from pathlib import Path

from orchestrate_agent.machine.facts import userland_bits
from orchestrate_agent.sysfs import Tree
from orchestrator.answer import Answer, ExitCode
from orchestrator.answers.selection import inventory_of
from orchestrator.answers.terminal import answer_width, colour_wanted
from orchestrator.artifacts.binaries import (
    BinaryArtifact,
    android_platform_of,
    find_binary,
    official_url,
    platform_of,
    resolve_binary,
)
from orchestrator.commands.models import BinariesArguments
from orchestrator.config import Device
from orchestrator.console import Console
from orchestrator.errors import ArtifactError
from orchestrator.frameworks import registry
from orchestrator.report.grid import render_grid

_HEADER = ("device", "platform", "from", "state", "MB", "SHA-256")


@dataclass(frozen=True)
class _Row:
    """``state`` is ``there``, ``missing``, ``unknown`` (the platform is), ``wrong`` or ``none``."""

    device: str
    platform: str | None
    source: str
    state: str
    reason: str = ""
    binary: BinaryArtifact | None = None
    official: bool = False


def answer(arguments: BinariesArguments) -> Answer:
    """Tell which binary each device has, by its ``expect:``; no device is touched. Raises
    OrchestrateError."""
    devices = inventory_of(arguments).select(arguments.device)
    console = Console() if arguments.fetch else None
    rows = [_row(device, arguments.models, console) for device in devices]
    wrong = any(row.state == "wrong" for row in rows)
    code = ExitCode.FAILED if wrong else ExitCode.OK
    if arguments.json:
        document = {"format": 1, "binaries": [_json(row) for row in rows]}
        return Answer(json.dumps(document, indent=1) + "\n", code)
    cells = [_cells(row) for row in rows]
    return Answer(render_grid(_HEADER, cells, width=answer_width(), color=colour_wanted()), code)


def _row(device: Device, models_dir: Path, console: Console | None) -> _Row:
    """``console`` None: nothing is fetched."""
    spec = device.binary
    if spec is None:
        return _Row(
            device.name, None, "", "none", f"no `{registry.tool().name}:`; Python runs the models"
        )
    source = str(spec.path or spec.url or "official")
    try:
        of = _platform(device)
        if of is None:
            fact = "abi" if device.transport == "adb" else "architecture"
            reason = f"its platform is known once it is reached, or with `expect: {{{fact}: …}}`"
            return _Row(device.name, None, source, "unknown", reason)
        source = source if not spec.official else official_url(spec.tool, of)
        found = find_binary(spec, of, models_dir)
        if found is None and console is not None:
            found = resolve_binary(spec, of, models_dir, on_progress=console.say)
    except ArtifactError as exc:
        return _Row(device.name, None, source, "wrong", str(exc))
    if found is None:
        reason = "fetched when a run needs it, or with --fetch"
        return _Row(device.name, of, source, "missing", reason, official=spec.official)
    pinned = "pinned" if found.pinned else ""
    return _Row(device.name, of, source, "there", pinned, found, spec.official)


def _platform(device: Device) -> str | None:
    """Name the device's platform; None where nobody says. Raises ArtifactError."""
    if device.transport == "adb":
        abi = device.expect.get("abi")
        return None if abi is None else android_platform_of(registry.tool(), str(abi))
    told = device.expect.get("architecture")
    machine = platform.machine() if device.transport == "local" else told
    return None if machine is None else platform_of(registry.tool(), str(machine), _bits(device))


def _bits(device: Device) -> int | None:
    if device.transport == "local":
        return userland_bits(Tree())
    told = device.expect.get("userland_bits")
    return told if isinstance(told, int) else None


def _cells(row: _Row) -> tuple[str, ...]:
    state = f"{row.state}: {row.reason}" if row.reason else row.state
    size = "" if row.binary is None else f"{row.binary.size_bytes / 1e6:.1f}"
    digest = "" if row.binary is None else row.binary.sha256[:12]
    return (
        row.device,
        row.platform or "",
        "official" if row.official else row.source,
        state,
        size,
        digest,
    )


def _json(row: _Row) -> dict[str, object]:
    found = row.binary
    return {
        "device": row.device,
        "platform": row.platform,
        "source": row.source or None,
        "state": row.state,
        "reason": row.reason or None,
        "sha256": None if found is None else found.sha256,
        "size_bytes": None if found is None else found.size_bytes,
        "pinned": None if found is None else found.pinned,
    }
