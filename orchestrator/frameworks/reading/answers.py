"""What a child tells of a network's outputs, read."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from orchestrator.frameworks.reading.child_output import NonsenseError, integer, string
from orchestrator.frameworks.runner import FedShard
from orchestrator.measurement import Answers, Outputs, OutputSummary

#: Outputs in one result, and values of a sketch, that are read: no child tells more.
MOST_OUTPUTS, MOST_VALUES = 64, 1024
#: Beyond it lies no float32, which a runtime's outputs are made of.
_LARGEST = 1e39


def outputs_of(data: Mapping[str, Any]) -> Outputs | None:
    """What was computed; None where an agent of before this was told does not say.

    Raises NonsenseError.
    """
    if "outputs" not in data:
        return None
    found = data["outputs"]
    if found is None:
        return Outputs(problem=string(data, "outputs_error"))
    if not isinstance(found, list) or len(found) > MOST_OUTPUTS:
        raise NonsenseError("outputs is not a list of summaries")
    return Outputs(tuple(map(_summary, found)), _number("input_error", data.get("input_error")))


def answers_of(stdout: str, data: Mapping[str, Any], shard: FedShard) -> Answers:
    """What was answered to the samples of a shard: every one of them, in order.

    Raises NonsenseError.
    """
    # it imports numpy, which most runs do without
    from orchestrator.measures.accuracy import wire  # noqa: PLC0415

    lines = wire.lines_of(stdout)
    told = data.get("answered")
    if len(lines) != shard.count or integer(data, "samples") != shard.count:
        raise NonsenseError(f"{len(lines)} of {shard.count} samples were answered")
    if not isinstance(told, list) or not all(isinstance(each, dict) for each in told):
        raise NonsenseError("answered is not a list of outputs")
    try:
        wire.read_answers(lines, told, shard.first)
    except ValueError as error:
        raise NonsenseError(str(error)) from error
    return Answers(shard.first, shard.count, wire.digest_of(lines))


def _summary(data: object) -> OutputSummary:
    if not isinstance(data, dict):
        raise NonsenseError(f"outputs has {str(data)[:40]!r} where a summary belongs")
    values: dict[str, Any] = {
        **{name: string(data, name) for name in ("dtype", "digest")},
        **{name: integer(data, name) for name in ("seen", "finite", "zeros", "distinct")},
        **{
            name: None if data.get(name) is None else _number(name, data[name])
            for name in ("mean", "deviation", "low", "high", "step")
        },
        "name": str(data.get("name"))[:200],
        "shape": tuple(int(side) for side in _numbers(data, "shape")),
        "sketch": _numbers(data, "sketch"),
    }
    return OutputSummary(**{field.name: values[field.name] for field in fields(OutputSummary)})


def _numbers(data: Mapping[str, Any], name: str) -> tuple[float, ...]:
    values = data.get(name)
    if not isinstance(values, list) or len(values) > MOST_VALUES:
        raise NonsenseError(f"{name} of an output is not a short list of numbers")
    return tuple(_number(name, value) for value in values)


def _number(name: str, value: object) -> float:
    if (
        isinstance(value, bool)
        or not isinstance(value, int | float)
        or not math.isfinite(value)
        or abs(value) > _LARGEST
    ):
        raise NonsenseError(f"{name} of an output is {str(value)[:40]!r}, not a number")
    return float(value)
