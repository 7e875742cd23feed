"""The ``torch`` runner: a Python child (``orchestrate_agent.children.torch``) on PyTorch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from orchestrator.frameworks.reading import judgement
from orchestrator.frameworks.reading.child_output import (
    common_arguments,
    inputs_argument,
    inputs_ran,
    operators_of,
    string,
)
from orchestrator.frameworks.reading.python_child import (
    ChildReport,
    asked_runtime,
    child_command,
    read_child,
)
from orchestrator.frameworks.runner import Command, Evidence, Files, Reading
from orchestrator.frameworks.torch.about import TORCH
from orchestrator.trial import RunSettings, Trial, TrialKind


class TorchRunner:
    """Runs the Python child; see :class:`orchestrator.frameworks.runner.Runner`."""

    about = TORCH
    name = about.name

    def command(self, trial: Trial, settings: RunSettings, files: Files) -> Command:
        """The child's command line. Raises UsageError for what it cannot do."""
        judgement.refuse_unknown_factors(trial, self.about)
        asked_runtime(trial, self.about)
        asked = trial.factors
        own = ["--engine", asked.engine, "--processor", asked.processor]
        own += inputs_argument(files.inputs, trial.factors.batch)
        own += common_arguments(trial, settings, files)
        return child_command(self.name, files, own)

    def read(
        self, trial: Trial, settings: RunSettings, files: Files, evidence: Evidence
    ) -> Reading:
        """What the evidence means. Never raises on the child's output."""

        def own(data: Mapping[str, Any]) -> ChildReport:
            profiled = trial.kind is TrialKind.PROFILE
            ran = [*_ran(trial, data), *inputs_ran(data, files.inputs, trial.factors.batch)]
            return ChildReport(ran, operators=operators_of(data) if profiled else ())

        return read_child(trial, settings, files, evidence, own)


def _ran(trial: Trial, data: Mapping[str, Any]) -> list[tuple[str, object, object]]:
    asked, engine = trial.factors, string(data, "engine")
    return [
        ("processor", asked.processor, string(data, "processor")),
        ("engine", engine if asked.engine == "default" else asked.engine, engine),
    ]
