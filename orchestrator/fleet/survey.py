"""Looks at one device before a run: what it is, what it has left, who else is using it.

Every problem found is told with its remedy; the first one does not keep the others from being seen.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from orchestrate_agent import protocol
from orchestrate_agent.children.probe import lack
from orchestrate_agent.files.blobs import SPARE_BYTES
from orchestrate_agent.machine import health
from orchestrator.config import Device
from orchestrator.errors import AgentError, DeviceError
from orchestrator.fleet import told
from orchestrator.fleet.provision import (
    SHORT_TIMEOUT_S,
    ReachedDevice,
    check_executable,
    check_expectations,
    check_suitability,
    installed_runtimes,
)
from orchestrator.fleet.vigil import named_holder
from orchestrator.plan import DevicePlan

#: Beyond this a device's times in the journal mislead whoever reads them, in seconds.
CLOCK_SKEW_S = 2.0
#: The share of all CPUs at work beyond which trials will wait at the gate, or be noisy.
BUSY_SHARE = 0.05
#: What a runner holds besides its model: interpreter and libraries. Weights are there twice, in the
#: file and packed for the kernels; memory trials of the reference run agree to some 10 MB.
RUNTIME_BYTES = 80_000_000
WEIGHT_COPIES = 2


@dataclass(frozen=True)
class Problem:
    """Something about a device that keeps a run from it (``grave``), or disturbs one."""

    code: str
    message: str
    remedy: str
    grave: bool = False


@dataclass(frozen=True)
class Needs:
    """What a plan asks of one device.

    ``files`` are those to be there, SHA-256 → bytes; ``unbuilt`` how many more are to be built,
    of unknown size. ``at_once`` trials run at the same time.
    """

    plan: DevicePlan
    files: Mapping[str, int]
    unbuilt: int
    at_once: int

    @property
    def memory_bytes(self) -> int:
        """An estimate from the largest file that is built."""
        largest = max(self.files.values(), default=0)
        return self.at_once * (WEIGHT_COPIES * largest + RUNTIME_BYTES)


@dataclass(frozen=True)
class Survey:
    """What one device told, and what is wrong with that.

    ``use`` is the agent's ``survey``; ``trial`` what our own agent runs for somebody there.
    ``clock_skew_s`` is how far its clock is ahead of ours, known to ± ``clock_error_s``.
    ``missing_bytes`` is what a run would push, None where no plan was given.
    """

    facts: Mapping[str, Any]
    runtimes: Mapping[str, str]
    unverified: tuple[str, ...]
    use: Mapping[str, Any]
    trial: str | None
    clock_skew_s: float | None
    clock_error_s: float
    missing_bytes: int | None
    problems: tuple[Problem, ...]


def survey(node: ReachedDevice, device: Device, needs: Needs | None) -> Survey:
    """Look at a device that was reached. Raises DeviceError where it stops answering."""
    use = _use(node)
    skew_s, error_s = _clock(node)
    status = node.link.request("status")
    running = status.get("running")
    trial = None
    waiting = False
    if isinstance(running, dict):
        trial = f"{running.get('trial_id')} of run {running.get('run_id')}"[:300]
        waiting = running.get("state") == "waiting" and status.get("waits_for") == protocol.LOCK
    missing = None if needs is None else _missing_bytes(node, needs)
    unverified, problems = _unexpected(node, device)
    if needs is not None and missing is not None:
        problems += _unfit(node, device, needs)
        problems += _no_room(use, missing, needs) + _little_memory(node.facts, needs)
    problems += _not_executable(node, needs)
    problems += _small_quota(node.facts, needs)
    problems += _weak_supply(use.get("throttle") or {})
    problems += _others(device, use, trial, waiting=waiting, agent_pid=node.hello.get("pid"))
    problems += _skewed(skew_s, error_s)
    return Survey(
        facts=node.facts,
        runtimes=installed_runtimes(node),
        unverified=unverified,
        use=use,
        trial=trial,
        clock_skew_s=skew_s,
        clock_error_s=error_s,
        missing_bytes=missing,
        problems=tuple(sorted(problems, key=lambda problem: not problem.grave)),
    )


# --- what it tells -------------------------------------------------------------------------


def _use(node: ReachedDevice) -> Mapping[str, Any]:
    done = node.transport.run(node.place.argv(node.archive, "survey"), timeout_s=SHORT_TIMEOUT_S)
    lines = done.stdout.splitlines()  # a login shell may print a greeting before
    try:
        use = protocol.decode(lines[-1] if lines else b"")
    except protocol.ProtocolError as exc:
        said = done.stderr.decode(errors="replace").strip()[-800:]
        raise AgentError(f"the agent told no survey ({said or exc})", device=node.device) from exc
    told.check_size(use, "a survey", device=node.device)
    told.check(use, told.SURVEY, "a survey", device=node.device)
    return use


def _clock(node: ReachedDevice) -> tuple[float | None, float]:
    """How far its clock is ahead, and how well that is known: it was read while we waited."""
    before, start = time.time(), time.monotonic()
    facts = node.link.request("hello", protocol=protocol.PROTOCOL).get("facts")
    taken = time.monotonic() - start
    try:
        then = datetime.fromisoformat(str((facts or {})["time"])).timestamp()
    except (AttributeError, LookupError, TypeError, ValueError, OverflowError):
        return None, taken / 2
    return then - (before + taken / 2), taken / 2


def _missing_bytes(node: ReachedDevice, needs: Needs) -> int:
    present = node.link.request("have", blobs=sorted(needs.files)).get("present")
    there = {str(each) for each in present} if isinstance(present, list) else set()
    return sum(size for sha256, size in needs.files.items() if sha256 not in there)


# --- what is wrong with it -----------------------------------------------------------------


def _unexpected(node: ReachedDevice, device: Device) -> tuple[tuple[str, ...], list[Problem]]:
    unverified: list[str] = []
    problems = []
    for name, wanted in device.expect.items():
        try:
            unverified += check_expectations(node.facts, {name: wanted}, device=node.device)
        except DeviceError as exc:
            problems.append(_from_error("unexpected", exc))
    problems += [
        Problem(
            "unverified",
            f"it does not tell its {name}, so that `expect:` is not checked",
            "look yourself, and take the line out",
        )
        for name in unverified
    ]
    return tuple(unverified), problems


def _unfit(node: ReachedDevice, device: Device, needs: Needs) -> list[Problem]:
    try:
        # a runtime that it has not is given to it by a run
        check_suitability(node, {}, needs.plan, device.cpus, needs.plan.runtimes)
    except DeviceError as exc:
        return [_from_error("unfit", exc)]
    return []


def _not_executable(node: ReachedDevice, needs: Needs | None) -> list[Problem]:
    if node.may_execute:
        return []
    if needs is not None:
        plan = needs.plan
        own = installed_runtimes(node) if plan.runtimes else {}
        lacking = [text for text in plan.runtimes if lack(own, text, node.place.python)]
        try:
            check_executable(node, plan, lacking)
        except DeviceError as exc:
            return [_from_error("noexec", exc)]
    return [
        Problem(
            "noexec",
            f"no program may be run from {node.place.workdir} (is its disk mounted noexec?), so "
            f"that benchmark_model or a runtime cannot be put there",
            "name a folder on another disk with `workdir:` in the inventory",
        )
    ]


def _from_error(code: str, exc: DeviceError) -> Problem:
    """An error of ours names its remedy last."""
    message, _, remedy = exc.reason.rpartition("; ")
    return Problem(code, message or remedy, remedy if message else "", grave=True)


def _no_room(use: Mapping[str, Any], missing: int, needs: Needs) -> list[Problem]:
    free = (use.get("disk") or {}).get("free_bytes")
    if free is None or free >= missing + SPARE_BYTES:
        return []
    more = f" and {needs.unbuilt} files that are still to be built" if needs.unbuilt else ""
    return [
        Problem(
            "no_room",
            f"{_mb(free)} are free where the agent lives, and {_mb(missing)}{more} are to be "
            f"pushed ({_mb(SPARE_BYTES)} more are left for its spool)",
            "make room there, or name a larger disk with `workdir:`",
            grave=True,
        )
    ]


def _little_memory(facts: Mapping[str, Any], needs: Needs) -> list[Problem]:
    memory = facts.get("memory") or {}
    told_of = [memory.get("available_bytes"), memory.get("cgroup_limit_bytes")]
    available = min((each for each in told_of if each is not None), default=None)
    if not needs.files or available is None or available >= needs.memory_bytes:
        return []
    return [
        Problem(
            "little_memory",
            f"{_mb(available)} of memory are available, and a trial of the largest model takes "
            f"about {_mb(needs.memory_bytes)}",
            "end what else runs there, or leave the largest models out",
        )
    ]


def _small_quota(facts: Mapping[str, Any], needs: Needs | None) -> list[Problem]:
    quota = (facts.get("cpu") or {}).get("cpu_quota")
    planned = [] if needs is None else [trial.factors.threads for trial in needs.plan.trials]
    threads = max(planned, default=1)
    if quota is None or quota >= threads:
        return []
    return [
        Problem(
            "cpu_quota",
            f"its control group gives {quota:g} CPUs' time, and a trial computes with {threads} "
            f"thread{'s' * (threads > 1)}",
            "raise the container's CPU limit, or expect times to be those of the quota",
        )
    ]


def _weak_supply(throttle: Mapping[str, Any]) -> list[Problem]:
    noted = health.since_boot(throttle)
    if "under_voltage" in noted or throttle.get("under_voltage"):
        return [
            Problem(
                "under_voltage",
                "its supply voltage was too low at some time since it was booted, and the firmware "
                "lowers the clock then",
                "use a power supply and a cable that the board's maker names, then reboot",
            )
        ]
    if noted:
        return [
            Problem(
                "throttled",
                f"its firmware lowered the clock at some time since it was booted "
                f"({', '.join(noted)})",
                "cool it, or wait at the gate (`temperature:`)",
            )
        ]
    return []


def _others(
    device: Device,
    use: Mapping[str, Any],
    trial: str | None,
    *,
    waiting: bool,
    agent_pid: object,
) -> list[Problem]:
    problems = []
    lock = use.get("lock") or {}
    holder = lock.get("holder") or {}
    if trial is not None:
        problems.append(
            Problem(
                "busy",
                f"the agent there {'holds back' if waiting else 'runs'} {trial}",
                "wait until it is done, or end it with `orchestrate agents stop --force`",
            )
        )
    if (
        lock.get("held")
        and (waiting or (trial is None and device.exclusive))
        and holder.get("pid") != agent_pid
    ):
        who = named_holder(holder)
        problems.append(
            Problem(
                "in_use",
                f"{who} holds the lock of the machine: trials {'' if waiting else 'would '}wait "
                f"for it",
                "wait, or ask whoever that is; `exclusive: false` measures at the same time",
            )
        )
    share = use.get("busy_share")
    if share is not None and share > BUSY_SHARE and trial is None:
        names = ", ".join(f"{_named(p)} {p.get('cpus')} CPUs" for p in use.get("busiest") or [])
        problems.append(
            Problem(
                "load",
                f"{share:.0%} of its CPUs' time is spent at work" + (f": {names}" if names else ""),
                "end what runs there, or expect trials to wait and intervals to be wide",
            )
        )
    return problems


def _skewed(skew_s: float | None, error_s: float) -> list[Problem]:
    if skew_s is None or abs(skew_s) - error_s <= CLOCK_SKEW_S:
        return []
    direction = "ahead of" if skew_s > 0 else "behind"
    return [
        Problem(
            "clock_skew",
            f"its clock is {abs(skew_s):.1f} s {direction} this machine's (± {error_s:.1f} s)",
            "`timedatectl set-ntp true` on whichever is wrong",
        )
    ]


def _named(process: Mapping[str, Any]) -> str:
    return f"{process.get('name')} (pid {process.get('pid')}, user {process.get('user')})"


def _mb(size: float) -> str:
    return f"{size / 1e6:,.0f} MB"
