"""Pure: a run's trials → speed-ups with intervals, noise floors, verdicts and findings.

``pairing`` finds what is compared with what, ``statistics`` how sure one may be of it,
``conditions`` and ``audit`` whether it may be compared at all, ``analyse`` makes the table.
"""

from orchestrator.analysis.sides.pairing import comparison_precision
from orchestrator.analysis.speedups.analyse import analyse
from orchestrator.analysis.statistics import MIN_PAIRS
from orchestrator.analysis.table import FailedTrials, NoiseFloor, Speedup, SpeedupTable, Verdict

__all__ = [
    "MIN_PAIRS",
    "FailedTrials",
    "NoiseFloor",
    "Speedup",
    "SpeedupTable",
    "Verdict",
    "analyse",
    "comparison_precision",
]
