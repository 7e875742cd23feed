"""Pure: (plan of a device, what has finished) → what to run next, and when to stop.

The same finished trials give the same decision, so that a resumed run goes on as the first one
would have.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence

from orchestrator.measurement import Outcome
from orchestrator.plan import Block, DevicePlan, Group, Plan, Trial, TrialKind, Variant
from orchestrator.runs.records import TrialRecord

#: Half-width of each scheme's interval of the log ratio; None where it cannot be told yet.
PrecisionOf = Callable[[Sequence[TrialRecord]], Mapping[str, float | None]]

#: A variant that failed this many times in a row is not tried again: the next trial would cost
#: the same and say the same. One ``incompatible`` is enough.
GIVE_UP_AFTER = 2


class Schedule:
    """Decides, for one device, which trials to release next."""

    def __init__(self, plan: Plan, device: DevicePlan, precision_of: PrecisionOf) -> None:
        self._plan = plan
        self._device = device
        self._precision_of = precision_of
        self._released: set[str] = set()
        self._finished: dict[str, TrialRecord] = {}
        self._stopped: dict[str, str] = {}
        self._streak: dict[tuple[str, Variant], int] = defaultdict(int)
        self._given_up: set[tuple[str, Variant]] = set()
        self._group_of = {t.trial_id: g for t, g in _with_groups(device)}

    @property
    def stopped(self) -> Mapping[str, str]:
        """Group key → why the group gets no more blocks."""
        return dict(self._stopped)

    @property
    def unfinished(self) -> int:
        """How many released trials have not finished."""
        return len(self._released - self._finished.keys())

    @property
    def finished(self) -> int:
        """How many trials have finished."""
        return len(self._finished)

    def is_under_way(self, trial_id: str) -> bool:
        """Whether the trial was released and has not finished."""
        return trial_id in self._released and trial_id not in self._finished

    def mean_wall_s(self) -> float | None:
        """How long a finished trial held the device on average, in seconds; None before the
        first."""
        return self._spent_s() / len(self._finished) if self._finished else None

    def expected_s(self, trials: Sequence[Trial]) -> float:
        """How long what is in hand and ``trials`` after it will hold the device, in seconds.

        A trial takes as long as the slowest so far of its variant, or else of all; before the
        first, as long as its phases at least.
        """
        phases = self._plan.settings.warmup.seconds + self._plan.settings.steady.seconds
        longest: dict[Variant, float] = {}
        for record in self._finished.values():
            variant = record.trial.variant
            longest[variant] = max(longest.get(variant, 0.0), record.wall_s or 0.0)
        unknown = max(longest.values(), default=phases)
        in_hand = [t for t in self._device.trials if self.is_under_way(t.trial_id)]
        return sum(
            longest.get(trial.variant, unknown) / (1 if trial.duet is None else 2)
            for trial in [*in_hand, *trials]
        )

    @property
    def complete(self) -> bool:
        """Whether nothing is left to release and everything released has finished."""
        return self.unfinished == 0 and len(self._stopped) == len(self._device.groups)

    def remaining(self) -> int:
        """How many trials are still to come at most up to the minimum of blocks, or in hand."""
        open_blocks = [
            b
            for b in self._device.blocks
            if b.index < self._plan.min_blocks and b.group.key not in self._stopped
        ]
        waiting = {t.trial_id for b in open_blocks for t in b.trials} - self._released
        beside = {t.trial_id for t in self._device.beside} - self._released
        return len(waiting) + len(beside) + self.unfinished

    def release(self, trial_id: str) -> None:
        """Note that a trial was released (on resuming: that the journal says so)."""
        self._released.add(trial_id)

    def stop(self, group: str, reason: str) -> None:
        """Note that a group was stopped earlier, which is not decided anew on resuming."""
        self._stopped[group] = reason

    def finish(self, record: TrialRecord) -> None:
        """Note a finished trial."""
        trial = record.trial
        group = self._group_of.get(trial.trial_id)
        if group is None or trial.trial_id in self._finished:
            return
        self._released.add(trial.trial_id)
        self._finished[trial.trial_id] = record
        self._judge(group, record)

    def _judge(self, group: Group, record: TrialRecord) -> None:
        if record.trial.kind is TrialKind.PROFILE:
            return  # what cannot be profiled may well be timed
        key = (group.key, record.trial.variant)
        self._streak[key] = 0 if record.outcome is Outcome.OK else self._streak[key] + 1
        if record.outcome is Outcome.INCOMPATIBLE or self._streak[key] >= GIVE_UP_AFTER:
            self._given_up.add(key)

    def next_trials(self) -> tuple[Trial, ...]:
        """The next trials to release, in order; empty when there are none now.

        Those that belong to no block first, then one block at a time.
        """
        beside = tuple(t for t in self._device.beside if t.trial_id not in self._released)
        if beside:
            return beside
        for block in self._device.blocks:
            if block.group.key in self._stopped:
                continue
            # A block that was released in part (the controller died in between) is completed.
            trials = self._worth_running(block)
            if trials and not self._stops_before(block):
                return trials
        self._stop_exhausted_groups()
        return ()

    def _stops_before(self, block: Block) -> bool:
        """Decide whether ``block``'s group ends here; records the reason if it does."""
        group = block.group
        reason = self._failure(group)
        if reason is None and block.index >= self._plan.min_blocks:
            reason = self._enough(group)
        if reason is not None:
            self._stopped[group.key] = reason
        return reason is not None

    def _failure(self, group: Group) -> str | None:
        if self._is_given_up(group, group.baseline):
            return f"the baseline {group.baseline} gives no result"
        treatments = [s for s in group.schemes if s != group.baseline]
        if treatments and all(self._is_given_up(group, s) for s in treatments):
            return "no scheme but the baseline gives a result"
        return None

    def _enough(self, group: Group) -> str | None:
        budget = self._plan.budget_s
        if budget is not None and self._spent_s() >= budget:
            return f"budget of {budget:g} s spent"
        half_widths = self._precision_of(self._timing_of(group))
        wanted = [
            s for s in group.schemes if s != group.baseline and not self._is_given_up(group, s)
        ]
        widths = [half_widths.get(s) for s in wanted]
        if all(width is not None and width <= self._plan.precision for width in widths):
            return f"precision of {self._plan.precision:g} reached"
        return None

    def _stop_exhausted_groups(self) -> None:
        for group in self._device.groups:
            self._stopped.setdefault(group.key, f"maximum of {self._plan.max_blocks} blocks")

    def _worth_running(self, block: Block) -> tuple[Trial, ...]:
        given_up = {
            t.trial_id for t in block.trials if self._is_given_up(block.group, t.variant.scheme)
        }
        return tuple(
            t
            for t in block.trials
            if t.trial_id not in self._released
            and t.trial_id not in given_up
            and (t.duet is None or t.duet.partner not in given_up)
        )

    def _is_given_up(self, group: Group, scheme: str) -> bool:
        return (group.key, Variant(group.model, scheme)) in self._given_up

    def _timing_of(self, group: Group) -> list[TrialRecord]:
        return [
            record
            for record in self._finished.values()
            if record.trial.kind is TrialKind.TIMING
            and self._group_of[record.trial.trial_id] == group
        ]

    def _spent_s(self) -> float:
        """Of the device's time: two trials at once take one trial's."""
        return sum(
            (record.wall_s or 0.0) / (1 if record.trial.duet is None else 2)
            for record in self._finished.values()
        )


def _with_groups(device: DevicePlan) -> list[tuple[Trial, Group]]:
    pairs = [(trial, block.group) for block in device.blocks for trial in block.trials]
    by_condition = {(g.model, g.factors): g for g in device.groups}
    pairs += [(t, by_condition[t.variant.model, t.factors]) for t in device.beside]
    return pairs
