"""The runners by name."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from orchestrator.errors import UsageError
from orchestrator.runners.base import Runner
from orchestrator.runners.benchmark_model import BenchmarkModelRunner
from orchestrator.runners.litert import LiteRtRunner
from orchestrator.runners.torch import TorchRunner

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
