"""The measure ``profile``: how long each kind of operator takes. Pure.

Watching operators disturbs timing, so it has trials of its own. What cannot be profiled may well be
timed. ``analysis.explain.profiles`` compares the operators of two schemes.
"""

from orchestrator.measures.about import Measure
from orchestrator.trial import TrialKind

PROFILE = Measure(TrialKind.PROFILE, judged=False, options=("--profile",))
