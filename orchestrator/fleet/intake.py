"""What every event of an agent must be before it counts, however it came here."""

from __future__ import annotations

from collections import Counter

from orchestrate_agent.protocol import Event
from orchestrator.errors import AgentError

#: Events that an honest agent may have of one trial: queued, and begun, interrupted or cancelled
#: again and again; every one is kept in memory and in the journal.
MAX_EVENTS_A_TRIAL = 1000


class Intake:
    """Admits the events of one device's session."""

    def __init__(self, device: str) -> None:
        self._device = device
        self._heard: Counter[str] = Counter()

    def admit(self, event: Event, *, after: int, under_way: bool) -> None:
        """Raise AgentError unless the event follows number ``after`` and its trial, which is
        ``under_way``, has had few."""
        if event.seq != after + 1:
            raise AgentError(
                f"sent event {event.seq} where {after + 1} comes next", device=self._device
            )
        if not under_way:
            raise AgentError(
                f"sent an event of a trial that is not under way: {event.trial_id}",
                device=self._device,
            )
        self._heard[event.trial_id] += 1
        if self._heard[event.trial_id] > MAX_EVENTS_A_TRIAL:
            raise AgentError(
                f"sent more than {MAX_EVENTS_A_TRIAL} events of {event.trial_id}",
                device=self._device,
            )
