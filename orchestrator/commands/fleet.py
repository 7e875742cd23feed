"""``devices`` and ``agents``."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from agents import protocol
from orchestrator.answer import Answer, ExitCode
from orchestrator.commands.selection import inventory_of, reachable
from orchestrator.commands.terminal import answer_width, colour_wanted
from orchestrator.config import Device, Inventory
from orchestrator.console import duration
from orchestrator.errors import DeviceError, NoDeviceReachedError
from orchestrator.fleet.agent_archive import AgentArchive, build_agent_archive
from orchestrator.fleet.provision import (
    AgentPlace,
    agent_log,
    ask_agent,
    check_expectations,
    installed_runtimes,
)
from orchestrator.fleet.reach import place_on, reach_device, transport_to
from orchestrator.fleet.transport import Transport
from orchestrator.printable import printable
from orchestrator.report.grid import render_grid


@dataclass(frozen=True)
class _Asked:
    """One device and its answer, or why there is none."""

    device: str
    answer: Mapping[str, Any] | None
    error: str | None


def devices(arguments: argparse.Namespace) -> Answer:
    """Reach, identify and check every device."""
    asked = _ask_all(arguments, _identify)
    if arguments.json:
        document = [{"device": a.device, "error": a.error, **(a.answer or {})} for a in asked]
        return Answer(json.dumps({"format": 1, "devices": document}, indent=1) + "\n", _code(asked))
    rows = [_device_row(a.device, a.answer, a.error) for a in asked]
    return Answer(_grid(_DEVICE_HEADER, rows), _code(asked))


_DEVICE_HEADER = (
    "device",
    "microarchitecture",
    "CPU",
    "CPUs",
    "memory",
    "governor",
    "where",
    "runtimes",
)


def _identify(device: Device, inventory: Inventory) -> Mapping[str, Any]:
    node = reach_device(device, inventory, build_agent_archive())
    try:
        unverified = check_expectations(node.facts, device.expect, device=device.name)
        return {
            "facts": node.facts,
            "runtimes": installed_runtimes(node),
            "unverified_expectations": list(unverified),
        }
    finally:
        node.close()


def _device_row(name: str, answer: Mapping[str, Any] | None, error: str | None) -> tuple[str, ...]:
    if answer is None:
        return (name, f"not reached: {error}", *[""] * (len(_DEVICE_HEADER) - 2))
    facts = answer["facts"]
    cpu = facts.get("cpu") or {}
    memory = (facts.get("memory") or {}).get("total_bytes")
    where = [facts.get("container"), facts.get("virtualization")]
    return (
        name,
        str(cpu.get("microarchitecture") or "unknown"),
        str(cpu.get("model_name") or "unknown"),
        str(len(cpu.get("cpus_allowed") or []) or "unknown"),
        f"{memory / 1e9:.1f} GB" if memory else "unknown",
        str(cpu.get("governor") or "unknown"),
        ", ".join(str(w) for w in where if w) or "unknown",
        ", ".join(f"{k} {v}" for k, v in answer["runtimes"].items()) or "none",
    )


def agents(arguments: argparse.Namespace) -> Answer:
    """Ask, read or stop the agents; none is started for it."""
    if arguments.action == "logs":
        asked = _ask_all(arguments, _on_device(_log))
        parts = [f"== {a.device}\n{(a.answer or {}).get('log', a.error)}" for a in asked]
        lines = [printable(line) for part in parts for line in part.splitlines()]
        return Answer("\n".join(lines) + "\n", _code(asked))
    action = _status if arguments.action == "status" else _stop(force=arguments.force)
    asked = _ask_all(arguments, _on_device(action))
    rows = [
        (a.device, *(a.answer.values() if a.answer else (f"not reached: {a.error}", "", "")))
        for a in asked
    ]
    return Answer(_grid(("device", "agent", "running", "waiting"), rows), _code(asked))


@dataclass(frozen=True)
class _Site:
    """A connected device and where its agent lives."""

    transport: Transport
    place: AgentPlace
    archive: AgentArchive

    def ask(self, op: str, **params: Any) -> Mapping[str, Any] | None:
        return ask_agent(self.transport, self.place, self.archive, op, **params)


def _on_device(
    action: Callable[[_Site], Mapping[str, Any]],
) -> Callable[[Device, Inventory], Mapping[str, Any]]:
    def question(device: Device, inventory: Inventory) -> Mapping[str, Any]:
        transport = transport_to(device, inventory)
        transport.connect()
        try:
            return action(_Site(transport, place_on(device), build_agent_archive()))
        finally:
            transport.close()

    return question


def _status(site: _Site) -> Mapping[str, Any]:
    status = site.ask("status")
    if status is None:
        return {"agent": "not running", "running": "", "waiting": ""}
    hello = site.ask("hello", protocol=protocol.PROTOCOL) or {}
    running, idle_s = status.get("running"), status.get("idle_s")
    idle = f", idle for {duration(idle_s)}" if isinstance(idle_s, int | float) else ""
    return {
        "agent": f"pid {hello.get('pid')}, since {hello.get('started')}{idle}",
        "running": str(running.get("trial_id")) if isinstance(running, dict) else "nothing",
        "waiting": str(status.get("queued")),
    }


def _stop(*, force: bool) -> Callable[[_Site], Mapping[str, Any]]:
    def stop(site: _Site) -> Mapping[str, Any]:
        reply = site.ask("shutdown", force=force)
        return {
            "agent": "not running" if reply is None else "stopped",
            "running": "",
            "waiting": "",
        }

    return stop


def _log(site: _Site) -> Mapping[str, Any]:
    return {"log": agent_log(site.transport, site.place, site.archive)}


def _ask_all(
    arguments: argparse.Namespace,
    question: Callable[[Device, Inventory], Mapping[str, Any]],
) -> Sequence[_Asked]:
    """Every device at once. Raises NoDeviceReachedError where none answers."""
    inventory = inventory_of(arguments)
    chosen = reachable(inventory, arguments.device)

    def ask(device: Device) -> _Asked:
        try:
            return _Asked(device.name, question(device, inventory), None)
        except DeviceError as exc:
            return _Asked(device.name, None, exc.reason)

    with ThreadPoolExecutor(max_workers=len(chosen)) as pool:
        asked = list(pool.map(ask, chosen))
    if all(a.answer is None for a in asked):
        errors = [f"{a.device}: {a.error}" for a in asked]
        raise NoDeviceReachedError("\n".join(["no device could be reached", *errors]))
    return asked


def _code(asked: Sequence[_Asked]) -> ExitCode:
    return ExitCode.FAILED if any(a.answer is None for a in asked) else ExitCode.OK


def _grid(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return render_grid(header, rows, width=answer_width(), color=colour_wanted())
