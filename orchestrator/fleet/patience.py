"""Says how long, and how often, a device that was lost is tried again."""

from __future__ import annotations

import random

#: A connection that stood for so long did not break at once: what ends it is a new loss.
STOOD_S = 60.0
_FIRST_PAUSE_S = 1.0
_LONGEST_PAUSE_S = 30.0
#: Share of a pause by which it is lengthened or shortened, so that the devices behind a switch that
#: was out do not all come back in the same instant.
_JITTER = 0.25


class Patience:
    """The tries to reach one device again after one loss: ever rarer, and not for ever."""

    def __init__(self, total_s: float) -> None:
        """``total_s``: how long after the loss the last try begins."""
        self._total_s = total_s
        self._next_s = _FIRST_PAUSE_S

    def pause(self, away_s: float) -> float | None:
        """Seconds to wait before the next try, the loss being ``away_s`` ago; None: give up."""
        left_s = self._total_s - away_s
        if left_s <= 0:
            return None
        pause_s = self._next_s * random.uniform(1 - _JITTER, 1 + _JITTER)  # noqa: S311 (no secret)
        self._next_s = min(2 * self._next_s, _LONGEST_PAUSE_S)
        return min(pause_s, left_s)
