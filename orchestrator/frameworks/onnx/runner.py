"""The ``onnxruntime`` runner: a Python child (``orchestrate_agent.children.onnxruntime``) on ONNX
Runtime."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from orchestrator.frameworks.onnx.about import ONNXRUNTIME
from orchestrator.frameworks.reading import judgement
from orchestrator.frameworks.reading.child_output import (
    NonsenseError,
    common_arguments,
    inputs_argument,
    inputs_asked,
    inputs_ran,
    integer,
    integer_or_none,
    operators_of,
    part,
    string,
)
from orchestrator.frameworks.reading.judgement import Arithmetic
from orchestrator.frameworks.reading.python_child import (
    ChildReport,
    asked_runtime,
    child_command,
    read_child,
)
from orchestrator.frameworks.runner import Command, Evidence, Files, Reading
from orchestrator.measurement import Delegation
from orchestrator.runtimes import ANY, parse_runtime
from orchestrator.trial import RunSettings, Trial, TrialKind


class OnnxRuntimeRunner:
    """Runs the Python child; see :class:`orchestrator.frameworks.runner.Runner`."""

    about = ONNXRUNTIME
    name = about.name

    def command(self, trial: Trial, settings: RunSettings, files: Files) -> Command:
        """Return the child's command line. Raises UsageError for what it cannot do."""
        judgement.refuse_unknown_factors(trial, self.about)
        runtime = asked_runtime(trial, self.about)
        own = ["--delegate", trial.factors.delegate, "--runtime", runtime.name]
        if trial.factors.input_size:
            own += ["--input-size", str(trial.factors.input_size)]
        own += inputs_argument(inputs_asked(trial, files), trial.factors.batch)
        own += common_arguments(trial, settings, files)
        return child_command(self.name, files, own)

    def read(
        self, trial: Trial, settings: RunSettings, files: Files, evidence: Evidence
    ) -> Reading:
        """Say what the evidence means. Never raises on the child's output."""

        def own(data: Mapping[str, Any]) -> ChildReport:
            profiled = trial.kind is TrialKind.PROFILE
            delegation, arithmetic = _what_ran(trial, data)
            return ChildReport(
                [
                    *_ran(trial, data),
                    *inputs_ran(data, inputs_asked(trial, files), trial.factors.batch),
                ],
                delegation,
                # the child ends where it was not started
                delegate_seen=trial.factors.delegate != "none",
                operators=operators_of(data) if profiled else (),
                arithmetic=arithmetic,
            )

        return read_child(trial, settings, files, evidence, own)


def _ran(trial: Trial, data: Mapping[str, Any]) -> list[tuple[str, object, object]]:
    runtime, wanted = string(data, "runtime"), parse_runtime(trial.factors.runtime).name
    return [
        ("runtime", runtime if wanted == ANY else wanted, runtime),
        ("input size", trial.factors.input_size, integer_or_none(data, "input_size") or 0),
        ("delegate", trial.factors.delegate, string(data, "delegate")),
    ]


def _what_ran(trial: Trial, data: Mapping[str, Any]) -> tuple[Delegation | None, Arithmetic | None]:
    """What the runtime's own profiler says; nothing where it could not be had."""
    if data.get("ran") is None:
        return None, None
    ran = part(data, "ran")
    taken, assigned = integer(ran, "taken"), integer(ran, "assigned")
    products, integers = integer(ran, "products"), integer(ran, "integer")
    if taken > assigned or integers > products:
        raise NonsenseError(
            f"{taken} of {assigned} operators were taken, and {integers} of {products} computed on "
            f"integers"
        )
    name = trial.factors.delegate if taken else None
    return Delegation(name, taken, assigned), Arithmetic(
        products, integers, integer(ran, "conversions")
    )
