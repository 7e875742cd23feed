"""What an agent tells of its machine, held against the shape it must have, before it is kept.

A journal is read again for years by code that takes a clock for a number. An agent that is broken
or hostile loses its device here, with the place named, and not a report later on. Keys that are
not listed may hold anything: agents of other versions tell more, and nothing counts on it. Pure.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from orchestrator.errors import AgentError

#: Longest text, and largest number, that a machine tells of itself.
MAX_TEXT = 20_000
MAX_NUMBER = 1e18

_TEXT, _NUMBER, _WHOLE, _FLAG = "text", "a number", "a whole number", "true or false"

#: A word is a kind of value; a list of one shape is a list of such; ``{"*": shape}`` is an object
#: all of whose values have the shape. Null may stand for everything.
_Shape = str | list[Any] | dict[str, Any]

_CPU: _Shape = {
    **dict.fromkeys(("vendor", "model_name", "microarchitecture", "governor"), _TEXT),
    **dict.fromkeys(("microarchitecture_note", "scaling_driver"), _TEXT),
    **dict.fromkeys(("logical_cpus", "physical_cores", "sockets", "numa_nodes"), _WHOLE),
    **dict.fromkeys(("min_mhz", "max_mhz", "base_mhz", "cpu_quota"), _NUMBER),
    **dict.fromkeys(("smt", "turbo"), _FLAG),
    "features": [_TEXT],
    "cpus_allowed": [_WHOLE],
    "caches": {"*": _NUMBER},
}

FACTS: _Shape = {
    **dict.fromkeys(("hostname", "container", "virtualization", "machine_id", "boot_id"), _TEXT),
    **dict.fromkeys(("temperature_c", "uptime_s"), _NUMBER),
    "system": {
        **dict.fromkeys(("os", "distribution", "kernel", "libc", "architecture"), _TEXT),
        "userland_bits": _WHOLE,
    },
    "cpu": _CPU,
    "memory": {"*": _NUMBER},
    "board": {"*": _TEXT},
    "python": {"version": _TEXT, "executable": _TEXT, "bits": _WHOLE},
}

#: The reply to ``hello``.
HELLO: _Shape = {"agent_hash": _TEXT, "pid": _WHOLE, "started": _TEXT, "facts": FACTS}

#: A snapshot of the machine's health, before or after a trial.
HEALTH: _Shape = {
    **dict.fromkeys(("boot_id", "governor"), _TEXT),
    **dict.fromkeys(("wall_clock_s", "monotonic_s", "temperature_c", "load1"), _NUMBER),
    **dict.fromkeys(("running_processes", "context_switches"), _WHOLE),
    "turbo": _FLAG,
    "mhz": {"*": _NUMBER},
    "throttle": {
        **dict.fromkeys(("core_events", "package_events", "firmware_bits"), _WHOLE),
        "under_voltage": _FLAG,
    },
    "cpu_s": {"*": _NUMBER},
    "energy_uj": {"*": _NUMBER},
    "energy_range_uj": {"*": _NUMBER},
    "pressure": {"*": _NUMBER},
}

FINISHED: _Shape = {
    "attempt": _WHOLE,
    "reason": _TEXT,
    "machine_lock": _TEXT,
    **dict.fromkeys(("exit_code", "signal", "stdout_bytes", "stderr_bytes"), _WHOLE),
    **dict.fromkeys(("timed_out", "oom_killed", "lost"), _FLAG),
    "wall_s": _NUMBER,
    "rusage": {"*": _NUMBER},
    "health_before": HEALTH,
    "health": HEALTH,
    "conditions": {
        "pinned": [_WHOLE],
        "tuned": {"*": _TEXT},
        "reasons": [_TEXT],
        "gate": {
            **dict.fromkeys(("waited_s", "load", "load_bound", "temperature_c"), _NUMBER),
            "temperature_bound_c": _NUMBER,
            "timed_out": _FLAG,
        },
    },
    "power": {"source": _TEXT, "samples": [[_NUMBER]]},
}


def check(value: object, shape: _Shape, what: str, *, device: str) -> None:
    """Raise AgentError, naming the place, unless ``value`` has ``shape``."""
    problem = _problem(value, shape)
    if problem is not None:
        place, wanted = problem
        raise AgentError(
            f"sent {what} that cannot be: {place.lstrip('.')[:100] or 'it'} is not {wanted}",
            device=device,
        )


def _problem(value: object, shape: _Shape) -> tuple[str, str] | None:
    """(the place, what belongs there), or None where all is well."""
    if value is None:
        return None
    if isinstance(shape, str):
        return None if _is(value, shape) else ("", shape)
    if isinstance(shape, list):
        if not isinstance(value, list):
            return "", "a list"
        return _first((f"[{i}]", each, shape[0]) for i, each in enumerate(value))
    if not isinstance(value, Mapping):
        return "", "an object"
    every = shape.get("*")
    return _first(
        (f".{name}", each, inner)
        for name, each in value.items()
        if (inner := every or shape.get(name)) is not None
    )


def _first(parts: Any) -> tuple[str, str] | None:
    for name, value, shape in parts:
        problem = _problem(value, shape)
        if problem is not None:
            return f"{name}{problem[0]}", problem[1]
    return None


def _is(value: object, kind: str) -> bool:
    if kind == _TEXT:
        return isinstance(value, str) and len(value) <= MAX_TEXT
    if kind == _FLAG:
        return isinstance(value, bool)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    # an integer can be too large for a float: compare it before asking whether it is finite
    if not -MAX_NUMBER <= value <= MAX_NUMBER or not math.isfinite(value):
        return False
    return kind == _NUMBER or isinstance(value, int)
