"""The measure ``check``: one look at what a file computes, by another runner than times it. Pure.

A runner that shows no outputs may time a network that yields nothing. So a runner of the same
framework that shows them runs each of its files once on each device. Those trials belong to no
comparison: what they say is about the file, under another runtime.
"""

from orchestrator.measures.about import Measure
from orchestrator.trial import PhaseSettings, RunSettings, TrialKind


def _settings(settings: RunSettings) -> RunSettings:
    """A single inference on whatever inputs; the one that is looked at follows it."""
    return RunSettings(PhaseSettings(0, 0.0), PhaseSettings(1, 0.0), settings.timeout_s)


#: A file that another runtime cannot load may well be timed by its own.
CHECK = Measure(TrialKind.CHECK, judged=False, stands_in=True, settings=_settings)
