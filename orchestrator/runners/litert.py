"""The ``litert`` runner: a Python child on ai-edge-litert, tflite-runtime or TensorFlow.

The child (``agents.litert``) reports the time of every inference; the statistics are computed
here, by the definitions of ``benchmark_model`` (its ``stats_calculator.h``).
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
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
from orchestrator.plan import RunSettings, Trial, TrialKind
from orchestrator.runners import judgement
from orchestrator.runners.base import Command, Evidence, Files, Reading
from orchestrator.runners.judgement import failed

RUNTIMES = ("any", "ai-edge-litert", "tflite-runtime", "tensorflow")

_SCHEMA = 1
_STAGE, _RESULT, _ERROR = ("@orchestrate-stage ", "@orchestrate-result ", "@orchestrate-error ")
_STAGES = {
    "import": "while importing the runtime",
    "load": judgement.LOADING,
    "warmup": "in the warm-up phase",
    "steady": "in the steady phase",
    "report": "while reporting",
}


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
        lines = evidence.stdout.splitlines()
        stages = [line[len(_STAGE) :] for line in lines if line.startswith(_STAGE)]
        stage = _STAGES.get(stages[-1], "") if stages else "while starting Python"
        bad = judgement.bad_ending(evidence, settings, stage)
        if bad is not None:
            return bad
        if evidence.exit_code != 0:
            return _refused(lines, evidence)
        try:
            result = _Result.parse(_only(lines, _RESULT))
            result.check(trial)
        except _NonsenseError as error:
            return failed(f"exit code 0, but {error}")
        return _ok(trial, settings, files, evidence, result)


def _arguments(trial: Trial, settings: RunSettings, files: Files) -> list[str]:
    asked = judgement.effective_settings(trial, settings)
    decimal = judgement.decimal
    pairs = {
        "--model": f"{{blob:{files.model_sha256}}}",
        "--threads": str(trial.factors.threads),
        "--warmup-runs": str(asked.warmup.runs),
        "--warmup-seconds": decimal(asked.warmup.seconds),
        "--steady-runs": str(asked.steady.runs),
        "--steady-seconds": decimal(asked.steady.seconds),
        # as for benchmark_model: our own timeout strikes first
        "--max-seconds": str(math.ceil(asked.timeout_s)),
        "--delegate": trial.factors.delegate,
        "--runtime": trial.factors.runtime,
        "--batch": str(trial.factors.batch),
    }
    if trial.factors.input_size:
        pairs["--input-size"] = str(trial.factors.input_size)
    flat = [word for pair in pairs.items() for word in pair]
    return [*flat, "--memory"] if trial.kind is TrialKind.MEMORY else flat


class _NonsenseError(ValueError):
    """The result line is not what the child prints; the message says where."""


def _only(lines: Sequence[str], mark: str) -> dict[str, Any]:
    """The object on the one line with this mark."""
    marked = [line[len(mark) :] for line in lines if line.startswith(mark)]
    if len(marked) != 1:
        raise _NonsenseError(f"stdout has {len(marked)} lines {mark.strip()!r} instead of one")
    try:
        data = json.loads(marked[0], parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise _NonsenseError(f"the line {mark.strip()!r} is not JSON: {error}") from error
    if not isinstance(data, dict):
        raise _NonsenseError(f"the line {mark.strip()!r} is not a JSON object")
    return data


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is no figure")


def _refused(lines: Sequence[str], evidence: Evidence) -> Reading:
    """The reading of a child that ended with an exit code other than 0."""
    try:
        error = _only(lines, _ERROR)
        kind, message = error.get("kind"), error.get("message")
    except _NonsenseError:
        kind = message = None
    if not isinstance(kind, str) or not isinstance(message, str):
        said = judgement.tail(evidence.stderr) or "not a word on stderr"
        return failed(f"exit code {evidence.exit_code}: {said}")
    message = " ".join(message.split())[:500]
    if kind == "incompatible":
        reason = judgement.incompatibility(message) or message
        return Reading(Outcome.INCOMPATIBLE, reason=reason)
    return failed(f"{kind.replace('_', ' ')}: {message}" if kind != "failed" else message)


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

    @classmethod
    def parse(cls, data: Mapping[str, Any]) -> _Result:
        """Raise _NonsenseError for anything but figures in their places."""
        if _integer(data, "schema") != _SCHEMA:
            raise _NonsenseError(
                f"its result has schema {data['schema']} where {_SCHEMA} is known; "
                "the agent on the device is of another version"
            )
        version = data.get("runtime_version")
        return cls(
            runtime=_string(data, "runtime"),
            runtime_version=None if version is None else _string(data, "runtime_version"),
            threads=_integer(data, "threads"),
            batch=_integer(data, "batch"),
            input_size=_integer_or_none(data, "input_size") or 0,
            delegate=_string(data, "delegate"),
            delegation=_delegation(data),
            model_size_bytes=_integer(data, "model_size_bytes"),
            init_us=_figure(data, "init_us"),
            warmup=statistics_of(_times(data, "warmup_us")),
            steady=statistics_of(_times(data, "steady_us")),
            memory=_memory(data),
        )

    def check(self, trial: Trial) -> None:
        """Raise _NonsenseError if something else was measured than the trial asks for."""
        asked = trial.factors
        pairs = [
            ("batch", asked.batch, self.batch),
            ("input size", asked.input_size, self.input_size),
            ("delegate", asked.delegate, self.delegate),
        ]
        if asked.runtime != "any":
            pairs.append(("runtime", asked.runtime, self.runtime))
        for what, wanted, got in pairs:
            if wanted != got:
                raise _NonsenseError(f"the child ran {what} {got!r} and was asked for {wanted!r}")
        if self.steady.count == 0:
            raise _NonsenseError("no inference ran in the steady phase")


def statistics_of(times_us: Sequence[float]) -> Invocations:
    """Statistics by ``benchmark_model``'s definitions.

    The deviation is that of the population. Percentile p of n values is the one at index
    ⌊n·p/100⌋ of the sorted values, counted from 0: no interpolation, and the median of an even
    number of values is the upper one.
    """
    count = len(times_us)
    if count == 0:
        return Invocations(0)
    ordered = sorted(times_us)
    mean = math.fsum(times_us) / count
    variance = math.fsum((time - mean) ** 2 for time in times_us) / count
    return Invocations(
        count=count,
        first_us=times_us[0],
        min_us=ordered[0],
        max_us=ordered[-1],
        mean_us=mean,
        std_us=math.sqrt(variance),
        p5_us=ordered[count * 5 // 100],
        median_us=ordered[count * 50 // 100],
        p95_us=ordered[count * 95 // 100],
    )


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
    )
    applied = judgement.Applied(
        size_matches=result.model_size_bytes == files.model_size_bytes,
        xnnpack_seen=seen,
        threads=result.threads,
    )
    remarks += judgement.findings(trial, settings, evidence, measurement, applied)
    return Reading(Outcome.OK, measurement=measurement, findings=remarks)


def _delegation(data: Mapping[str, Any]) -> Delegation:
    delegated = _integer_or_none(data, "delegated_nodes")
    total = _integer_or_none(data, "total_nodes")
    if delegated is not None and (total is None or delegated > total):
        raise _NonsenseError(f"{delegated} nodes are delegated of {total}")
    return Delegation("xnnpack" if delegated else None, delegated, total)


def _memory(data: Mapping[str, Any]) -> Memory:
    """Growth of the peak since just before the model was loaded, and the peak itself."""
    points = _part(data, "memory")
    start, init, end = (
        _integer(_part(points, name), "peak_bytes") for name in ("start", "init", "end")
    )
    if not start <= init <= end:
        raise _NonsenseError(f"the peak of memory shrinks: {start}, {init}, {end} bytes")
    return Memory(init_bytes=init - start, overall_bytes=end - start, peak_bytes=end)


def _times(data: Mapping[str, Any], name: str) -> list[float]:
    values = data.get(name)
    if not isinstance(values, list):
        raise _NonsenseError(f"{name} is not a list of times")
    return [_checked(name, value) for value in values]


def _figure(data: Mapping[str, Any], name: str) -> float:
    return _checked(name, data.get(name))


def _checked(name: str, value: object) -> float:
    """A time in microseconds: finite, not negative, and within what an int64 of ns can hold."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1e16:
        raise _NonsenseError(f"{name} has {str(value)[:40]!r} where a time in µs belongs")
    return float(value)


def _integer(data: Mapping[str, Any], name: str) -> int:
    value = data.get(name)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**63:
        raise _NonsenseError(f"{name} is {str(value)[:40]!r} where a whole number belongs")
    return value


def _integer_or_none(data: Mapping[str, Any], name: str) -> int | None:
    return None if data.get(name) is None else _integer(data, name)


def _string(data: Mapping[str, Any], name: str) -> str:
    value = data.get(name)
    if not isinstance(value, str) or not value:
        raise _NonsenseError(f"{name} is {str(value)[:40]!r} where a word belongs")
    return value


def _part(data: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = data.get(name)
    if not isinstance(value, dict):
        raise _NonsenseError(f"{name} is {str(value)[:40]!r} where an object belongs")
    return value
