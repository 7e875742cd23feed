"""What the fleet tells while it works. The command line decides how to show it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, IntEnum


class State(str, Enum):
    """The state that a device is in."""

    CONNECTING = "connecting"
    READY = "ready"
    PUSHING = "pushing"
    RUNNING = "running"
    WAITING = "waiting"
    RETRYING = "retrying"
    DONE = "done"
    INTERRUPTED = "interrupted"
    LOST = "lost"


@dataclass(frozen=True)
class DeviceProgress:
    """A device's state as a whole: ``done`` of ``expected`` trials, ``eta_s`` seconds to go.

    ``expected`` counts up to the minimum of blocks and what is in hand: whether more follow is
    decided by the precision reached. ``detail`` is one short sentence.
    """

    device: str
    state: State
    detail: str = ""
    done: int = 0
    expected: int = 0
    eta_s: float | None = None


#: Called from several threads; must not block and must not raise.
Observer = Callable[[DeviceProgress], None]


class StopLevel(IntEnum):
    """How urgently the user wants the run to end."""

    GO_ON = 0
    FINISH_TRIAL = 1
    NOW = 2


class StopRequest:
    """Set by the command line on Ctrl-C, read by every device's thread.

    ``armed`` is True while devices measure, when there is something to bring to a good end.
    """

    def __init__(self) -> None:
        self.armed = False
        self._level = StopLevel.GO_ON
        self._raised = threading.Event()

    @property
    def level(self) -> StopLevel:
        return self._level

    def raise_level(self) -> StopLevel:
        """Go one step more urgent; returns the new level."""
        self._level = StopLevel(min(self._level + 1, StopLevel.NOW))
        self._raised.set()
        return self._level

    def wait(self, seconds: float) -> bool:
        """Wait up to ``seconds``; True as soon as a stop is asked for."""
        return self._raised.wait(seconds)
