"""Where a run stands, device by device, as its journal tells: for whoever watches it.

Events are taken one by one, so that a journal that grows is never read twice. What is shown of an
event comes from a machine and may be anything: what is not a number is not shown as one. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from orchestrator.measurement import Finding, Outcome
from orchestrator.runs.machine_shape import HEALTH
from orchestrator.runs.manifest import Manifest
from orchestrator.shape import problem

#: So many kinds of failures of one device are told apart.
MOST_FAILURES = 50


@dataclass(frozen=True)
class FailureKind:
    """Trials of one variant that did not end ok, for one reason, and what to do about it.

    ``log`` is the raw log of the last one, in the run's folder.
    """

    model: str
    scheme: str
    kind: str
    outcome: str
    reason: str
    remedy: str
    log: str
    count: int


@dataclass(frozen=True)
class SeenFinding:
    """The last finding of a device: on which trial, and when (UTC, ISO 8601)."""

    finding: Finding
    model: str
    scheme: str
    time: str


@dataclass(frozen=True)
class DeviceStanding:
    """One device. ``state`` is a word, ``detail`` what it does or why it does nothing, ``since``
    the time of its last event (UTC, ISO 8601; empty before the first).

    ``done`` of ``expected`` trials have ended, ``failed`` of them not ok; ``expected`` counts up
    to the minimum of blocks and what is in hand, and is None, as ``eta_s`` (seconds to go) is,
    where it cannot be told. ``temperature_c``, ``load`` (the mean of a minute) and ``mhz`` (the
    mean over CPUs) are those after the last trial, None where the machine does not tell;
    ``throttled`` says in words what held it back during that trial, empty where nothing did or
    nobody knows.
    """

    device: str
    microarchitecture: str = ""
    state: str = "not heard of yet"
    detail: str = ""
    since: str = ""
    done: int = 0
    failed: int = 0
    expected: int | None = None
    eta_s: float | None = None
    temperature_c: float | None = None
    load: float | None = None
    mhz: float | None = None
    throttled: str = ""
    finding: SeenFinding | None = None
    failures: tuple[FailureKind, ...] = ()

    @property
    def over(self) -> bool:
        """Whether it does nothing more in this run."""
        return self.state in (DONE, LOST, PAUSED)


RUNNING, BETWEEN, DONE, LOST, PAUSED = "running", "between trials", "done", "lost", "paused"
READY, PREPARED, AWAITED = "ready", "prepared", "awaited"


@dataclass
class _Device:
    standing: DeviceStanding
    #: Trials that were planned and have not ended: model, scheme, kind, block.
    planned: dict[str, tuple[str, str, str, int]] = field(default_factory=dict)
    running: dict[str, None] = field(default_factory=dict)
    failures: dict[tuple[str, str, str, str, str], FailureKind] = field(default_factory=dict)


class Standing:
    """The devices of a run while its events are taken in order."""

    def __init__(self, manifest: Manifest) -> None:
        self._devices = {name: _Device(DeviceStanding(name)) for name in manifest.devices}
        for name in manifest.bundled:
            self._set(name, state=AWAITED, detail="its bundle is run there by hand")

    @property
    def devices(self) -> tuple[DeviceStanding, ...]:
        """Each device as it is now, in the order of the run."""
        return tuple(
            replace(each.standing, failures=tuple(each.failures.values()))
            for each in self._devices.values()
        )

    def take(self, event: Mapping[str, Any]) -> None:
        """Note what an event of the journal says. Raises LookupError, TypeError or ValueError
        where it lacks what belongs to it."""
        name, kind = event["device"], event["event"]
        device = self._devices.setdefault(name, _Device(DeviceStanding(name)))
        self._set(name, since=str(event.get("time") or ""))
        if kind == "device_ready":
            cpu = (event.get("facts") or {}).get("cpu") or {}
            device.running.clear()
            self._set(
                name, state=READY, detail="", microarchitecture=cpu.get("microarchitecture") or ""
            )
        elif kind == "device_prepared":
            self._set(name, state=PREPARED)
        elif kind == "planned":
            block = event["block"]
            told = (event["model"], event["scheme"], event["kind"], block)
            device.planned[event["trial_id"]] = told
        elif kind == "started":
            device.running[event["trial_id"]] = None
            self._running(name, device)
        elif kind in ("interrupted", "cancelled"):
            device.running.pop(event["trial_id"], None)
            self._running(name, device)
        elif kind == "finished":
            self._finished(name, device, event)
        elif kind == "device_lost":
            device.running.clear()
            self._set(name, state=LOST, detail=event["reason"])
        elif kind == "device_done":
            self._set(name, state=DONE, detail="")
        elif kind == "stopped" and event.get("resumable"):
            self._set(name, state=PAUSED, detail=event["reason"])

    def _set(self, name: str, **changes: Any) -> None:
        device = self._devices[name]
        device.standing = replace(device.standing, **changes)

    def _running(self, name: str, device: _Device) -> None:
        if self._devices[name].standing.state == PAUSED and not device.running:
            return
        # in a duet two run at once
        words = " beside ".join(_words(device.planned.get(each)) for each in device.running)
        self._set(name, state=RUNNING if device.running else BETWEEN, detail=words)

    def _finished(self, name: str, device: _Device, event: Mapping[str, Any]) -> None:
        trial_id = event["trial_id"]
        device.planned.pop(trial_id, None)
        device.running.pop(trial_id, None)
        bad = event["outcome"] != Outcome.OK.value
        before = device.standing
        self._set(name, done=before.done + 1, failed=before.failed + bad, **_health(event))
        findings = [Finding.from_json(each) for each in event.get("findings") or ()]
        if findings:
            seen = SeenFinding(findings[-1], event["model"], event["scheme"], before.since)
            self._set(name, finding=seen)
        if bad:
            _note_failure(device, event, findings)
        self._running(name, device)


def _words(told: tuple[str, str, str, int] | None) -> str:
    if told is None:
        return "a trial that the journal does not plan"
    model, scheme, kind, block = told
    return f"{model} {scheme}, {kind}" + (f", block {block + 1}" if block >= 0 else "")


def _health(event: Mapping[str, Any]) -> dict[str, Any]:
    """What the machine told behind a trial; nothing where that has another shape than ours."""
    health, during = event.get("health"), event.get("during")
    found: dict[str, Any] = {"throttled": ""}
    if isinstance(health, Mapping) and problem(health, HEALTH) is None:
        hottest = ((health.get("jetson") or {}).get("temperatures_c") or {}).values()
        warm = [health.get("temperature_c"), *hottest]
        found["temperature_c"] = max((t for t in warm if t is not None), default=None)
        found["load"] = health.get("load1")
        found["mhz"] = (health.get("mhz") or {}).get("mean")
        if (health.get("throttle") or {}).get("under_voltage"):
            found["throttled"] = "under-voltage"
    if isinstance(during, Mapping) and problem(during, _DURING) is None:
        reasons = during.get("throttle_reasons") or []
        held_back_s = during.get("held_back_s") or 0
        words = [found["throttled"], *reasons]
        words.append(f"held back {held_back_s:.1f} s by a CPU limit" if held_back_s > 0 else "")
        found["throttled"] = ", ".join(filter(None, dict.fromkeys(words)))
    return found


_DURING = {"throttle_reasons": ["text"], "held_back_s": "a number"}


def _note_failure(device: _Device, event: Mapping[str, Any], findings: list[Finding]) -> None:
    reason = event.get("reason") or "no reason recorded"
    key = (event["model"], event["scheme"], event["kind"], event["outcome"], reason)
    log = event.get("log")
    log = log if isinstance(log, str) else ""
    remedy = next((each.remedy for each in findings if each.remedy), "")
    known = device.failures.get(key)
    if known is None and len(device.failures) >= MOST_FAILURES:
        return
    count = 1 if known is None else known.count + 1
    device.failures[key] = FailureKind(*key, remedy=remedy, log=log, count=count)
