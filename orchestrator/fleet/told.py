"""What an agent tells of its machine, held against the shape it must have, before it is kept.

A journal is read again for years by code that takes a clock for a number. An agent that is broken
or hostile loses its device here, with the place named, and not a report later on. Keys that are
not listed may hold anything: agents of other versions tell more, and nothing counts on it. Pure.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from orchestrator.errors import AgentError
from orchestrator.runs import shape as shapes
from orchestrator.runs.shape import FLAG, NUMBER, TEXT, WHOLE, Shape

_CPU: Shape = {
    **dict.fromkeys(("vendor", "model_name", "microarchitecture", "governor"), TEXT),
    **dict.fromkeys(("microarchitecture_note", "scaling_driver"), TEXT),
    **dict.fromkeys(("logical_cpus", "physical_cores", "sockets", "numa_nodes"), WHOLE),
    **dict.fromkeys(("min_mhz", "max_mhz", "base_mhz", "cpu_quota"), NUMBER),
    **dict.fromkeys(("smt", "turbo"), FLAG),
    "features": [TEXT],
    "cpus_allowed": [WHOLE],
    "caches": {"*": NUMBER},
}

_JETSON: Shape = {
    **dict.fromkeys(("l4t", "power_mode"), TEXT),
    "power_mode_id": WHOLE,
    "clocks_locked": FLAG,
    "temperatures_c": {"*": NUMBER},
    "power_w": {"*": NUMBER},
}

FACTS: Shape = {
    **dict.fromkeys(("hostname", "container", "virtualization", "machine_id", "boot_id"), TEXT),
    **dict.fromkeys(("temperature_c", "uptime_s"), NUMBER),
    "system": {
        **dict.fromkeys(("os", "distribution", "kernel", "libc", "architecture"), TEXT),
        "userland_bits": WHOLE,
    },
    "cpu": _CPU,
    "memory": {"*": NUMBER},
    "board": {"*": TEXT},
    "jetson": _JETSON,
    "python": {"version": TEXT, "executable": TEXT, "bits": WHOLE},
    "android": {
        **dict.fromkeys(("release", "sdk", "abi", "soc", "battery"), TEXT),
        **dict.fromkeys(("battery_percent", "battery_c"), NUMBER),
    },
}

#: The reply to ``hello``.
HELLO: Shape = {"agent_hash": TEXT, "pid": WHOLE, "started": TEXT, "facts": FACTS}

_THROTTLE: Shape = {
    **dict.fromkeys(("core_events", "package_events", "over_current_events"), WHOLE),
    **dict.fromkeys(("cooling_state", "firmware_bits"), WHOLE),
    "under_voltage": FLAG,
    "held_back_s": NUMBER,
}

#: A snapshot of the machine's health, before or after a trial.
HEALTH: Shape = {
    **dict.fromkeys(("boot_id", "governor"), TEXT),
    **dict.fromkeys(("wall_clock_s", "monotonic_s", "temperature_c", "load1"), NUMBER),
    **dict.fromkeys(("running_processes", "context_switches"), WHOLE),
    "turbo": FLAG,
    "mhz": {"*": NUMBER},
    "throttle": _THROTTLE,
    "jetson": _JETSON,
    "cpu_s": {"*": NUMBER},
    "energy_uj": {"*": NUMBER},
    "energy_range_uj": {"*": NUMBER},
    "pressure": {"*": NUMBER},
}

FINISHED: Shape = {
    "attempt": WHOLE,
    "reason": TEXT,
    **dict.fromkeys(("launch", "machine_lock", "oom_memory", "cause"), TEXT),
    **dict.fromkeys(("exit_code", "signal", "stdout_bytes", "stderr_bytes"), WHOLE),
    **dict.fromkeys(("timed_out", "oom_killed", "lost"), FLAG),
    "wall_s": NUMBER,
    "rusage": {"*": NUMBER},
    "health_before": HEALTH,
    "health": HEALTH,
    "conditions": {
        "pinned": [WHOLE],
        "tuned": {"*": TEXT},
        "reasons": [TEXT],
        "gate": {
            **dict.fromkeys(("waited_s", "load", "load_bound", "temperature_c"), NUMBER),
            "temperature_bound_c": NUMBER,
            "timed_out": FLAG,
        },
    },
    "power": {"source": TEXT, "samples": [[NUMBER]]},
}


_PROCESS: Shape = {"pid": WHOLE, "user": TEXT, "name": TEXT, "cpus": NUMBER}

#: What the agent's command ``survey`` prints.
SURVEY: Shape = {
    "disk": {"*": NUMBER},
    "lock": {"held": FLAG, "holder": _PROCESS},
    "busy_share": NUMBER,
    "throttle": _THROTTLE,
    "busiest": [_PROCESS],
    "agents": [_PROCESS],
}


#: Of a greeting or an event as JSON, without what the trial's process printed and its power
#: samples: some kilobytes are usual, and every byte is kept in memory and in the journal.
MAX_BYTES = 256 * 1024
_LARGE = ("stdout", "stderr", "power")


def check_size(fields: Mapping[str, object], what: str, *, device: str) -> None:
    """Raise AgentError where there is more of it than an honest agent ever has to say."""
    size = len(json.dumps({name: v for name, v in fields.items() if name not in _LARGE}))
    if size > MAX_BYTES:
        raise AgentError(f"sent {what} of {size} bytes; the limit is {MAX_BYTES}", device=device)


def check(value: object, shape: Shape, what: str, *, device: str) -> None:
    """Raise AgentError, naming the place, unless ``value`` has ``shape``."""
    problem = shapes.problem(value, shape)
    if problem is not None:
        place, wanted = problem
        raise AgentError(
            f"sent {what} that cannot be: {place.lstrip('.')[:100] or 'it'} is not {wanted}",
            device=device,
        )
