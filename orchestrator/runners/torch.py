"""The ``torch`` runner: a Python child (``agents.torch_child``) on PyTorch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator.errors import UsageError
from orchestrator.measurement import Invocations, Measurement, Memory, Outcome
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
    memory_of,
    result_of,
    statistics_of,
    string,
    times_of,
    window_of,
)
from orchestrator.runners.judgement import failed

ENGINES = ("default", "x86", "fbgemm", "qnnpack", "onednn")
PROCESSORS = ("cpu", "cuda")


class TorchRunner:
    """Runs the Python child; see :class:`orchestrator.runners.base.Runner`."""

    name = "torch"

    def command(self, trial: Trial, settings: RunSettings, files: Files) -> Command:
        """The child's command line. Raises UsageError for what it cannot do."""
        judgement.refuse_unknown_factors(trial)
        asked = trial.factors
        for what, value, known in (
            ("delegate", asked.delegate, ("none",)),
            ("runtime", asked.runtime, ("torch",)),
            ("engine", asked.engine, ENGINES),
            ("processor", asked.processor, PROCESSORS),
        ):
            if value not in known:
                raise UsageError(
                    f"{trial.trial_id}: {what} {value!r} means nothing to runner torch; use one "
                    f"of: {', '.join(known)}"
                )
        if asked.input_size:
            raise UsageError(
                f"{trial.trial_id}: runner torch runs a model at its own input size; leave out "
                f"input_size"
            )
        own = ["--engine", asked.engine, "--processor", asked.processor]
        if files.input_shape is not None:
            own += ["--input", "x".join(map(str, files.input_shape[1:]))]
        argv = (files.python, "{agent}", self.name, *own, *common_arguments(trial, settings, files))
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


@dataclass(frozen=True)
class _Result:
    """The child's result line, every field checked."""

    runtime: str
    runtime_version: str
    threads: int
    batch: int
    engine: str
    processor: str
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
        return cls(
            runtime=string(data, "runtime"),
            runtime_version=string(data, "runtime_version"),
            threads=integer(data, "threads"),
            batch=integer(data, "batch"),
            engine=string(data, "engine"),
            processor=string(data, "processor"),
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
            ("processor", asked.processor, self.processor),
        ]
        if asked.engine != "default":
            pairs.append(("engine", asked.engine, self.engine))
        check_as_asked(pairs, self.steady)


def _ok(
    trial: Trial, settings: RunSettings, files: Files, evidence: Evidence, result: _Result
) -> Reading:
    memory, remarks = judgement.believable_memory(result.memory)
    measurement = Measurement(
        init_us=result.init_us,
        first_us=judgement.first_inference_us(result.warmup, result.steady),
        warmup=result.warmup,
        steady=result.steady,
        memory=memory,
        model_size_bytes=result.model_size_bytes,
        runtime_name=result.runtime,
        runtime_version=result.runtime_version,
        steady_window_s=result.window_s,
    )
    applied = judgement.Applied(
        size_matches=result.model_size_bytes == files.model_size_bytes,
        xnnpack_seen=False,
        threads=result.threads,
        drift=result.drift,
    )
    remarks += judgement.findings(trial, settings, evidence, measurement, applied)
    return Reading(Outcome.OK, measurement=measurement, findings=remarks)
