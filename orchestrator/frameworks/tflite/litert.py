"""The ``litert`` runner: a Python child (``orchestrate_agent.children.litert``) on ai-edge-litert,
tflite-runtime or TensorFlow."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from orchestrator.frameworks.reading import judgement
from orchestrator.frameworks.reading.child_output import (
    NonsenseError,
    common_arguments,
    inputs_argument,
    inputs_asked,
    inputs_ran,
    integer_or_none,
    string,
)
from orchestrator.frameworks.reading.python_child import (
    ChildReport,
    asked_runtime,
    child_command,
    read_child,
)
from orchestrator.frameworks.runner import Command, Evidence, Files, Reading
from orchestrator.frameworks.tflite.about import LITERT
from orchestrator.frameworks.tflite.messages import XNNPACK_CREATED, incompatibility
from orchestrator.measurement import Delegation
from orchestrator.runtimes import ANY, Runtime, parse_runtime
from orchestrator.trial import RunSettings, Trial


class LiteRtRunner:
    """Runs the Python child; see :class:`orchestrator.frameworks.runner.Runner`."""

    about = LITERT
    name = about.name

    def command(self, trial: Trial, settings: RunSettings, files: Files) -> Command:
        """Return the child's command line. Raises UsageError for what it cannot do."""
        judgement.refuse_unknown_factors(trial, self.about)
        runtime = asked_runtime(trial, self.about)
        return child_command(self.name, files, _arguments(trial, runtime, settings, files))

    def read(
        self, trial: Trial, settings: RunSettings, files: Files, evidence: Evidence
    ) -> Reading:
        """Say what the evidence means. Never raises on the child's output."""
        xnnpack_seen = XNNPACK_CREATED in evidence.stderr

        def own(data: Mapping[str, Any]) -> ChildReport:
            fed = inputs_ran(data, inputs_asked(trial, files), trial.factors.batch)
            return ChildReport([*_ran(trial, data), *fed], _delegation(data), xnnpack_seen)

        return read_child(trial, settings, files, evidence, own, explain=incompatibility)


def _arguments(trial: Trial, runtime: Runtime, settings: RunSettings, files: Files) -> list[str]:
    own = ["--delegate", trial.factors.delegate, "--runtime", runtime.name]
    if trial.factors.input_size:
        own += ["--input-size", str(trial.factors.input_size)]
    own += inputs_argument(inputs_asked(trial, files), trial.factors.batch)
    if files.signature is not None:
        own += ["--signature", files.signature]
    return [*own, *common_arguments(trial, settings, files)]


def _ran(trial: Trial, data: Mapping[str, Any]) -> list[tuple[str, object, object]]:
    asked, runtime = trial.factors, string(data, "runtime")
    wanted = parse_runtime(asked.runtime).name
    return [
        ("input size", asked.input_size, integer_or_none(data, "input_size") or 0),
        ("delegate", asked.delegate, string(data, "delegate")),
        ("runtime", runtime if wanted == ANY else wanted, runtime),
    ]


def _delegation(data: Mapping[str, Any]) -> Delegation:
    delegated = integer_or_none(data, "delegated_nodes")
    total = integer_or_none(data, "total_nodes")
    if delegated is not None and (total is None or delegated > total):
        raise NonsenseError(f"{delegated} nodes are delegated of {total}")
    return Delegation("xnnpack" if delegated else None, delegated, total)
