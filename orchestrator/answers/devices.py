"""``orchestrate devices``: reaches, identifies and checks every device."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from orchestrator import campaign
from orchestrator.answer import Answer, ExitCode
from orchestrator.answers.asking import DeviceAnswer, ask_all, exit_code
from orchestrator.answers.selection import inventory_of, reachable, suite_of
from orchestrator.answers.terminal import answer_width, colour_wanted
from orchestrator.commands.devices import DevicesArguments
from orchestrator.config import Device, Inventory
from orchestrator.fleet.agent_archive import build_agent_archive
from orchestrator.fleet.reach import reach_device
from orchestrator.fleet.survey import Needs, Problem, Survey, survey
from orchestrator.printable import printable
from orchestrator.report.grid import render_grid


def answer(arguments: DevicesArguments) -> Answer:
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

    asked = ask_all(chosen, look)
    if arguments.json:
        document = [_device_json(a) for a in asked]
        text = json.dumps({"format": 1, "devices": document}, indent=1) + "\n"
        return Answer(text, _device_code(asked))
    rows = [_device_row(a.device, a.answer) for a in asked if a.answer is not None]
    return Answer(
        "".join([*_problem_lines(asked), _grid(_DEVICE_HEADER, rows)]), _device_code(asked)
    )


def _needs(
    arguments: DevicesArguments, inventory: Inventory, chosen: Sequence[Device]
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
            files={
                there[v].sha256: there[v].size_bytes
                for v in variants & there.keys()
                if there[v].has_file
            },
            unbuilt=len(variants - there.keys()),
            at_once=prepared.plan.at_once,
        )
    return needs


def _device_json(asked: DeviceAnswer[Survey]) -> dict[str, Any]:
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


def _problem_lines(asked: Sequence[DeviceAnswer[Survey]]) -> Iterator[str]:
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


def _device_code(asked: Sequence[DeviceAnswer[Survey]]) -> ExitCode:
    grave = any(a.answer and any(p.grave for p in a.answer.problems) for a in asked)
    return ExitCode.FAILED if grave else exit_code(asked)


def _grid(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return render_grid(header, rows, width=answer_width(), color=colour_wanted())
