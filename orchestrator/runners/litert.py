"""The ``litert`` runner: a Python child (``agents.litert``) on ai-edge-litert, tflite-runtime or
TensorFlow."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator.errors import UsageError
from orchestrator.measurement import (
    Delegation,
    Invocations,
    Measurement,
    Memory,
    Outcome,
)
from orchestrator.plan import RunSettings, Trial
from orchestrator.runners import judgement
from orchestrator.runners.base import Command, Evidence, Files, Reading
from orchestrator.runners.child_output import (
    NonsenseError,
    check_as_asked,
    common_arguments,
    drift_of,
    figure,
    integer,
    integer_or_none,
    memory_of,
    result_of,
    statistics_of,
    string,
    times_of,
    window_of,
)
from orchestrator.runners.judgement import failed

RUNTIMES = ("any", "ai-edge-litert", "tflite-runtime", "tensorflow")


class LiteRtRunner:
    """Runs the Python child; see :class:`orchestrator.runners.base.Runner`."""

    name = "litert"

    def command(self, trial: Trial, settings: RunSettings, files: Files) -> Command:
        """The child's command line. Raises UsageError for what it cannot do."""
        judgement.refuse_unknown_factors(trial)
        if trial.factors.runtime not in RUNTIMES:
            raise UsageError(
                f"{trial.trial_id}: runtime {trial.factors.runtime!r} is not known; "
                f"use one of: {', '.join(RUNTIMES)}"
            )
        argv = (files.python, "{agent}", self.name, *_arguments(trial, settings, files))
        return Command(argv=argv, blobs=(files.model_sha256,))

    def read(
        self, trial: Trial, settings: RunSettings, files: Files, evidence: Evidence
    ) -> Reading:
        """What the evidence means. Never raises on the child's output."""
        try:
            data = result_of(evidence, settings)
            if isinstance(data, Reading):
                return data
            result = _Result.parse(data)
            result.check(trial)
        except NonsenseError as error:
            return failed(f"exit code 0, but {error}")
        return _ok(trial, settings, files, evidence, result)


def _arguments(trial: Trial, settings: RunSettings, files: Files) -> list[str]:
    own = ["--delegate", trial.factors.delegate, "--runtime", trial.factors.runtime]
    if trial.factors.input_size:
        own += ["--input-size", str(trial.factors.input_size)]
    return [*own, *common_arguments(trial, settings, files)]


@dataclass(frozen=True)
class _Result:
    """The child's result line, every field checked."""

    runtime: str
    runtime_version: str | None
    threads: int
    batch: int
    input_size: int
    delegate: str
    delegation: Delegation
    model_size_bytes: int
    init_us: float
    warmup: Invocations
    steady: Invocations
    memory: Memory
    drift: float | None
    window_s: tuple[float, float] | None

    @classmethod
    def parse(cls, data: Mapping[str, Any]) -> _Result:
        """Raise NonsenseError for anything but figures in their places."""
        version = data.get("runtime_version")
        return cls(
            runtime=string(data, "runtime"),
            runtime_version=None if version is None else string(data, "runtime_version"),
            threads=integer(data, "threads"),
            batch=integer(data, "batch"),
            input_size=integer_or_none(data, "input_size") or 0,
            delegate=string(data, "delegate"),
            delegation=_delegation(data),
            model_size_bytes=integer(data, "model_size_bytes"),
            init_us=figure(data, "init_us"),
            warmup=statistics_of(times_of(data, "warmup_us")),
            steady=statistics_of(times_of(data, "steady_us")),
            memory=memory_of(data),
            drift=drift_of(times_of(data, "steady_us")),
            window_s=window_of(data),
        )

    def check(self, trial: Trial) -> None:
        """Raise NonsenseError if something else was measured than the trial asks for."""
        asked = trial.factors
        pairs: list[tuple[str, object, object]] = [
            ("batch", asked.batch, self.batch),
            ("input size", asked.input_size, self.input_size),
            ("delegate", asked.delegate, self.delegate),
        ]
        if asked.runtime != "any":
            pairs.append(("runtime", asked.runtime, self.runtime))
        check_as_asked(pairs, self.steady)


def _ok(
    trial: Trial, settings: RunSettings, files: Files, evidence: Evidence, result: _Result
) -> Reading:
    memory, remarks = judgement.believable_memory(result.memory)
    seen = judgement.XNNPACK_CREATED in evidence.stderr
    measurement = Measurement(
        init_us=result.init_us,
        first_us=judgement.first_inference_us(result.warmup, result.steady),
        warmup=result.warmup,
        steady=result.steady,
        memory=memory,
        model_size_bytes=result.model_size_bytes,
        delegation=result.delegation,
        runtime_name=result.runtime,
        runtime_version=result.runtime_version,
        steady_window_s=result.window_s,
    )
    applied = judgement.Applied(
        size_matches=result.model_size_bytes == files.model_size_bytes,
        xnnpack_seen=seen,
        threads=result.threads,
        drift=result.drift,
    )
    remarks += judgement.findings(trial, settings, evidence, measurement, applied)
    return Reading(Outcome.OK, measurement=measurement, findings=remarks)


def _delegation(data: Mapping[str, Any]) -> Delegation:
    delegated = integer_or_none(data, "delegated_nodes")
    total = integer_or_none(data, "total_nodes")
    if delegated is not None and (total is None or delegated > total):
        raise NonsenseError(f"{delegated} nodes are delegated of {total}")
    return Delegation("xnnpack" if delegated else None, delegated, total)
