"""How far a machine's conditions were in our hands, and when what slowed it forbids a comparison.

Judged by what held while the trials ran, whoever brought it about. Pure.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator.runs.records import TrialRecord

#: Codes of findings on trials whose machine ran slower than it can. One such trial is an outlier,
#: which the estimate withstands; the Hodges-Lehmann estimate breaks down when 29 % of the pairs are
#: off, so with more than a quarter of a side's trials the figure may be that of the cooling, or of
#: the quota, which stops a long inference and lets a short one pass.
SLOWED = ("throttled", "under_voltage", "quota_reached")
MOST_SLOWED = 0.25

#: Governors that hold one frequency.
_FIXED = frozenset({"performance", "userspace"})


def forbids(code: str, concerned: int, timed: int) -> bool:
    """Whether a finding on ``concerned`` of a side's ``timed`` trials forbids a comparison that it
    does not forbid on any one of them."""
    return code in SLOWED and concerned > MOST_SLOWED * timed


@dataclass(frozen=True)
class State:
    """What held while one trial ran: hashable, since the trials of a run share a few of them.

    ``recorded`` is false where nothing says so. ``pinned``: to no more CPUs than it has threads,
    so that the scheduler has nothing to move. ``power_mode`` and ``clocks_locked`` are a Jetson's.
    ``reasons``: why not all that was asked for held.
    """

    recorded: bool
    pinned: bool
    governor: str | None
    turbo: bool | None
    power_mode: str | None
    clocks_locked: bool | None
    reasons: tuple[str, ...]


def states(records: Iterable[TrialRecord]) -> Counter[State]:
    """The states of these trials, with how many ran in each."""
    # tuples are counted, because a record for each of 100,000 trials would take a second
    return Counter({State(*of): count for of, count in Counter(map(_state, records)).items()})


def _state(record: TrialRecord) -> tuple[Any, ...]:
    """The fields of a ``State``."""
    conditions = record.conditions or _NOTHING
    before = record.health_before or _NOTHING
    pinned = conditions.get("pinned")
    return (
        record.conditions is not None,
        pinned is not None and len(pinned) <= record.trial.factors.threads,
        before.get("governor"),
        before.get("turbo"),
        power_mode(before),
        (before.get("jetson") or _NOTHING).get("clocks_locked"),
        tuple(conditions.get("reasons", ())),
    )


_NOTHING: Mapping[str, Any] = {}


def power_mode(health: Mapping[str, Any]) -> str | None:
    """Return a Jetson's power mode by its name, else by its number; None where none is told."""
    jetson = health.get("jetson") or _NOTHING
    name, number = jetson.get("power_mode"), jetson.get("power_mode_id")
    return name or (None if number is None else f"number {number}")


def control(facts: Mapping[str, Any], seen: Counter[State]) -> str:
    """``controlled``, ``partly controlled`` or ``uncontrolled``, a colon, and why in a few words.

    ``seen``: the states of the timing trials of both sides that ended ok; empty text without any.
    """
    if not seen:
        return ""
    if not all(state.recorded for state in seen):
        return "uncontrolled: nothing is recorded of the conditions"
    held, lacking = _sorted_out(seen)
    outside = _outside(facts)
    word = "partly controlled" if held else "uncontrolled"
    if held and not lacking and not outside:
        word = "controlled"
    # fixed, whether by us or not: it caps the clock and the number of CPUs, and moves neither
    modes = " and ".join(sorted({s.power_mode for s in seen if s.power_mode is not None}))
    told = [f"power mode {modes}"] if modes else []
    return f"{word}: {'; '.join([*held, *lacking, *outside, *told])}"


def _sorted_out(seen: Counter[State]) -> tuple[list[str], list[str]]:
    """What held in every trial, and what did not, in words."""
    held: list[str] = []
    lacking: list[str] = []
    for good, words in (_pinning(seen), _governor(seen), _turbo(seen), _locked(seen)):
        if words:
            (held if good else lacking).append(words)
    return held, lacking


def _pinning(seen: Counter[State]) -> tuple[bool, str]:
    if all(state.pinned for state in seen):
        return True, "pinned to CPUs of its own"
    return False, _because(seen, "pinning", "not pinned (`pin: true` or `tune: true`)")


def _governor(seen: Counter[State]) -> tuple[bool, str]:
    if {state.clocks_locked for state in seen} == {True}:  # whatever the governor would do
        return True, "clocks locked"
    names = sorted({state.governor for state in seen if state.governor is not None})
    told = f"governor {' and '.join(names)}" if names else "the clock is not told"
    if {state.governor for state in seen} <= _FIXED:
        return True, told
    return False, _because(seen, "governor", f"{told} (`tune: true` sets performance)")


def _turbo(seen: Counter[State]) -> tuple[bool, str]:
    """Say whether turbo was fixed. A machine without a switch has no turbo, or hides it: nothing is
    said."""
    settings = {state.turbo for state in seen}
    if settings == {None}:
        return True, ""
    if settings == {False}:
        return True, "turbo off"
    return False, _because(seen, "turbo", "turbo on (`tune: true` turns it off)")


def _locked(seen: Counter[State]) -> tuple[bool, str]:
    """Say where a Jetson's clocks, which are its GPU's as well, are not locked; where all are, that
    is said already."""
    unlocked = any(state.clocks_locked is False for state in seen)
    return False, "clocks not locked (`sudo jetson_clocks`)" if unlocked else ""


def _because(seen: Counter[State], what: str, otherwise: str) -> str:
    """The agent's most frequent reason for what it could not do, else ``otherwise``."""
    reasons: Counter[str] = Counter()
    for state, count in seen.items():
        for reason in state.reasons:
            if reason.startswith(what + ":"):
                reasons[reason] += count
    return min(reasons, key=lambda reason: (-reasons[reason], reason)) if reasons else otherwise


def cpu_quota(facts: Mapping[str, Any]) -> float | None:
    """Return how many CPUs' time the device's control group gives; None without a limit."""
    cpu = facts.get("cpu")
    quota = cpu.get("cpu_quota") if isinstance(cpu, dict) else None
    return float(quota) if isinstance(quota, int | float) else None


def emulated(facts: Mapping[str, Any]) -> bool:
    """Whether the device's programs are translated for a CPU of another kind."""
    return facts.get("virtualization") == "qemu-user"


def _outside(facts: Mapping[str, Any]) -> list[str]:
    """Name what takes the clock and the CPUs out of our hands, whatever we set."""
    found = []
    virtualization, container = facts.get("virtualization"), facts.get("container")
    if emulated(facts):
        found.append(f"emulated ({virtualization}), at the speed of no CPU")
    elif virtualization not in (None, "none"):
        found.append(f"a virtual machine ({virtualization}), whose host decides on clocks and CPUs")
    quota = cpu_quota(facts)
    if quota is not None:
        found.append(f"a quota of {quota:g} CPUs' time")
    if container is not None:
        found.append(f"a container ({container}), which others may share the machine with")
    return found
