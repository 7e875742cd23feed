"""Pure: (plan of a device, what has finished) → what to run next, and when to stop.

``orchestrate_agent.course`` decides, and a bundle carries it as well, so that both stop alike. What
a controller adds is the precision that has been reached, which takes the analysis, and the time
that trials are expected to take, which a lease needs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

from orchestrate_agent.course import (
    BlockOutline,
    Course,
    GroupOutline,
    Outline,
    Slot,
    TrialEnd,
    never_enough,
)
from orchestrator.measurement import Outcome
from orchestrator.measures.registry import measure_of
from orchestrator.plan import DevicePlan, Plan
from orchestrator.runs.records import TrialRecord
from orchestrator.trial import Group, Trial, Variant

#: Half-width of each scheme's interval of the log ratio; None where it cannot be told yet.
PrecisionOf = Callable[[Sequence[TrialRecord]], Mapping[str, float | None]]


class Schedule:
    """Decides, for one device, which trials to release next.

    ``precision_of`` None: nothing stops at a precision, as in a bundle.
    """

    def __init__(self, plan: Plan, device: DevicePlan, precision_of: PrecisionOf | None) -> None:
        self._plan = plan
        self._trials = {trial.trial_id: trial for trial in device.trials}
        self._timing: dict[str, list[TrialRecord]] = {group.key: [] for group in device.groups}
        #: Seconds that the slowest finished trial of each variant took.
        self._longest: dict[Variant, float] = {}
        outline = outline_of(plan, device)
        self._group_of = {slot.trial_id: slot.group for slot in outline.slots}
        enough = never_enough if precision_of is None else partial(self._enough, precision_of)
        self._course = Course(outline, enough)

    @property
    def stopped(self) -> Mapping[str, str]:
        """Maps the key of a group to the reason why it gets no more blocks."""
        return self._course.stopped

    @property
    def unfinished(self) -> int:
        """Return how many released trials have not finished."""
        return self._course.unfinished

    @property
    def finished(self) -> int:
        """Return how many trials have finished."""
        return self._course.finished

    def is_under_way(self, trial_id: str) -> bool:
        """Whether the trial was released and has not finished."""
        return self._course.is_under_way(trial_id)

    def is_released(self, trial_id: str) -> bool:
        """Whether the trial was released, finished or not."""
        return self._course.is_released(trial_id)

    def mean_wall_s(self) -> float | None:
        """Return how long a finished trial held the device on average, in seconds; None before the
        first."""
        return self._course.mean_wall_s()

    def expected_s(self, trials: Sequence[Trial]) -> float:
        """Return how long what is in hand and ``trials`` after it will hold the device, in seconds.

        A trial takes as long as the slowest so far of its variant, or else of all; before the
        first, as long as its phases at least.
        """
        phases = self._plan.settings.warmup.seconds + self._plan.settings.steady.seconds
        unknown = max(self._longest.values(), default=phases)
        in_hand = [t for t in self._trials.values() if self.is_under_way(t.trial_id)]
        return sum(
            self._longest.get(trial.variant, unknown) / (1 if trial.duet is None else 2)
            for trial in [*in_hand, *trials]
        )

    @property
    def complete(self) -> bool:
        """Whether nothing is left to release and everything released has finished."""
        return self._course.complete

    def remaining(self) -> int:
        """Return how many trials are in hand, or still to come at most up to the minimum of
        blocks."""
        return self._course.remaining(self._plan.min_blocks)

    def release(self, trial_id: str) -> None:
        """Note that a trial was released (on resuming: that the journal says so)."""
        self._course.release(trial_id)

    def stop(self, group: str, reason: str) -> None:
        """Note that a group was stopped earlier, which is not decided anew on resuming."""
        self._course.stop(group, reason)

    def finish(self, record: TrialRecord) -> None:
        """Note a finished trial."""
        trial = record.trial
        ended = TrialEnd(
            ok=record.outcome is Outcome.OK,
            # a runtime that cannot load a file will not load it the next time; anything else may
            # have been a passing trouble
            hopeless=record.outcome is Outcome.INCOMPATIBLE,
            wall_s=record.wall_s or 0.0,
            blameless=record.blameless,
        )
        # told twice, as after a resume: nothing may be counted twice
        if not self._course.end(trial.trial_id, ended):
            return
        # the slowest, not the mean: a trial that is released must end within the lease
        longest = self._longest.get(trial.variant, 0.0)
        self._longest[trial.variant] = max(longest, ended.wall_s)
        if measure_of(trial.kind).in_blocks:
            self._timing[self._group_of[trial.trial_id]].append(record)

    def next_trials(self) -> tuple[Trial, ...]:
        """Return the next trials to release, in order; empty when there are none now.

        Those that belong to no block first, then one block at a time.
        """
        return tuple(self._trials[trial_id] for trial_id in self._course.next_trials())

    def _enough(
        self, precision_of: PrecisionOf, group: str, treatments: Sequence[str]
    ) -> str | None:
        # A width that cannot be told yet is not a narrow one. Schemes that are given up are not
        # among ``treatments``: a group that holds one would never reach its precision.
        half_widths = precision_of(self._timing[group])
        widths = [half_widths.get(scheme) for scheme in treatments]
        if all(width is not None and width <= self._plan.precision for width in widths):
            return f"precision of {self._plan.precision:g} reached"
        return None


def outline_of(plan: Plan, device: DevicePlan) -> Outline:
    """Return a device's part of the plan, as ``orchestrate_agent.course`` knows it."""
    # a trial of no block carries no group: its model and factors say which one it belongs to
    by_condition = {(group.model, group.factors): group for group in device.groups}
    by_condition |= {(group.model, group.factors): group for group in device.checks}
    return Outline(
        min_blocks=plan.min_blocks,
        max_blocks=plan.max_blocks,
        budget_s=plan.budget_s,
        groups=tuple(
            GroupOutline(g.key, g.baseline, tuple(s for s in g.schemes if s != g.baseline))
            for g in device.groups
        ),
        unblocked=tuple(
            _slot(t, by_condition[t.variant.model, t.factors]) for t in device.unblocked
        ),
        blocks=tuple(
            BlockOutline(b.group.key, b.index, tuple(_slot(t, b.group) for t in b.trials))
            for b in device.blocks
        ),
    )


def _slot(trial: Trial, group: Group) -> Slot:
    partner = None if trial.duet is None else trial.duet.partner
    measure = measure_of(trial.kind)
    return Slot(
        trial.trial_id,
        group.key,
        trial.variant.scheme,
        partner,
        judged=measure.judged,
        extra=measure.stands_in,
    )
