"""How far a machine's conditions were in our hands, and when what slowed it forbids a comparison.

Judged by what held while the trials ran, whoever brought it about. Pure.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from orchestrator.runs.records import TrialRecord

#: Codes of findings on trials whose machine ran slower than it can. One such trial is an outlier,
#: which the estimate withstands; the Hodges-Lehmann estimate breaks down when 29 % of the pairs are
#: off, so with more than a quarter of a side's trials the figure may be that of the cooling.
SLOWED = ("throttled", "under_voltage")
MOST_SLOWED = 0.25

#: Governors that hold one frequency.
_FIXED = frozenset({"performance", "userspace"})


def forbids(code: str, concerned: int, timed: int) -> bool:
    """Whether a finding on ``concerned`` of a side's ``timed`` trials forbids a comparison that it
    does not forbid on any one of them."""
    return code in SLOWED and concerned > MOST_SLOWED * timed


def control(facts: Mapping[str, Any], records: Iterable[TrialRecord]) -> str:
    """``controlled``, ``partly controlled`` or ``uncontrolled``, a colon, and why in a few words.

    ``records``: the timing trials of both sides that ended ok; empty text without any.
    """
    records = list(records)
    if not records:
        return ""
    told = [record for record in records if record.conditions is not None]
    if len(told) < len(records):
        return "uncontrolled: nothing is recorded of the conditions"
    held, lacking = _sorted_out(told)
    outside = _outside(facts)
    word = "partly controlled" if held else "uncontrolled"
    if held and not lacking and not outside:
        word = "controlled"
    return f"{word}: {'; '.join([*held, *lacking, *outside])}"


def _sorted_out(records: Sequence[TrialRecord]) -> tuple[list[str], list[str]]:
    """What held in every trial, and what did not, in words."""
    held: list[str] = []
    lacking: list[str] = []
    for good, words in (_pinning(records), _governor(records), _turbo(records)):
        if words:
            (held if good else lacking).append(words)
    return held, lacking


def _pinning(records: Sequence[TrialRecord]) -> tuple[bool, str]:
    free = [r for r in records if not _is_pinned(r)]
    if not free:
        return True, "pinned to CPUs of its own"
    return False, _because(free, "pinning", "not pinned (`pin: true` or `tune: true`)")


def _is_pinned(record: TrialRecord) -> bool:
    """No more CPUs than threads: then the scheduler has nothing to move."""
    pinned = (record.conditions or {}).get("pinned")
    return pinned is not None and len(pinned) <= record.trial.factors.threads


def _governor(records: Sequence[TrialRecord]) -> tuple[bool, str]:
    seen = {_before(r, "governor") for r in records}
    if seen <= _FIXED:
        return True, f"governor {' and '.join(sorted(map(str, seen)))}"
    names = sorted({name for name in seen if isinstance(name, str)})
    default = f"governor {' and '.join(names)}" if names else "the clock is not told"
    return False, _because(records, "governor", f"{default} (`tune: true` sets performance)")


def _turbo(records: Sequence[TrialRecord]) -> tuple[bool, str]:
    """A machine without a switch has no turbo to speak of, or hides it: nothing is said."""
    seen = {_before(r, "turbo") for r in records}
    if seen == {None}:
        return True, ""
    if seen == {False}:
        return True, "turbo off"
    return False, _because(records, "turbo", "turbo on (`tune: true` turns it off)")


def _because(records: Sequence[TrialRecord], what: str, otherwise: str) -> str:
    """The agent's most frequent reason for what it could not do, else ``otherwise``."""
    reasons = Counter(
        reason
        for record in records
        for reason in (record.conditions or {}).get("reasons", ())
        if reason.startswith(what + ":")
    )
    return min(reasons, key=lambda reason: (-reasons[reason], reason)) if reasons else otherwise


def _before(record: TrialRecord, name: str) -> Any:
    return (record.health_before or {}).get(name)


def _outside(facts: Mapping[str, Any]) -> list[str]:
    """What takes the clock and the CPUs out of our hands, whatever we set."""
    found = []
    virtualization, container = facts.get("virtualization"), facts.get("container")
    if virtualization not in (None, "none"):
        found.append(f"a virtual machine ({virtualization}), whose host decides on clocks and CPUs")
    cpu = facts.get("cpu")
    quota = cpu.get("cpu_quota") if isinstance(cpu, dict) else None
    if quota is not None:
        found.append(f"a quota of {quota:g} CPUs' time")
    if container is not None:
        found.append(f"a container ({container}), which others may share the machine with")
    return found
