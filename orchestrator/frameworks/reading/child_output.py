"""What the measuring children print, read: their wire, their result line, their statistics.

The children (``orchestrate_agent.children.litert``, ``orchestrate_agent.children.torch``) report
the time of every inference; the statistics are computed here, by the definitions of
``benchmark_model`` (its ``stats_calculator.h``).
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from statistics import median
from typing import Any

from orchestrator.frameworks.reading import judgement
from orchestrator.frameworks.reading.judgement import failed
from orchestrator.frameworks.runner import Evidence, Files, Reading
from orchestrator.measurement import (
    LONGEST_KIND,
    MOST_OPERATORS,
    Invocations,
    Memory,
    Operator,
    Outcome,
)
from orchestrator.measures.registry import measure_of
from orchestrator.trial import InputSpec, RunSettings, Trial

SCHEMA = 1
STAGE, RESULT, ERROR = ("@orchestrate-stage ", "@orchestrate-result ", "@orchestrate-error ")

#: A third of the steady phase with fewer inferences says nothing about its median.
DRIFT_MIN_THIRD = 10
#: Of simulated phases of 30 inferences with log-normal noise and no drift, at most one in 200 lies
#: beyond; of longer ones fewer.
DRIFT_ERRORS = 4.0

_STAGES = {
    "import": "while importing the runtime",
    "load": judgement.LOADING,
    "warmup": "in the warm-up phase",
    "steady": "in the steady phase",
    "samples": "while answering samples",
    "report": "while reporting",
}


def common_arguments(trial: Trial, settings: RunSettings, files: Files) -> list[str]:
    """Return the options that every child has; those of the trial's measure last."""
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
        "--batch": str(trial.factors.batch),
    }
    flat = [word for pair in pairs.items() for word in pair]
    if files.check_range is not None:
        flat.append(numbers_option("check-range", files.check_range))
    if files.samples is not None:
        shard = files.samples
        flat += ["--samples", f"{{blob:{shard.sha256}}}", "--whole", str(shard.whole)]
        flat += [numbers_option("mean", shard.mean), numbers_option("std", shard.std)]
        named = {"--masks": shard.masks, "--mask-scores": shard.mask_scores}
        flat += [f"{option}={name}" for option, name in named.items() if name is not None]
    return [*flat, *measure_of(trial.kind).options]


def numbers_option(name: str, values: Iterable[float]) -> str:
    """Return an option of numbers in one word: a child's parser takes some negative numbers for
    options."""
    return f"--{name}={','.join(map(repr, values))}"


def inputs_asked(trial: Trial, files: Files) -> tuple[InputSpec, ...]:
    """Return what the suite asks for; what the file takes by itself is not asked for. The factor
    ``input_size`` sets the shapes, where it is there."""
    named = tuple(spec for spec in files.inputs if spec.name)
    return tuple(replace(s, shape=()) for s in named) if trial.factors.input_size else named


def inputs_argument(inputs: Sequence[InputSpec], batch: int) -> list[str]:
    """Return the option that says what the child is to feed; nothing where nobody asks for
    anything."""
    if not inputs:
        return []
    asked = [
        {**spec.to_json(), **({"shape": spec.at_batch(batch)} if spec.shape else {})}
        for spec in inputs
    ]
    return ["--inputs", json.dumps(asked)]


def inputs_ran(
    data: Mapping[str, Any], inputs: Sequence[InputSpec], batch: int
) -> list[tuple[str, object, object]]:
    """Return what was asked for and what ran: the shape of every input that somebody asked for."""
    if not inputs:
        return []
    ran = data.get("inputs")
    if not isinstance(ran, list) or len(ran) != len(inputs):
        return [("inputs", len(inputs), len(ran) if isinstance(ran, list) else None)]
    shapes = [each.get("shape") if isinstance(each, dict) else None for each in ran]
    names = [each.get("name") if isinstance(each, dict) else None for each in ran]
    return [
        (
            f"input {spec.name}".rstrip(),
            list(spec.at_batch(batch)),
            shapes[names.index(spec.name) if spec.name in names else place],
        )
        for place, spec in enumerate(inputs)
        if spec.shape
    ]


#: Why a runtime cannot load a file, out of its message; None where it does not say.
Explain = Callable[[str], str | None]


def unexplained(_message: str) -> None:
    """Say nothing more of a runtime's message, which stands for itself."""


def result_of(
    evidence: Evidence, settings: RunSettings, explain: Explain = unexplained
) -> dict[str, Any] | Reading:
    """Return the result line's object, or the reading of a child that has none.

    Raises NonsenseError where the child ended well and did not print one.
    """
    lines = evidence.stdout.splitlines()
    stages = [line[len(STAGE) :] for line in lines if line.startswith(STAGE)]
    stage = _STAGES.get(stages[-1], "") if stages else "while starting Python"
    bad = judgement.bad_ending(evidence, settings, stage)
    if bad is not None:
        return bad
    if evidence.exit_code != 0:
        return refused(lines, evidence, explain)
    data = only(lines, RESULT)
    if integer(data, "schema") != SCHEMA:
        raise NonsenseError(
            f"its result has schema {data['schema']} where {SCHEMA} is known; "
            "the agent on the device is of another version"
        )
    return data


class NonsenseError(ValueError):
    """The result line is not what the child prints; the message says where."""


