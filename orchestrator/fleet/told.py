"""What an agent tells of its machine, held against the shape it must have, before it is kept.

A journal is read again for years by code that takes a clock for a number. An agent that is broken
or hostile loses its device here, with the place named, and not a report later on. Keys that are
not listed may hold anything: agents of other versions tell more, and nothing counts on it. Pure.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from orchestrator import shape as shapes
from orchestrator.errors import AgentError
from orchestrator.runs import machine_shape
from orchestrator.shape import FLAG, NUMBER, TEXT, WHOLE, Shape

FACTS = machine_shape.FACTS
HEALTH = machine_shape.HEALTH

#: The reply to ``hello``.
HELLO: Shape = {"agent_hash": TEXT, "pid": WHOLE, "started": TEXT, "facts": FACTS}

FINISHED: dict[str, Any] = {
    "attempt": WHOLE,
    "reason": TEXT,
    **dict.fromkeys(("launch", "machine_lock", "oom_memory", "cause"), TEXT),
    **dict.fromkeys(("exit_code", "signal", "stdout_bytes", "stderr_bytes"), WHOLE),
    **dict.fromkeys(("timed_out", "oom_killed", "lost"), FLAG),
    "wall_s": NUMBER,
    "rusage": {"*": NUMBER},
    "health_before": HEALTH,
    "health": HEALTH,
    "conditions": machine_shape.CONDITIONS,
    "power": {"source": TEXT, "samples": [[NUMBER]]},
}


_PROCESS: Shape = {"pid": WHOLE, "user": TEXT, "name": TEXT, "cpus": NUMBER}

#: What the agent's command ``survey`` prints.
SURVEY: Shape = {
    "disk": {"*": NUMBER},
    "lock": {"held": FLAG, "holder": _PROCESS},
    "busy_share": NUMBER,
    "throttle": machine_shape.THROTTLE,
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
