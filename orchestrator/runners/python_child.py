"""What the runners with a Python child have in common: the reading of the child's result line."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from orchestrator.measurement import Delegation, Invocations, Measurement, Operator, Outcome
from orchestrator.plan import RunSettings, Trial
from orchestrator.runners import judgement
from orchestrator.runners.base import Evidence, Files, Reading
from orchestrator.runners.child_output import (
    NonsenseError,
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


@dataclass(frozen=True)
class Own:
    """What one runner's child tells beside what all of them tell.

    ``ran``: what, as asked for, as it ran. ``xnnpack_seen``: whether the runtime said that it
    created the delegate. ``operators`` are those of a profile trial.
    """

    ran: Sequence[tuple[str, object, object]]
    delegation: Delegation | None = None
    xnnpack_seen: bool = False
    operators: tuple[Operator, ...] = ()


def read_child(
    trial: Trial,
    settings: RunSettings,
    files: Files,
    evidence: Evidence,
    own: Callable[[Mapping[str, Any]], Own],
) -> Reading:
    """What the evidence means. Never raises on the child's output.

    ``own`` reads the runner's own part of the result line; NonsenseError from it is a failure of
    the trial like any other nonsense.
    """
    try:
        data = result_of(evidence, settings)
        if isinstance(data, Reading):
            return data
        return _reading(trial, settings, files, evidence, data=data, own=own(data))
    except NonsenseError as error:
        return failed(f"exit code 0, but {error}")


def _reading(
    trial: Trial,
    settings: RunSettings,
    files: Files,
    evidence: Evidence,
    *,
    data: Mapping[str, Any],
    own: Own,
) -> Reading:
    """Every field checked. Raises NonsenseError for anything but figures in their places."""
    runtime, version = string(data, "runtime"), data.get("runtime_version")
    warmup_us, steady_us = times_of(data, "warmup_us"), times_of(data, "steady_us")
    warmup, steady = statistics_of(warmup_us), statistics_of(steady_us)
    size_bytes = integer(data, "model_size_bytes")
    _check_as_asked([("batch", trial.factors.batch, integer(data, "batch")), *own.ran], steady)
    memory, remarks = judgement.believable_memory(memory_of(data))
    measurement = Measurement(
        init_us=figure(data, "init_us"),
        first_us=judgement.first_inference_us(warmup, steady),
        warmup=warmup,
        steady=steady,
        memory=memory,
        model_size_bytes=size_bytes,
        delegation=own.delegation,
        runtime_name=runtime,
        runtime_version=None if version is None else string(data, "runtime_version"),
        steady_window_s=window_of(data),
        operators=own.operators,
    )
    applied = judgement.Applied(
        size_matches=size_bytes == files.model_size_bytes,
        xnnpack_seen=own.xnnpack_seen,
        threads=integer(data, "threads"),
        drift=drift_of(steady_us),
    )
    remarks += judgement.findings(trial, settings, evidence, measurement, applied)
    return Reading(Outcome.OK, measurement=measurement, findings=remarks)


def _check_as_asked(ran: Sequence[tuple[str, object, object]], steady: Invocations) -> None:
    """Raise NonsenseError if something else was measured than the trial asks for."""
    for what, wanted, got in ran:
        if wanted != got:
            raise NonsenseError(f"the child ran {what} {got!r} and was asked for {wanted!r}")
    if steady.count == 0:
        raise NonsenseError("no inference ran in the steady phase")