def only(lines: Sequence[str], mark: str) -> dict[str, Any]:
    """Return the object on the one line with this mark."""
    marked = [line[len(mark) :] for line in lines if line.startswith(mark)]
    if len(marked) != 1:
        raise NonsenseError(f"stdout has {len(marked)} lines {mark.strip()!r} instead of one")
    try:
        data = json.loads(marked[0], parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise NonsenseError(f"the line {mark.strip()!r} is not JSON: {error}") from error
    if not isinstance(data, dict):
        raise NonsenseError(f"the line {mark.strip()!r} is not a JSON object")
    return data


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is not a figure")


def refused(lines: Sequence[str], evidence: Evidence, explain: Explain = unexplained) -> Reading:
    """Return the reading of a child that ended with an exit code other than 0."""
    try:
        error = only(lines, ERROR)
        kind, message = error.get("kind"), error.get("message")
    except NonsenseError:
        kind = message = None
    if not isinstance(kind, str) or not isinstance(message, str):
        said = judgement.tail(evidence.stderr) or "not a word on stderr"
        return failed(f"{_starved(evidence)}exit code {evidence.exit_code}: {said}")
    whole = " ".join(message.split())
    message = whole[:500]
    if kind == "incompatible":
        reason = explain(whole) or message
        return Reading(Outcome.INCOMPATIBLE, reason=reason)
    if kind == "failed":
        return failed(_starved(evidence) + message)
    return failed(f"{kind.replace('_', ' ')}: {message}")


def _starved(evidence: Evidence) -> str:
    """Why, where the runtime's error does not say it and a library below it said on stderr."""
    return "out of memory: " if judgement.says_out_of_memory(evidence.stderr) else ""


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


def memory_of(data: Mapping[str, Any]) -> Memory:
    """Return the growth of the peak since just before the model was loaded, and the peak itself;
    with it the GPU's, where one computed."""
    points = part(data, "memory")
    start, init, end = (
        integer(part(points, name), "peak_bytes") for name in ("start", "init", "end")
    )
    if not start <= init <= end:
        raise NonsenseError(f"the peak of memory shrinks: {start}, {init}, {end} bytes")
    gpu = integer_or_none(points, "gpu_peak_bytes")
    return Memory(init - start, end - start, peak_bytes=end, gpu_peak_bytes=gpu)


def peak_is_own(data: Mapping[str, Any]) -> bool:
    """Whether that peak is the program's alone, and not inherited from what started it."""
    points = part(data, "memory")
    return all(part(points, name).get("source") == "VmHWM" for name in ("start", "init", "end"))


def operators_of(data: Mapping[str, Any]) -> tuple[Operator, ...]:
    """Return what the child's profiler found: ``[kind, how many an inference, µs an inference]``
    each."""
    values = data.get("operators")
    if not isinstance(values, list) or not 0 < len(values) <= MOST_OPERATORS:
        raise NonsenseError("a profile trial, and operators is not a list of them")
    found = []
    for each in values:
        if not isinstance(each, list) or len(each) != 3 or not isinstance(each[0], str):
            raise NonsenseError(f"operators has {str(each)[:40]!r} where an operator belongs")
        kind, count, us = each[0][:LONGEST_KIND], each[1], each[2]
        found.append(Operator(kind, _checked("operators", count), _checked("operators", us)))
    return tuple(found)


def times_of(data: Mapping[str, Any], name: str) -> list[float]:
    values = data.get(name)
    if not isinstance(values, list):
        raise NonsenseError(f"{name} is not a list of times")
    return [_checked(name, value) for value in values]


def window_of(data: Mapping[str, Any]) -> tuple[float, float] | None:
    """When the steady phase began and ended; an agent of before this was known does not tell."""
    value = data.get("steady_window_s")
    if value is None:
        return None
    if not isinstance(value, list) or len(value) != 2:
        raise NonsenseError("steady_window_s is not a pair of times")
    begun, ended = (_checked("steady_window_s", each) for each in value)
    if ended < begun:
        raise NonsenseError(f"the steady phase ended at {ended}, before it began at {begun}")
    return begun, ended


def drift_of(times_us: Sequence[float]) -> float | None:
    """Median of the last third ÷ median of the first; None where the two cannot be told apart.

    They can where they lie further apart than DRIFT_ERRORS times the standard error of the
    difference of two medians, estimated from the median absolute deviations, which a few late
    inferences do not move.
    """
    third = len(times_us) // 3
    if third < DRIFT_MIN_THIRD:
        return None
    parts = (times_us[:third], times_us[-third:])
    first, last = (median(part) for part in parts)
    if first <= 0:
        return None
    variances = [_median_variance(part) for part in parts]
    if abs(last - first) <= DRIFT_ERRORS * math.sqrt(sum(variances)):
        return None
    return last / first


def _median_variance(values: Sequence[float]) -> float:
    """Estimate the variance of a sample's median as that of a normal one with the same median
    absolute deviation."""
    centre = median(values)
    sigma = 1.4826 * median(abs(value - centre) for value in values)
    return math.pi / 2 * sigma**2 / len(values)


def figure(data: Mapping[str, Any], name: str) -> float:
    return _checked(name, data.get(name))


def _checked(name: str, value: object) -> float:
    """A time in microseconds: finite, not negative, and within what an int64 of ns can hold."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1e16:
        raise NonsenseError(f"{name} has {str(value)[:40]!r} where a time in µs belongs")
    return float(value)


def integer(data: Mapping[str, Any], name: str) -> int:
    value = data.get(name)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**63:
        raise NonsenseError(f"{name} is {str(value)[:40]!r} where a whole number belongs")
    return value


def integer_or_none(data: Mapping[str, Any], name: str) -> int | None:
    return None if data.get(name) is None else integer(data, name)


def string(data: Mapping[str, Any], name: str) -> str:
    value = data.get(name)
    if not isinstance(value, str) or not value:
        raise NonsenseError(f"{name} is {str(value)[:40]!r} where a word belongs")
    return value


def part(data: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = data.get(name)
    if not isinstance(value, dict):
        raise NonsenseError(f"{name} is {str(value)[:40]!r} where an object belongs")
    return value
