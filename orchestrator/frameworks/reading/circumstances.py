"""What happened to the machine while a trial ran, as findings. Pure.

No runner's output tells of it: the agent's snapshots before and after do, and what it says of the
conditions it was asked for. The sentences hold no figures, so that those of many trials are one in
the table; the figures are in the journal.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from orchestrator.measurement import Energy, Finding, Invocations, Measurement
from orchestrator.measures.registry import measure_of
from orchestrator.trial import Trial

#: Of all CPUs' time. On two CPUs this is a fifth of one: enough to be on the trial's CPU now and
#: then. It is also the gate's default, so that what passes the gate is not then complained of.
LOAD_SHARE = 0.1
#: Of all CPUs together, in seconds: the kernel counts in ticks of 10 ms a CPU, and of a shorter
#: trial what surrounds it (forking it, reading its output) would be taken for others' work.
MIN_CPU_S = 1.0
#: Of the time that CPUs had work to do. As much as the precision asked for by default.
STEAL_SHARE = 0.02
#: Of the trial's time, that a quota kept processes from running. More than for ``steal``, as many
#: such trials forbid a comparison, and starting Python may use more CPUs than its inferences.
HELD_BACK_SHARE = 0.05
#: The kernel slews a clock by 500 ppm at most; what goes beyond is a step.
CLOCK_SLEW = 0.001
CLOCK_JUMP_S = 0.05
#: With the governor `performance` a clock that moves more than this was moved by heat or power.
FREQUENCY_SHARE = 0.1
#: The power mechanisms' word for a supply that is too weak, as opposed to those for heat.
_UNDER_VOLTAGE = "under_voltage"


@dataclass(frozen=True)
class Circumstances:
    """What the agent tells of the surroundings of one trial.

    ``during`` is what lies between the two snapshots
    (``orchestrate_agent.machine.health.difference``). ``conditions`` and ``rusage`` are as the
    agent tells them. ``unpinned_binary``: the binary that ran was fetched from an address for this
    run, and no hash of it was known before.
    """

    during: Mapping[str, Any] = field(default_factory=dict)
    before: Mapping[str, Any] = field(default_factory=dict)
    after: Mapping[str, Any] = field(default_factory=dict)
    rusage: Mapping[str, Any] = field(default_factory=dict)
    conditions: Mapping[str, Any] = field(default_factory=dict)
    unpinned_binary: bool = False


def findings(trial: Trial, seen: Circumstances) -> tuple[Finding, ...]:
    """What to remark on the surroundings of a trial that ended well.

    Nothing disturbs a trial that does not measure time, but for its binary.
    """
    found = [_unpinned_binary(seen)]
    if measure_of(trial.kind).quiet:
        found += [
            *_slowed(seen.during.get("throttle_reasons") or ()),
            _frequency(seen),
            _load(seen),
            _steal(seen.during),
            _quota_reached(seen.during),
            _clock_jump(seen.during),
            _gate_timeout(seen.conditions.get("gate") or {}),
        ]
    return tuple(finding for finding in found if finding is not None)


def energy_of(power: Mapping[str, Any] | None, measurement: Measurement) -> Energy | None:
    """What the steady phase consumed, by interpolation; None where that cannot be told.

    Where the runner does not say when its steady phase was, it is taken for the last part of the
    process, as long as its inferences together took: ``benchmark_model`` ends right after it. With
    fewer than two samples within it, it would be told from what lies around it.
    """
    steady = measurement.steady
    if power is None or steady is None:
        return None
    samples = [(float(at), float(joules)) for at, joules in power["samples"]]
    window = measurement.steady_window_s or _last_part(samples, steady)
    if window is None or not samples or not _covers(samples, window):
        return None
    begun, ended = (_at(samples, moment) for moment in window)
    return Energy(
        source=str(power["source"]),
        joules=round(ended - begun, 6),
        inferences=steady.count,
        window_s=round(window[1] - window[0], 6),
    )


def _last_part(
    samples: list[tuple[float, float]], steady: Invocations
) -> tuple[float, float] | None:
    if not samples or steady.mean_us is None:
        return None
    end = samples[-1][0]
    return end - steady.count * steady.mean_us / 1e6, end


def _covers(samples: list[tuple[float, float]], window: tuple[float, float]) -> bool:
    within = sum(window[0] <= at <= window[1] for at, _ in samples)
    return within >= 2 and samples[0][0] <= window[0] and window[1] <= samples[-1][0]


def _at(samples: list[tuple[float, float]], moment: float) -> float:
    """Joules at a moment that lies between two samples, of power that is constant in between."""
    after = next(i for i, (at, _) in enumerate(samples) if at >= moment)
    if after == 0:
        return samples[0][1]
    (t0, e0), (t1, e1) = samples[after - 1], samples[after]
    return e0 + (e1 - e0) * (moment - t0) / (t1 - t0)


def _slowed(reasons: Iterable[str]) -> Iterator[Finding]:
    known = list(reasons)
    heat = sorted(reason for reason in known if reason != _UNDER_VOLTAGE)
    if heat:
        yield Finding(
            "throttled",
            f"the CPU was slowed down while the trial ran ({', '.join(heat)})",
            "cool the device, wait at the gate (`temperature:`), or turn turbo off (`tune: true`)",
        )
    if _UNDER_VOLTAGE in known:
        yield Finding(
            "under_voltage",
            "the supply voltage was too low while the trial ran, and the firmware lowers the clock",
            "use a power supply and a cable that the board's maker names",
        )


def _frequency(seen: Circumstances) -> Finding | None:
    governors = (seen.before.get("governor"), seen.after.get("governor"))
    jetson = [each.get("jetson") or {} for each in (seen.before, seen.after)]
    if jetson[0].get("power_mode_id") != jetson[1].get("power_mode_id"):
        what = "the power mode was set to another while the trial ran"
    elif jetson[0].get("clocks_locked") != jetson[1].get("clocks_locked"):
        what = "the clocks were locked or unlocked while the trial ran"
    elif governors[0] != governors[1]:
        what = f"the governor changed from {governors[0]} to {governors[1]} while the trial ran"
    elif governors[0] == "performance" and _moved(seen.before.get("mhz"), seen.after.get("mhz")):
        what = "the clock moved while the trial ran, though the governor is performance"
    else:
        return None
    return Finding(
        "frequency_changed",
        what,
        "turn turbo off (`tune: true`), cool the device, and stop what else sets its clocks",
    )


def _moved(before: Mapping[str, Any] | None, after: Mapping[str, Any] | None) -> bool:
    """The fastest clock, as the others may idle."""
    if not before or not after or not before.get("max") or not after.get("max"):
        return False
    return bool(abs(after["max"] / before["max"] - 1) > FREQUENCY_SHARE)


def _load(seen: Circumstances) -> Finding | None:
    share = load_share(seen)
    if share is None or share <= LOAD_SHARE:
        return None
    return Finding(
        "load",
        f"other processes used over {LOAD_SHARE:.0%} of the machine's CPU time while the trial ran",
        "stop them, or run again when the machine is idle",
    )


def load_share(seen: Circumstances) -> float | None:
    """The share of all CPUs' time that others than the trial, and its partner in a duet, spent at
    work; None if untold."""
    busy, total = seen.during.get("busy_s"), seen.during.get("cpu_s")
    own = (seen.rusage.get("user_s"), seen.rusage.get("sys_s"))
    partner = (seen.conditions.get("duet") or {}).get("partner_cpu_s") or 0.0
    if busy is None or total is None or total < MIN_CPU_S or None in own:
        return None
    # the kernel counts the machine's time by ticks and the trial's exactly
    known = float(own[0] or 0) + float(own[1] or 0) + float(partner)
    return max(0.0, float(busy) - known) / float(total)


def _steal(during: Mapping[str, Any]) -> Finding | None:
    steal, busy = during.get("steal_s"), during.get("busy_s")
    long_enough = (during.get("cpu_s") or 0.0) >= MIN_CPU_S
    if not steal or not long_enough or busy is None or steal / (steal + busy) <= STEAL_SHARE:
        return None
    return Finding(
        "steal",
        f"the hypervisor gave over {STEAL_SHARE:.0%} of the CPU time to other guests while the "
        "trial ran",
        "use a machine, or a size of machine, that shares no CPUs",
    )


def _quota_reached(during: Mapping[str, Any]) -> Finding | None:
    held_back, elapsed = during.get("held_back_s"), during.get("elapsed_s")
    if not held_back or not elapsed or held_back / elapsed <= HELD_BACK_SHARE:
        return None
    return Finding(
        "quota_reached",
        f"the control group's quota of CPU time was spent for over {HELD_BACK_SHARE:.0%} of the "
        "time, and its processes were kept from running while the trial ran",
        "raise the container's CPU limit (`docker run --cpus`, a pod's `limits.cpu`, systemd's "
        "`CPUQuota=`), or use fewer `threads`",
    )


def _clock_jump(during: Mapping[str, Any]) -> Finding | None:
    jump, elapsed = during.get("clock_jump_s"), during.get("elapsed_s") or 0.0
    if jump is None or abs(jump) <= max(CLOCK_JUMP_S, CLOCK_SLEW * elapsed):
        return None
    return Finding(
        "clock_jump",
        "the wall clock was set while the trial ran, or the machine slept",
        "durations are taken from another clock; if it slept, run again",
    )


def _gate_timeout(gate: Mapping[str, Any]) -> Finding | None:
    if not gate.get("timed_out"):
        return None
    over = []
    if _beyond(gate.get("load"), gate.get("load_bound")):
        over.append("busy")
    if _beyond(gate.get("temperature_c"), gate.get("temperature_bound_c")):
        over.append("hot")
    return Finding(
        "gate_timeout",
        f"the machine was still too {' and too '.join(over) or 'busy'} when the trial had waited "
        "for as long as the gate lets it",
        "stop other work, cool the device, or raise `gate.timeout` in the suite's protocol",
    )


def _beyond(value: float | None, bound: float | None) -> bool:
    return value is not None and bound is not None and value > bound


def _unpinned_binary(seen: Circumstances) -> Finding | None:
    if not seen.unpinned_binary:
        return None
    return Finding(
        "unpinned_binary",
        "nothing said beforehand which binary this must be: a nightly build of another "
        "day moves figures by some 10 %",
        "give its `sha256:` in the inventory; later runs keep to this one by themselves",
    )
