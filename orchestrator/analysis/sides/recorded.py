"""The conditions that a run recorded of each device, as names and values in words. Pure.

Everything that the manifest and the agents told is a condition, but what changes by itself from one
minute to the next: so that nobody has to have foreseen which one will matter.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator.analysis.sides.control import power_mode
from orchestrator.frameworks import registry
from orchestrator.runs.manifest import Manifest
from orchestrator.runs.records import RunRecord, TrialRecord
from orchestrator.trial import Factors, Variant

#: Facts of the minute in which they were asked.
_FLEETING = frozenset(
    {
        *("time", "uptime_s", "temperature_c", "memory.available_bytes", "boot_id", "machine_id"),
        *("android.battery", "android.battery_percent", "android.battery_c"),
    }
)
_FLEETING_PARTS = ("jetson.temperatures_c.", "jetson.power_w.")

#: Device, model, factors, scheme: what two runs can both have measured.
SideKey = tuple[str, str, Factors, str]


@dataclass(frozen=True)
class Change:
    """One condition that two runs do not share. Empty text: not recorded there."""

    name: str
    before: str
    after: str


def of_device(manifest: Manifest, run: RunRecord, device: str) -> dict[str, str]:
    """What the run says of ``device`` and of how it measured there."""
    facts = run.facts.get(device, {})
    agent = run.agents.get(device, "")
    # the manifest knows the inventory's name alone
    device = run.split[device].device if device in run.split else device
    found = {
        name: value
        for name, value in _flat("", facts)
        if name not in _FLEETING and not name.startswith(_FLEETING_PARTS)
    }
    found |= {f"inventory.{name}": value for name, value in _inventory(manifest, device)}
    # a suite without the key is one of before there were duets, or wants none
    protocol = {"duet": False, **manifest.suite.get("protocol", {})}
    found |= {f"protocol.{k}": v for k, v in _flat("", protocol)}
    found |= {f"controller.{name}": value for name, value in manifest.versions.items()}
    found |= {"agent": agent[:12]} if agent else {}
    for binary in manifest.binaries:
        if binary.device == device:
            found[f"{registry.tool().name}.sha256"] = binary.sha256[:12]
            found[f"{registry.tool().name}.source"] = binary.source
    for site in manifest.sites:
        if site.device == device:
            packages = (f"{each.get('name')} {each.get('version')}" for each in site.packages)
            found[f"bundle.{site.runtime}"] = ", ".join(packages)
    return found


def of_side(run: RunRecord, variant: Variant, trials: Iterable[TrialRecord]) -> dict[str, str]:
    """What the run says of one scheme's file and of what ran it."""
    trials = list(trials)
    artifact = run.artifacts.get(variant)
    known = {
        "artifact": {t.artifact_sha256[:12] for t in trials if t.artifact_sha256},
        registry.tool().name: {t.binary_sha256[:12] for t in trials if t.binary_sha256},
        "runtime": {
            " ".join(filter(None, (t.measurement.runtime_name, t.measurement.runtime_version)))
            for t in trials
            if t.measurement is not None
        },
        "governor": {str(g) for t in trials if (g := (t.health_before or {}).get("governor"))},
        "power mode": {m for t in trials if (m := power_mode(t.health_before or {}))},
        "weights": {artifact.weights} if artifact else set(),
    }
    return {name: " and ".join(sorted(filter(None, values))) for name, values in known.items()}


def of_suite(manifest: Manifest) -> dict[str, str]:
    """What the run was asked to measure, and by which protocol."""
    return dict(_flat("", manifest.suite))


def changes(before: Mapping[str, str], after: Mapping[str, str]) -> tuple[Change, ...]:
    """Every name whose value is not the same, in the order of names."""
    return tuple(
        Change(name, before.get(name, ""), after.get(name, ""))
        for name in sorted(before.keys() | after.keys())
        if before.get(name, "") != after.get(name, "")
    )


def _inventory(manifest: Manifest, device: str) -> Iterator[tuple[str, str]]:
    for entry in manifest.inventory.get("devices", ()):
        if entry.get("name") == device:
            yield from _flat("", entry)


def _flat(prefix: str, value: Any) -> Iterator[tuple[str, str]]:
    """``cpu.governor`` → ``performance``; a list is one value, null and empty ones are left out."""
    if isinstance(value, Mapping):
        for name, each in value.items():
            yield from _flat(f"{prefix}.{name}" if prefix else str(name), each)
    elif isinstance(value, list | tuple):
        if value:
            yield prefix, ", ".join(map(str, value))
    elif value is not None:
        yield prefix, str(value)
