"""The runners by name."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from orchestrator.errors import UsageError
from orchestrator.frameworks.reading.capped import CappedRunner
from orchestrator.frameworks.runner import Runner
from orchestrator.frameworks.tflite.benchmark_model import BenchmarkModelRunner
from orchestrator.frameworks.tflite.litert import LiteRtRunner
from orchestrator.frameworks.torch.runner import TorchRunner
from orchestrator.isa.levels import NATIVE
from orchestrator.trial import Trial

_ALL: tuple[Runner, ...] = (BenchmarkModelRunner(), LiteRtRunner(), TorchRunner())

RUNNERS: Mapping[str, Runner] = MappingProxyType({runner.name: runner for runner in _ALL})


def runner_named(name: str) -> Runner:
    """The runner of this name. Raises UsageError for any other, ``auto`` included: what ``auto``
    stands for depends on the device and is settled when the plan is made."""
    try:
        return RUNNERS[name]
    except KeyError:
        raise UsageError(
            f"runner {name!r} is not known; use one of: {', '.join(sorted(RUNNERS))}"
        ) from None


def runner_for(trial: Trial) -> Runner:
    """The runner that ``trial`` names, under the instruction set that it names.

    Raises UsageError as :func:`runner_named` does.
    """
    runner = runner_named(trial.factors.runner)
    return runner if trial.factors.isa == NATIVE else CappedRunner(runner)
