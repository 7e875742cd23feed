"""Watches a device that says nothing: when to ask its agent, and what its answer means. Pure.

While a trial runs nothing is asked, since an answer costs the machine that is measured, until it
should have ended; a trial that has not begun is asked after soon, since somebody looks at a line
that does not move.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from orchestrate_agent import protocol
from orchestrate_agent.protocol import Event

#: How long a trial may take to begin before anything is asked, in seconds.
BEGIN_S = 5.0
#: What an agent needs for a trial's end on top of what it may take for an answer: it waits for a
#: process to heed SIGTERM, reads what is left of its output, looks at the machine's health.
ENDING_S = 6.0


class SilenceError(Exception):
    """The agent answers, and what it says of its trials gives no reason to go on waiting.

    ``hangs``: it has to be ended, as it does not end its trial.
    """

    def __init__(self, message: str, *, hangs: bool) -> None:
        self.hangs = hangs
        super().__init__(message)


@dataclass
class Vigil:
    """The watch over one connection to one device. Times are those of a monotonic clock.

    ``timeout_s`` bounds a trial, ``answer_s`` an answer.
    """

    run_id: str
    device: str
    timeout_s: float
    answer_s: float
    #: Since when nothing was heard, or asked.
    since: float
    #: The trials that have started and not ended, and since when we know.
    running: dict[str, float]
    #: How often in a row the agent had nothing to run, though something was submitted.
    forgotten: int = 0

    def heard(self, event: Event, now: float) -> None:
        """Something came from the device."""
        self.since, self.forgotten = now, 0
        if event.event == "started":
            self.running[event.trial_id] = now
        else:
            self.running.pop(event.trial_id, None)

    def is_due(self, now: float) -> bool:
        """Whether to ask what the agent does."""
        silent_s = now - self.since
        if not self.running:
            return silent_s >= min(BEGIN_S, self.answer_s)
        if now - min(self.running.values()) < self.timeout_s + self.answer_s:
            return False
        return silent_s >= self.answer_s  # asked already, and not satisfied

    def judge(self, status: Mapping[str, Any], now: float) -> str | None:
        """Say, from the answer to ``status``, what the device waits for; None where it works.

        Raises SilenceError where waiting on will not help.
        """
        self.since = now
        current = status.get("running")
        current = current if isinstance(current, dict) else {}
        ours = current.get("run_id") == self.run_id and current.get("device") == self.device
        trial_id = str(current.get("trial_id"))[:200]
        if self.running:
            self._refuse_overdue(trial_id if ours else None, now)
            return None
        if not current:
            self.forgotten += not status.get("queued")
            if self.forgotten > 1:
                raise SilenceError("the agent has no trial to run, and was given some", hangs=False)
            return None
        if ours and current.get("state") != "waiting":
            return None  # its event is on the way
        if not ours and current.get("state") != "waiting":
            return f"its agent runs {trial_id} of run {str(current.get('run_id'))[:200]}"
        return _waits_for(status)

    def _refuse_overdue(self, trial_id: str | None, now: float) -> None:
        late_s = now - min(self.running.values()) - self.timeout_s
        if late_s < 2 * self.answer_s + ENDING_S:
            return
        if trial_id is None:
            raise SilenceError(
                f"the agent tells of no end of {next(iter(self.running))}, which it does not run "
                f"any more",
                hangs=False,
            )
        raise SilenceError(
            f"the agent has not ended {trial_id} {late_s:.0f} s after its timeout of "
            f"{self.timeout_s:g} s; it hangs",
            hangs=True,
        )


def _waits_for(status: Mapping[str, Any]) -> str | None:
    what = status.get("waits_for")
    if what == protocol.PREPARATION:
        return "the machine to be quiet (gate, clocks)"
    if what == protocol.LOCK:
        return f"the lock of the machine, which {named_holder(status.get('lock_holder'))} holds"
    return None


def named_holder(holder: object) -> str:
    """Name who holds a machine's lock, as an agent tells it."""
    if not isinstance(holder, dict) or not holder:
        return "somebody whom the kernel does not tell"
    if holder.get("name") is None:  # a lock belongs to all that inherited its descriptor
        return f"something that pid {str(holder.get('pid'))[:64]} has started, itself gone,"
    name, pid, user = (str(holder.get(key))[:64] for key in ("name", "pid", "user"))
    return f"{name} (pid {pid}, user {user})"
