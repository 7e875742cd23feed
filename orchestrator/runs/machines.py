"""Which machine each trial of a device ran on, as the journal tells it. Pure.

A device is one machine. Journals of before that was held against every ``device_ready`` may have
two under one name: then each gets a column of its own, since times of two are not one device's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from orchestrate_agent.identity import Value, differences, identity


def unlike(facts: Mapping[str, Any], others: Mapping[str, Any]) -> tuple[str, ...]:
    """Say in words which facts show that two runs met two machines; nothing where none does."""
    return tuple(differences(identity(facts), identity(others)))


def tells_which(facts: Mapping[str, Any]) -> bool:
    """Whether a machine told what no other one of its kind does."""
    return "machine_id" in identity(facts)


@dataclass
class Machine:
    """One machine of a device: who it is, all that it told last, its agent, why it was lost."""

    known: dict[str, Value]
    facts: Mapping[str, Any]
    agent_hash: str


@dataclass
class Machines:
    """The machines of every device of a run, while its events are read in order."""

    of: dict[str, list[Machine]] = field(default_factory=dict)
    _now: dict[str, int] = field(default_factory=dict)
    #: Of devices with several: the machine that a trial is of, where it is not the first.
    _trials: dict[str, int] = field(default_factory=dict)

    def ready(self, device: str, facts: Mapping[str, Any], agent_hash: str) -> None:
        """Note what a machine said of itself when it was reached."""
        found = identity(facts)
        machines = self.of.setdefault(device, [])
        for number, machine in enumerate(machines):
            if not differences(machine.known, found):
                machine.known = found | machine.known
                machine.facts, machine.agent_hash = facts, agent_hash
                self._now[device] = number
                return
        self._now[device] = len(machines)
        machines.append(Machine(found, facts, agent_hash))

    def note(self, device: str, trial_id: str) -> None:
        """Note that a trial was planned for, or finished on, the machine that is there now."""
        number = self._now.get(device, 0)
        if number or trial_id in self._trials:
            self._trials[trial_id] = number

    def unlike(self, device: str) -> tuple[str, ...]:
        """How the device's later machines differ from its first, in words."""
        first, *others = self.of.get(device) or [Machine({}, {}, "")]
        return tuple(w for each in others for w in differences(first.known, each.known))

    def column(self, device: str, trial_id: str) -> str:
        """The name of the column that a trial belongs to."""
        return self.columns(device)[self._trials.get(trial_id, 0)]

    def columns(self, device: str) -> tuple[str, ...]:
        """The names of the device's columns: its own, unless it was several machines."""
        count = len(self.of.get(device, ()))
        if count < 2:
            return (device,)
        return tuple(f"{device} (machine {number})" for number in range(1, count + 1))

    @property
    def several(self) -> tuple[str, ...]:
        """The devices that were several machines."""
        return tuple(device for device, machines in self.of.items() if len(machines) > 1)
