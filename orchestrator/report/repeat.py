"""What it takes to measure again what a run measured, and on what it was measured."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Mapping
from typing import Any

from orchestrator.printable import printable
from orchestrator.report.clean import clean
from orchestrator.report.figures import significant
from orchestrator.runs.manifest import Manifest


def command(manifest: Manifest) -> str | None:
    """The command line that draws the same plan: suite, protocol, devices and seed. None for a run
    that no such command made: its logs were imported."""
    if not manifest.inventory.get("path"):
        return None
    protocol = manifest.suite.get("protocol", {})
    options = {
        "--inventory": manifest.inventory["path"],
        "--suite": manifest.suite.get("name"),
        "--blocks": protocol.get("blocks"),
        "--precision": protocol.get("precision"),
        "--budget": _seconds(protocol.get("budget")),
        "--seed": manifest.seed,
    }
    words = ["orchestrate run"]
    words += [
        f"{name} {shlex.quote(printable(str(value)))}"
        for name, value in options.items()
        if value is not None
    ]
    words += [f"--device {shlex.quote(printable(name))}" for name in manifest.devices]
    return " \\\n  ".join(words)


def _seconds(budget: object) -> str | None:
    """``240s``, also for a run whose budget is in the manifest as it was written."""
    if not budget:
        return None
    return f"{budget:g}s" if isinstance(budget, int | float) else str(budget)


def caveat(manifest: Manifest) -> str:
    """What the command line alone does not fix."""
    version = manifest.versions.get("orchestrate", "unknown")
    return (
        f"With orchestrate {clean(version)}, the suite below, and model files that have the hashes "
        f"below: the plan is then the same trial by trial. Begun {clean(manifest.created)}."
    )


def suite(manifest: Manifest) -> str:
    """The suite with everything that the command line changed in it, as JSON."""
    return json.dumps(manifest.suite, indent=2)


#: What of a device's facts moves a figure. Names of hosts and machines are not among them: a
#: report is made to be passed on.
_FACTS: tuple[tuple[str, tuple[str, ...], Callable[[Any], str]], ...] = (
    ("CPU", ("cpu", "model_name"), str),
    ("Microarchitecture", ("cpu", "microarchitecture"), str),
    ("Its features", ("cpu", "features"), lambda value: ", ".join(map(str, value))),
    ("Cores", ("cpu", "physical_cores"), str),
    ("Logical CPUs", ("cpu", "logical_cpus"), str),
    ("CPUs it may use", ("cpu", "cpus_allowed"), lambda value: ", ".join(map(str, value))),
    ("CPU quota", ("cpu", "cpu_quota"), str),
    ("Base clock", ("cpu", "base_mhz"), lambda value: f"{value:g} MHz"),
    ("Highest clock", ("cpu", "max_mhz"), lambda value: f"{value:g} MHz"),
    ("Governor", ("cpu", "governor"), str),
    ("Turbo", ("cpu", "turbo"), lambda value: "on" if value else "off"),
    ("SMT", ("cpu", "smt"), lambda value: "on" if value else "off"),
    ("Memory", ("memory", "total_bytes"), lambda value: f"{significant(value / 1e9)} GB"),
    ("Memory limit", ("memory", "cgroup_limit_bytes"), lambda v: f"{significant(v / 1e9)} GB"),
    ("Board", ("board", "product"), str),
    ("System on chip", ("android", "soc"), str),
    ("ABI", ("android", "abi"), str),
    ("Battery at the start", ("android", "battery_percent"), lambda value: f"{value:g} %"),
    ("Power mode", ("jetson", "power_mode"), str),
    ("Clocks locked", ("jetson", "clocks_locked"), lambda value: "yes" if value else "no"),
    ("Jetson Linux", ("jetson", "l4t"), str),
    ("System", ("system", "distribution"), str),
    ("Kernel", ("system", "kernel"), str),
    ("C library", ("system", "libc"), str),
    ("Architecture", ("system", "architecture"), str),
    ("Python", ("python", "version"), str),
    ("Container", ("container",), str),
    ("Virtual machine", ("virtualization",), str),
    ("Temperature at the start", ("temperature_c",), lambda value: f"{value:g} °C"),
)


def facts_of(facts: Mapping[str, Any]) -> dict[str, str]:
    """What a device says of itself, label by label; what it does not know is left out.

    A fact of an unexpected shape is said to be one, and costs no report.
    """
    found = {}
    for label, path, shown in _FACTS:
        value: Any = facts
        for name in path:
            value = value.get(name) if isinstance(value, Mapping) else None
        if value is None or value == []:
            continue
        try:
            found[label] = clean(shown(value))
        except (TypeError, ValueError, ArithmeticError):
            found[label] = clean(f"not understood: {value!r}")
    return found
