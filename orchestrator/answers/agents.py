"""``orchestrate agents``: asks, reads or stops the agents on the devices."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from orchestrate_agent import protocol
from orchestrator.answer import Answer
from orchestrator.answers.asking import ask_all, exit_code
from orchestrator.answers.selection import inventory_of, reachable
from orchestrator.answers.terminal import answer_width, colour_wanted
from orchestrator.commands.agents import AgentsArguments
from orchestrator.config import Device, Inventory
from orchestrator.errors import AgentError
from orchestrator.fleet.agent_archive import AgentArchive, build_agent_archive
from orchestrator.fleet.link import AgentRefusalError
from orchestrator.fleet.provision import (
    AgentPlace,
    agent_log,
    ask_agent,
)
from orchestrator.fleet.reach import place_on, transport_to
from orchestrator.fleet.transport import Transport
from orchestrator.fleet.vigil import named_holder
from orchestrator.printable import duration, printable
from orchestrator.report.grid import render_grid


def answer(arguments: AgentsArguments) -> Answer:
    """Ask, read or stop the agents; none is started for it."""
    inventory = inventory_of(arguments)
    chosen = reachable(inventory, arguments.device)
    if arguments.action == "logs":
        asked = ask_all(chosen, _on_device(inventory, _log))
        parts = [f"== {a.device}\n{(a.answer or {}).get('log', a.error)}" for a in asked]
        lines = [printable(line) for part in parts for line in part.splitlines()]
        return Answer("\n".join(lines) + "\n", exit_code(asked))
    action = _status if arguments.action == "status" else _stop(force=arguments.force)
    asked = ask_all(chosen, _on_device(inventory, action))
    rows = [(a.device, *(a.answer.values() if a.answer else (a.trouble, "", ""))) for a in asked]
    return Answer(_grid(("device", "agent", "running", "waiting"), rows), exit_code(asked))


@dataclass(frozen=True)
class _AgentAddress:
    """A connected device and where its agent lives."""

    transport: Transport
    place: AgentPlace
    archive: AgentArchive

    def ask(self, op: str, **params: Any) -> Mapping[str, Any] | None:
        return ask_agent(self.transport, self.place, self.archive, op, **params)


def _on_device(
    inventory: Inventory, action: Callable[[_AgentAddress], Mapping[str, Any]]
) -> Callable[[Device], Mapping[str, Any]]:
    archive = build_agent_archive()

    def question(device: Device) -> Mapping[str, Any]:
        transport = transport_to(device, inventory)
        transport.connect()
        try:
            return action(_AgentAddress(transport, place_on(device), archive))
        finally:
            transport.close()

    return question


def _status(site: _AgentAddress) -> Mapping[str, Any]:
    status = site.ask("status")
    if status is None:
        return {"agent": "not running", "running": "", "waiting": ""}
    hello = site.ask("hello", protocol=protocol.PROTOCOL) or {}
    running, idle_s = status.get("running"), status.get("idle_s")
    idle = f", idle for {duration(idle_s)}" if isinstance(idle_s, int | float) else ""
    return {
        "agent": f"pid {hello.get('pid')}, since {hello.get('started')}{idle}",
        "running": _running(status, running) if isinstance(running, dict) else "nothing",
        "waiting": str(status.get("queued")),
    }


def _running(status: Mapping[str, Any], running: Mapping[str, Any]) -> str:
    trial = str(running.get("trial_id"))
    if status.get("waits_for") != protocol.LOCK:
        return trial
    return f"{trial}, which waits for the machine's lock ({named_holder(status['lock_holder'])})"


def _stop(*, force: bool) -> Callable[[_AgentAddress], Mapping[str, Any]]:
    def stop(site: _AgentAddress) -> Mapping[str, Any]:
        try:
            reply = site.ask("shutdown", force=force)
        except AgentRefusalError as exc:
            if exc.error.kind != "busy":
                raise
            raise AgentError(f"busy: {exc.error}", device=site.transport.device) from exc
        return {
            "agent": "not running" if reply is None else "stopped",
            "running": "",
            "waiting": "",
        }

    return stop


def _log(site: _AgentAddress) -> Mapping[str, Any]:
    return {"log": agent_log(site.transport, site.place, site.archive)}


def _grid(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return render_grid(header, rows, width=answer_width(), color=colour_wanted())
