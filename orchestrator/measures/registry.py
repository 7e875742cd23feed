"""The only list of the measures; those outside of the blocks in the order of their trials. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from orchestrator.measures.about import Measure
from orchestrator.measures.accuracy import ACCURACY
from orchestrator.measures.check import CHECK
from orchestrator.measures.memory import MEMORY
from orchestrator.measures.profile import PROFILE
from orchestrator.measures.timing import TIMING
from orchestrator.trial import TrialKind

MEASURES: Mapping[TrialKind, Measure] = MappingProxyType(
    {measure.kind: measure for measure in (MEMORY, PROFILE, ACCURACY, CHECK, TIMING)}
)


def measure_of(kind: TrialKind) -> Measure:
    """Return the measure whose trials are of this kind."""
    return MEASURES[kind]


def unblocked_measures() -> tuple[Measure, ...]:
    """Return the measures of a comparison's own runner whose trials belong to no block."""
    every = MEASURES.values()
    return tuple(each for each in every if not each.in_blocks and not each.stands_in)
