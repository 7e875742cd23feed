"""``devices`` and ``agents``."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from orchestrate_agent import protocol
from orchestrator import campaign
from orchestrator.answer import Answer, ExitCode
from orchestrator.commands.selection import inventory_of, reachable, suite_of
from orchestrator.commands.terminal import answer_width, colour_wanted
from orchestrator.config import Device, Inventory
from orchestrator.console import duration
from orchestrator.errors import AgentError, DeviceError, NoDeviceReachedError
from orchestrator.fleet.agent_archive import AgentArchive, build_agent_archive
from orchestrator.fleet.link import AgentRefusalError
from orchestrator.fleet.provision import (
    AgentPlace,
    agent_log,
    ask_agent,
)
from orchestrator.fleet.reach import place_on, reach_device, transport_to
from orchestrator.fleet.survey import Needs, Problem, Survey, survey
from orchestrator.fleet.transport import Transport
from orchestrator.fleet.vigil import named_holder
from orchestrator.printable import printable
from orchestrator.report.grid import render_grid

T = TypeVar("T")


@dataclass(frozen=True)
class _Asked(Generic[T]):
    """One device and its answer, or why there is none; ``reached``: its agent said why."""

    device: str
    answer: T | None
    error: str | None
    reached: bool = True

    @property
    def trouble(self) -> str:
        """Why there is no answer."""
        return f"{self.error}" if self.reached else f"not reached: {self.error}"


def devices(arguments: argparse.Namespace) -> Answer:
    """Reach, identify and check every device: what is wrong first, each with its remedy."""
    inventory = inventory_of(arguments)
    chosen = reachable(inventory, arguments.device)
    needs = _needs(arguments, inventory, chosen)
    archive = build_agent_archive()

    def look(device: Device) -> Survey:
        node = reach_device(device, inventory, archive, only_look=True)
        try:
            return survey(node, device, needs.get(device.name))
        finally:
            node.close()

    asked = _ask_all(chosen, look)
    if arguments.json:
        document = [_device_json(a) for a in asked]
        text = json.dumps({"format": 1, "devices": document}, indent=1) + "\n"
        return Answer(text, _device_code(asked))
    rows = [_device_row(a.device, a.answer) for a in asked if a.answer is not None]
    return Answer(
        "".join([*_problem_lines(asked), _grid(_DEVICE_HEADER, rows)]), _device_code(asked)
    )


def _needs(
    arguments: argparse.Namespace, inventory: Inventory, chosen: Sequence[Device]
) -> Mapping[str, Needs]:
    """What a run of the suite would ask of each device; nothing where no suite is named."""
    if arguments.suite is None and inventory.suite is None:
        return {}
    places = campaign.Places(Path("results"), arguments.models)
    prepared = campaign.prepare(chosen, suite_of(arguments, inventory), places, seed=0)
    there = {**prepared.built, **prepared.own.artifacts}
    needs = {}
    for plan in prepared.plan.devices:
        variants = {trial.variant for trial in plan.trials}
        needs[plan.device] = Needs(
            plan,
            files={there[v].sha256: there[v].size_bytes for v in variants & there.keys()},
            unbuilt=len(variants - there.keys()),
            at_once=prepared.plan.at_once,
        )
    return needs


def _device_json(asked: _Asked[Survey]) -> dict[str, Any]:
    found = asked.answer
    if found is None:
        return {"device": asked.device, "error": asked.error, "problems": []}
    grave = [problem.message for problem in found.problems if problem.grave]
    return {
        "device": asked.device,
        "error": "; ".join(grave) or None,
        "problems": [asdict(problem) for problem in found.problems],
        "facts": found.facts,
        "runtimes": dict(found.runtimes),
        "unverified_expectations": list(found.unverified),
        "use": found.use,
        "trial": found.trial,
        "clock_skew_s": found.clock_skew_s,
        "clock_error_s": found.clock_error_s,
        "to_push_bytes": found.missing_bytes,
    }


def _problem_lines(asked: Sequence[_Asked[Survey]]) -> Iterator[str]:
    """What keeps a run from a device, then what disturbs one."""
    unreached = [f"{a.device}: {a.trouble}" for a in asked if a.answer is None]
    found = [(a.device, problem) for a in asked if a.answer for problem in a.answer.problems]
    grave = [_problem_line(*each) for each in found if each[1].grave]
    other = [_problem_line(*each) for each in found if not each[1].grave]
    for title, lines in (("Problems", unreached + grave), ("Warnings", other)):
        if lines:
            yield f"{title}\n" + "".join(f"  {printable(line)}\n" for line in lines) + "\n"


def _problem_line(device: str, problem: Problem) -> str:
    remedy = f". Remedy: {problem.remedy}" if problem.remedy else ""
    return f"{device}: {problem.message}{remedy}"


_DEVICE_HEADER = (
    "device",
    "microarchitecture",
    "CPU",
    "in use",
    "memory free",
    "disk free",
    "clock",
    "governor",
    "where",
    "runtimes",
)


def _device_row(name: str, found: Survey) -> tuple[str, ...]:
    facts = found.facts
    cpu = facts.get("cpu") or {}
    memory = facts.get("memory") or {}
    share = found.use.get("busy_share")
    where = [facts.get("container"), facts.get("virtualization")]
    return (
        name,
        str(cpu.get("microarchitecture") or "unknown"),
        f"{cpu.get('model_name') or 'unknown'}, {len(cpu.get('cpus_allowed') or []) or '?'} CPUs",
        "unknown" if share is None else f"{share:.0%}",
        f"{_gb(memory.get('available_bytes')).removesuffix(' GB')} of "
        f"{_gb(memory.get('total_bytes'))}",
        _gb((found.use.get("disk") or {}).get("free_bytes")),
        "unknown" if found.clock_skew_s is None else f"{found.clock_skew_s:+.1f} s",
        str(cpu.get("governor") or "unknown"),
        ", ".join(str(w) for w in where if w) or "unknown",
        ", ".join(f"{k} {v}" for k, v in found.runtimes.items()) or "none",
    )


def _gb(size: float | None) -> str:
    return "unknown" if size is None else f"{size / 1e9:.1f} GB"


def _device_code(asked: Sequence[_Asked[Survey]]) -> ExitCode:
    grave = any(a.answer and any(p.grave for p in a.answer.problems) for a in asked)
    return ExitCode.FAILED if grave else _code(asked)


def agents(arguments: argparse.Namespace) -> Answer:
    """Ask, read or stop the agents; none is started for it."""
    inventory = inventory_of(arguments)
    chosen = reachable(inventory, arguments.device)
    if arguments.action == "logs":
        asked = _ask_all(chosen, _on_device(inventory, _log))
        parts = [f"== {a.device}\n{(a.answer or {}).get('log', a.error)}" for a in asked]
        lines = [printable(line) for part in parts for line in part.splitlines()]
        return Answer("\n".join(lines) + "\n", _code(asked))
    action = _status if arguments.action == "status" else _stop(force=arguments.force)
    asked = _ask_all(chosen, _on_device(inventory, action))
    rows = [(a.device, *(a.answer.values() if a.answer else (a.trouble, "", ""))) for a in asked]
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
    inventory: Inventory, action: Callable[[_Site], Mapping[str, Any]]
) -> Callable[[Device], Mapping[str, Any]]:
    archive = build_agent_archive()

    def question(device: Device) -> Mapping[str, Any]:
        transport = transport_to(device, inventory)
        transport.connect()
        try:
            return action(_Site(transport, place_on(device), archive))
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
        "running": _running(status, running) if isinstance(running, dict) else "nothing",
        "waiting": str(status.get("queued")),
    }


def _running(status: Mapping[str, Any], running: Mapping[str, Any]) -> str:
    trial = str(running.get("trial_id"))
    if status.get("waits_for") != protocol.LOCK:
        return trial
    return f"{trial}, which waits for the machine's lock ({named_holder(status['lock_holder'])})"


def _stop(*, force: bool) -> Callable[[_Site], Mapping[str, Any]]:
    def stop(site: _Site) -> Mapping[str, Any]:
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


def _log(site: _Site) -> Mapping[str, Any]:
    return {"log": agent_log(site.transport, site.place, site.archive)}


def _ask_all(chosen: Sequence[Device], question: Callable[[Device], T]) -> Sequence[_Asked[T]]:
    """Every device at once. Raises NoDeviceReachedError where none answers."""

    def ask(device: Device) -> _Asked[T]:
        try:
            return _Asked(device.name, question(device), None)
        except DeviceError as exc:
            return _Asked(device.name, None, exc.reason, isinstance(exc, AgentError))

    with ThreadPoolExecutor(max_workers=len(chosen)) as pool:
        asked = list(pool.map(ask, chosen))
    if not any(a.reached for a in asked):
        errors = [f"{a.device}: {a.error}" for a in asked]
        raise NoDeviceReachedError("\n".join(["no device could be reached", *errors]))
    return asked


def _code(asked: Sequence[_Asked[Any]]) -> ExitCode:
    return ExitCode.FAILED if any(a.answer is None for a in asked) else ExitCode.OK


def _grid(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return render_grid(header, rows, width=answer_width(), color=colour_wanted())
