"""What scoring one comparison gives, whatever its task. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from orchestrator.analysis.table import ChangedAnswer, ClassChange, ScoredShare
from orchestrator.measurement import Finding
from orchestrator.measures.accuracy.classification import PairedDifference
from orchestrator.measures.accuracy.resampling import ApDifference
from orchestrator.measures.accuracy.shares import Share

Difference: TypeAlias = "PairedDifference | ApDifference"


NOT_SCORED = ScoredShare(None)


@dataclass(frozen=True)
class Score:
    """The difference of two sides, not yet corrected for the others of its table; None where the
    findings forbid it.

    ``baseline_share`` is the baseline's right answers as counted, of classifiers alone.
    """

    metric: str
    baseline: ScoredShare = NOT_SCORED
    treatment: ScoredShare = NOT_SCORED
    difference: Difference | None = None
    others: Mapping[str, tuple[float | None, float | None]] = field(default_factory=dict)
    classes: tuple[ClassChange, ...] = ()
    changed: tuple[ChangedAnswer, ...] = ()
    outcomes: str = ""
    findings: tuple[Finding, ...] = ()
    baseline_share: Share | None = None
    changes: int | None = None
