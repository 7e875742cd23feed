"""Fixes the machine's clocks for a trial, and puts back what was there, whatever happens.

Before a setting is changed, what it was stands in the spool, synced. The worker restores after each
trial, while it still holds the machine's lock, so that no other user's trial or agent meets a state
that is ours. A daemon that starts restores what one that was killed had left behind. A reboot has
restored everything by itself.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from typing import Any, Dict, List, Tuple

from orchestrate_agent import home
from orchestrate_agent.machine import sensors
from orchestrate_agent.machine.sensors import CPUS
from orchestrate_agent.sysfs import Tree

RECORD = os.path.join(home.SPOOL, "tuning.json")
GOVERNOR = "performance"
#: With this governor the user has chosen a frequency, which writing another governor would lose.
_FIXED = "userspace"


@dataclass(frozen=True)
class Change:
    """One file of sysfs: what it held, and what a trial wants there."""

    path: str
    before: str
    after: str


class Tuner:
    """Belongs to one thread at a time: the daemon's before its worker runs, then the worker's."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree

    def apply(self) -> Tuple[Dict[str, str], List[str]]:
        """Set governor and turbo; returns (what is set now, why the rest is not)."""
        problems = self.restore()
        if problems:  # a second record would lose what the first one says
            return {}, problems
        governors, governor_problems = self._governors()
        turbo, turbo_problems = self._turbo()
        groups = (("governor", governors, governor_problems), ("turbo", turbo, turbo_problems))
        changes = [c for _, group, _ in groups for c in group if c.before != c.after]
        if changes:
            try:
                self._remember(changes)
            except OSError as exc:
                return {}, [f"clocks left alone, as what they were cannot be noted: {exc.strerror}"]
        told: Dict[str, str] = {}
        reasons: List[str] = []
        for name, group, known in groups:
            failed = [problem for change in group for problem in self._set(change)]
            reasons += [f"{name}: {reason}" for reason in (known + _brief(failed))]
            if group and not failed:
                told[name] = group[0].after if name == "governor" else "off"
        return told, reasons

    def restore(self) -> List[str]:
        """Put everything back; returns what could not be, which is tried again the next time."""
        try:
            changes = self._recorded()
        except (OSError, ValueError, KeyError, TypeError) as exc:
            home.log(f"{RECORD} cannot be read, so nothing can be restored from it: {exc!r}")
            os.replace(RECORD, RECORD + ".damaged")
            return []
        problems = []
        for change in reversed(changes):
            now = self._tree.read(change.path)
            if now == change.after != change.before:
                problems += self._set(Change(change.path, change.after, change.before))
            elif now != change.before:
                home.log(f"{change.path} is {now!r} by another hand, and left so")
        if problems:
            home.log(f"not restored: {'; '.join(_brief(problems))}")
            return [f"not restored: {problem}" for problem in _brief(problems)]
        if changes:
            _forget()
        return []

    def _governors(self) -> Tuple[List[Change], List[str]]:
        changes, problems = [], []
        folders = sensors.policies(self._tree)
        for folder in folders:
            now = self._tree.read(folder + "/scaling_governor")
            offered = (self._tree.read(folder + "/scaling_available_governors") or "").split()
            if now == _FIXED:
                problems.append(f"{_FIXED} holds a frequency somebody chose, and was left so")
            elif now is not None and GOVERNOR in (*offered, now):
                changes.append(Change(folder + "/scaling_governor", now, GOVERNOR))
            elif now is not None:
                problems.append(f"this kernel offers no {GOVERNOR}, it is {now}")
        if not changes and not problems:
            problems.append("this machine lets nobody set it (no cpufreq)")
        return changes, sorted(set(problems))

    def _turbo(self) -> Tuple[List[Change], List[str]]:
        changes = []
        for path, off in sensors.turbo_switches(self._tree):
            now = self._tree.read(path)
            if now is not None:
                changes.append(Change(path, now, off))
        return changes, [] if changes else ["this machine has no switch for it"]

    def _set(self, change: Change) -> List[str]:
        """Why it is not ``after`` now; empty where it is."""
        if self._tree.read(change.path) == change.after:
            return []
        try:
            self._tree.write(change.path, change.after)
        except OSError as exc:
            return [f"{change.path}: {exc.strerror}"]
        now = self._tree.read(change.path)
        if now != change.after:
            return [f"{change.path} stayed {now} when {change.after} was written"]
        return []

    def _remember(self, changes: List[Change]) -> None:
        data = {"boot_id": self._boot_id(), "changes": [asdict(change) for change in changes]}
        temporary = RECORD + ".tmp"
        with open(temporary, "w", encoding="ascii") as file:
            json.dump(data, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, RECORD)
        home.sync_directory(home.SPOOL)

    def _recorded(self) -> List[Change]:
        """What was changed and not restored; nothing where there was a reboot since."""
        try:
            with open(RECORD, encoding="ascii") as file:
                data: Dict[str, Any] = json.load(file)
        except FileNotFoundError:
            return []
        changes = [_change(item) for item in data["changes"]]
        if data["boot_id"] == self._boot_id():
            return changes
        _forget()
        return []

    def _boot_id(self) -> str:
        return self._tree.read("/proc/sys/kernel/random/boot_id") or ""


def _forget() -> None:
    try:
        os.unlink(RECORD)
        home.sync_directory(home.SPOOL)
    except OSError as exc:  # it says what holds again, so reading it anew does no harm
        home.log(f"{RECORD} cannot be removed: {exc.strerror}")


def _change(item: Dict[str, Any]) -> Change:
    change = Change(str(item["path"]), str(item["before"]), str(item["after"]))
    if not change.path.startswith(CPUS + "/") or ".." in change.path.split("/"):
        raise ValueError(f"{change.path} is none of the files that are tuned")
    return change


def _brief(problems: List[str]) -> List[str]:
    """The first of many alike: a server has a governor for each of its CPUs."""
    if len(problems) < 2:
        return problems
    return [f"{problems[0]} (and {len(problems) - 1} more)"]
