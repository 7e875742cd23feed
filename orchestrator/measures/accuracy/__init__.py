"""The measure ``accuracy``: what a variant gets wrong. Pure, numpy and scipy alone.

Its trials answer samples of a data set, a shard of them each, and time nothing: ``samples`` says
what is fed, ``wire`` reads what a child answers, and the other modules score it.
"""

from orchestrator.measures.about import Measure
from orchestrator.trial import PhaseSettings, RunSettings, TrialKind

#: A trial answers a thousand samples where one of timing runs some hundred inferences: it may take
#: this many times as long.
_PATIENCE = 8


def _settings(settings: RunSettings) -> RunSettings:
    """Samples are answered one after the other; there is no phase to wait for."""
    nothing = PhaseSettings(0, 0.0)
    return RunSettings(nothing, nothing, _PATIENCE * settings.timeout_s)


#: A variant that cannot answer samples may well be timed.
ACCURACY = Measure(TrialKind.ACCURACY, judged=False, settings=_settings)
