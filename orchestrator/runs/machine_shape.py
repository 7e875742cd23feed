"""The shapes of what a machine tells of itself, as agents send it and as runs keep it. Pure."""

from __future__ import annotations

from typing import Any

from orchestrator.shape import FLAG, NUMBER, TEXT, WHOLE, NotNull

_CPU: dict[str, Any] = {
    **dict.fromkeys(("vendor", "model_name", "microarchitecture", "governor"), TEXT),
    **dict.fromkeys(("microarchitecture_note", "scaling_driver"), TEXT),
    **dict.fromkeys(("logical_cpus", "physical_cores", "sockets", "numa_nodes"), WHOLE),
    **dict.fromkeys(("min_mhz", "max_mhz", "base_mhz", "cpu_quota"), NUMBER),
    **dict.fromkeys(("smt", "turbo"), FLAG),
    "features": [TEXT],
    "cpus_allowed": [WHOLE],
    "caches": {"*": NUMBER},
    "clusters": [NotNull({**dict.fromkeys(("kind", "microarchitecture"), TEXT), "cpus": [WHOLE]})],
}

_JETSON: dict[str, Any] = {
    **dict.fromkeys(("l4t", "power_mode"), TEXT),
    "power_mode_id": WHOLE,
    "clocks_locked": FLAG,
    "temperatures_c": {"*": NUMBER},
    "power_w": {"*": NUMBER},
}

FACTS: dict[str, Any] = {
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

THROTTLE: dict[str, Any] = {
    **dict.fromkeys(("core_events", "package_events", "over_current_events"), WHOLE),
    **dict.fromkeys(("cooling_state", "firmware_bits"), WHOLE),
    "under_voltage": FLAG,
    "held_back_s": NUMBER,
}

#: A snapshot of the machine's health, before or after a trial.
HEALTH: dict[str, Any] = {
    **dict.fromkeys(("boot_id", "governor"), TEXT),
    **dict.fromkeys(("wall_clock_s", "monotonic_s", "temperature_c", "load1"), NUMBER),
    **dict.fromkeys(("running_processes", "context_switches"), WHOLE),
    "turbo": FLAG,
    "mhz": {"*": NUMBER},
    "throttle": THROTTLE,
    "jetson": _JETSON,
    "cpu_s": {"*": NUMBER},
    "busy_by_cpu_s": {"*": NUMBER},
    "energy_uj": {"*": NUMBER},
    "energy_range_uj": {"*": NUMBER},
    "pressure": {"*": NUMBER},
}

#: What the agent says of pinning, clocks and the gate of a trial.
CONDITIONS: dict[str, Any] = {
    "pinned": [WHOLE],
    "tuned": {"*": TEXT},
    "reasons": [TEXT],
    "gate": {
        **dict.fromkeys(("waited_s", "load", "load_bound", "temperature_c"), NUMBER),
        "temperature_bound_c": NUMBER,
        "timed_out": FLAG,
    },
}
