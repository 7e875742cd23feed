"""What a measure says of itself. Plain values; pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from orchestrator.trial import RunSettings, TrialKind


def as_asked(settings: RunSettings) -> RunSettings:
    """The settings of the suite, unchanged."""
    return settings


@dataclass(frozen=True)
class Measure:
    """One kind of trial.

    ``in_blocks``: its trials stand in the randomised blocks and are compared pair by pair. Those of
    any other measure come before the blocks, as many a variant as the suite's protocol says under
    the measure's name. ``quiet``: they wait at the gate, are pinned, tuned and asked for energy,
    and what disturbs them is remarked on. ``judged``: a variant that fails in them is not tried
    further. ``stands_in``: another runner's than the one whose files they are about, so that they
    are in no comparison. ``settings`` makes the phases of such a trial out of the suite's;
    ``options`` are what a measuring child is told.
    """

    kind: TrialKind
    in_blocks: bool = False
    quiet: bool = False
    judged: bool = True
    stands_in: bool = False
    settings: Callable[[RunSettings], RunSettings] = as_asked
    options: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Its name in journals and suites."""
        return self.kind.value
