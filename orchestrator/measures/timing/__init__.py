"""The measure ``timing``: how long an inference takes, in trials that stand in blocks. Pure."""

from orchestrator.measures.about import Measure
from orchestrator.trial import TrialKind

TIMING = Measure(
    TrialKind.TIMING,
    in_blocks=True,
    quiet=True,
)
