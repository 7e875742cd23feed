"""Pure: (what a device may run, what has ended) → what to run next, and when to stop.

The controller's schedule goes by it, and so does a bundle, which has no controller. The same ended
trials give the same decision, so that what is resumed goes on as it would have.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import asdict, dataclass
from typing import Any, Callable, DefaultDict, Dict, List, Mapping, Optional, Sequence, Set, Tuple

#: A scheme that failed this many times in a row is not tried again: the next trial would cost
#: the same and say the same. One ``hopeless`` is enough.
GIVE_UP_AFTER = 2


@dataclass(frozen=True)
class Slot:
    """A trial's place: its group's key, its scheme, and its partner, the other half of a duet.

    ``judged`` false: its end says nothing of whether others of its scheme are worth running.
    ``extra``: nothing that is measured rests on it, and a run in which it fails is whole.
    """

    trial_id: str
    group: str
    scheme: str
    partner: Optional[str] = None
    judged: bool = True
    extra: bool = False


@dataclass(frozen=True)
class GroupOutline:
    """The trials that are compared with each other: a baseline and the schemes held against it."""

    key: str
    baseline: str
    treatments: Tuple[str, ...]


@dataclass(frozen=True)
class BlockOutline:
    """A block is one pass over a group."""

    group: str
    index: int
    slots: Tuple[Slot, ...]


@dataclass(frozen=True)
class Outline:
    """All that a device may be asked to run, in order: ``unblocked``, then ``blocks``.

    ``unblocked`` holds the trials that belong to no block; in JSON they are called ``beside``. A
    variant that cannot be loaded fails there first, before a block is spent on it.

    ``budget_s`` is the device's measuring time after which no block beyond the minimum begins.
    """

    min_blocks: int
    max_blocks: int
    budget_s: Optional[float]
    groups: Tuple[GroupOutline, ...]
    unblocked: Tuple[Slot, ...]
    blocks: Tuple[BlockOutline, ...]

    @property
    def slots(self) -> Tuple[Slot, ...]:
        return self.unblocked + tuple(slot for block in self.blocks for slot in block.slots)

    def to_json(self) -> Dict[str, Any]:
        data = asdict(self)
        data["beside"] = data.pop("unblocked")
        return data

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Outline:
        """Read what :meth:`to_json` wrote. Raises KeyError or TypeError on another shape."""
        return cls(
            min_blocks=data["min_blocks"],
            max_blocks=data["max_blocks"],
            budget_s=data["budget_s"],
            groups=tuple(
                GroupOutline(g["key"], g["baseline"], tuple(g["treatments"]))
                for g in data["groups"]
            ),
            unblocked=tuple(Slot(**slot) for slot in data["beside"]),
            blocks=tuple(
                BlockOutline(b["group"], b["index"], tuple(Slot(**slot) for slot in b["slots"]))
                for b in data["blocks"]
            ),
        )


@dataclass(frozen=True)
class TrialEnd:
    """Says how a trial ended. ``hopeless``: the next one of its scheme would end the same;
    ``blameless``: it did not even begin, for no reason of its own.

    ``wall_s``: how long its process took, in seconds.
    """

    ok: bool
    hopeless: bool
    wall_s: float
    blameless: bool = False


#: (a group's key, the treatments that are not given up) → why it needs no block beyond those that
#: it has, or None.
Enough = Callable[[str, Sequence[str]], Optional[str]]


def never_enough(group: str, treatments: Sequence[str]) -> None:
    """Stop no group for its precision: a bundle's device cannot tell how precise its results
    are."""


class Course:
    """Decides, for one device, which trials to release next."""

    def __init__(self, outline: Outline, enough: Enough = never_enough) -> None:
        self._outline = outline
        self._enough = enough
        self._groups = {group.key: group for group in outline.groups}
        self._slots = {slot.trial_id: slot for slot in outline.slots}
        self._released: Set[str] = set()
        self._ended: Set[str] = set()
        self._stopped: Dict[str, str] = {}
        self._streak: DefaultDict[Tuple[str, str], int] = defaultdict(int)
        self._given_up: Set[Tuple[str, str]] = set()
        self._spent_s = 0.0

    @property
    def stopped(self) -> Mapping[str, str]:
        """Maps the key of a group to the reason why it gets no more blocks."""
        return dict(self._stopped)

    @property
    def unfinished(self) -> int:
        """Return how many released trials have not ended."""
        return len(self._released) - len(self._ended)

    @property
    def finished(self) -> int:
        """Return how many trials have ended."""
        return len(self._ended)

    @property
    def complete(self) -> bool:
        """Whether nothing is left to release and everything released has ended."""
        return self.unfinished == 0 and len(self._stopped) == len(self._outline.groups)

    def is_under_way(self, trial_id: str) -> bool:
        """Whether the trial was released and has not ended."""
        return trial_id in self._released and trial_id not in self._ended

    def is_extra(self, trial_id: str) -> bool:
        """Whether nothing that is measured rests on the trial."""
        slot = self._slots.get(trial_id)
        return slot is not None and slot.extra

    def is_released(self, trial_id: str) -> bool:
        """Whether the trial was released, ended or not."""
        return trial_id in self._released

    def mean_wall_s(self) -> Optional[float]:
        """Return how long an ended trial held the device on average, in seconds; None before the
        first."""
        return self._spent_s / len(self._ended) if self._ended else None

    def remaining(self, blocks: int) -> int:
        """Return how many trials are in hand or still to come, of each group's first ``blocks``
        blocks."""
        waiting = {slot.trial_id for slot in self._outline.unblocked}
        for block in self._outline.blocks:
            if block.index < blocks and block.group not in self._stopped:
                waiting.update(slot.trial_id for slot in block.slots)
        return len(waiting - self._released) + self.unfinished

    def release(self, trial_id: str) -> None:
        """Note that a trial was released (on resuming: that it had been)."""
        self._released.add(trial_id)

    def stop(self, group: str, reason: str) -> None:
        """Note that a group was stopped earlier, which is not decided anew on resuming."""
        self._stopped[group] = reason

    def end(self, trial_id: str, ended: TrialEnd) -> bool:
        """Note how a trial ended; False for one that is none of ours, or ended before."""
        slot = self._slots.get(trial_id)
        if slot is None or trial_id in self._ended:
            return False
        # whatever ended was released, even where the line that said so was lost
        self._released.add(trial_id)
        self._ended.add(trial_id)
        # the budget is the device's time, and the halves of a duet share theirs
        self._spent_s += ended.wall_s / (1 if slot.partner is None else 2)
        # an end that says nothing of the scheme neither lengthens nor ends the scheme's streak
        if not slot.judged or ended.blameless:
            return True
        key = (slot.group, slot.scheme)
        self._streak[key] = 0 if ended.ok else self._streak[key] + 1
        if ended.hopeless or self._streak[key] >= GIVE_UP_AFTER:
            self._given_up.add(key)
        return True

    def next_trials(self) -> Tuple[str, ...]:
        """Return the ids of the next trials to release, in order; empty when there are none now.

        Those that belong to no block first, then one block at a time.
        """
        unblocked = [slot.trial_id for slot in self._outline.unblocked]
        unblocked = [trial_id for trial_id in unblocked if trial_id not in self._released]
        if unblocked:
            return tuple(unblocked)
        # The blocks are in rounds, so every group gets its block i before any gets its block i + 1:
        # a run that ends early has as many blocks of each, and drift strikes all alike.
        for block in self._outline.blocks:
            if block.group in self._stopped:
                continue
            # A block that was released in part (the controller died in between) is completed.
            trials = self._worth_running(block)
            # A block that is out already needs no decision; what is decided here is final.
            if trials and not self._stops_before(block):
                return trials
        # Nothing is left to release. A reason that was found before stays.
        for group in self._outline.groups:
            reason = self._failure(group) or f"maximum of {self._outline.max_blocks} blocks"
            self._stopped.setdefault(group.key, reason)
        return ()

    def _stops_before(self, block: BlockOutline) -> bool:
        """Decide whether ``block``'s group ends here; records the reason if it does."""
        group = self._groups[block.group]
        reason = self._failure(group)
        # Budget and precision are not asked before the minimum: a group with fewer blocks has no
        # interval, and the time that it took would be wasted.
        if reason is None and block.index >= self._outline.min_blocks:
            reason = self._budget_spent() or self._enough(group.key, self._wanted(group))
        if reason is not None:
            self._stopped[group.key] = reason
        return reason is not None

    def _failure(self, group: GroupOutline) -> Optional[str]:
        if (group.key, group.baseline) in self._given_up:
            return f"the baseline {group.baseline} gives no result"
        # A baseline alone is measured where nothing else was asked for, but not as what is left.
        if group.treatments and not self._wanted(group):
            return "no scheme but the baseline gives a result"
        return None

    def _budget_spent(self) -> Optional[str]:
        budget_s = self._outline.budget_s
        if budget_s is None or self._spent_s < budget_s:
            return None
        return f"budget of {budget_s:g} s spent"

    def _wanted(self, group: GroupOutline) -> List[str]:
        return [s for s in group.treatments if (group.key, s) not in self._given_up]

    def _worth_running(self, block: BlockOutline) -> Tuple[str, ...]:
        # Whose partner is given up is left out, too: it would run alone, under another load than
        # the halves of every other duet.
        given_up = {s.trial_id for s in block.slots if (s.group, s.scheme) in self._given_up}
        return tuple(
            slot.trial_id
            for slot in block.slots
            if slot.trial_id not in self._released
            and slot.trial_id not in given_up
            and slot.partner not in given_up
        )
