"""The measure ``memory``: what a variant's process takes at its peak. Pure.

Watching memory disturbs timing, so it has trials of its own. ``reading`` says which figures can be
believed, ``comparison`` which of them two sides have in common.
"""

from orchestrator.measures.about import Measure
from orchestrator.trial import PhaseSettings, RunSettings, TrialKind


def _settings(settings: RunSettings) -> RunSettings:
    """A memory trial needs few inferences: the peak is reached within the first ones, and the
    official tool's own list of samples grows with each."""
    return RunSettings(PhaseSettings(1, 0.0), PhaseSettings(5, 0.0), settings.timeout_s)


MEMORY = Measure(
    TrialKind.MEMORY,
    settings=_settings,
    options=("--memory",),
)
