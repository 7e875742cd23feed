"""What a measuring child prints of its answers, read (``orchestrate_agent.children.samples``).

The lines stand in a trial's raw log; the journal has their number and their hash, so that a log
that was changed is not scored. Pure.
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from orchestrator.measures.accuracy.answers import Floats, OutputAnswer, SampleAnswer, top_of
from orchestrator.measures.accuracy.masks import Masks

MARK = "@orchestrate-sample "
#: Dimensions of an output, and values of a sketch: no child tells more.
_MOST_DIMENSIONS, _MOST_SKETCH = 16, 4096


def lines_of(stdout: str) -> list[str]:
    """The lines that tell answers, without their mark."""
    return [line[len(MARK) :] for line in stdout.splitlines() if line.startswith(MARK)]


def digest_of(lines: Iterable[str]) -> str:
    """SHA-256 of the lines, in hex."""
    digest = hashlib.sha256()
    for line in lines:
        digest.update(line.encode("utf-8", "surrogateescape") + b"\n")
    return digest.hexdigest()


def read_answers(
    lines: Sequence[str], answered: Sequence[Mapping[str, Any]], first: int
) -> tuple[SampleAnswer, ...]:
    """Read the lines of a shard whose first sample is the one at ``first`` of the draw.

    ``answered`` describes the outputs, as the child's result line does. Raises ValueError that
    names the line where it is not what a child prints.
    """
    described = [_described(each) for each in answered]
    return tuple(_sample(number, line, described, first) for number, line in enumerate(lines))


def _described(data: Mapping[str, Any]) -> tuple[str, tuple[int, ...]]:
    name = data.get("name")
    if not isinstance(name, str):
        raise AnswerError("an output has no name")
    return name, _shape(name, data.get("shape"))


def _shape(name: str, shape: object) -> tuple[int, ...]:
    sides = shape if isinstance(shape, list) and len(shape) <= _MOST_DIMENSIONS else [None]
    if any(type(side) is not int or side < 0 for side in sides):
        raise AnswerError(f"output {name!r} has no shape")
    # the dimension of the batch, of which a sample has one item
    return tuple(sides[1:] if sides and sides[0] == 1 else sides)


class AnswerError(ValueError):
    """A line is not what a child prints."""


def _sample(
    number: int, line: str, described: Sequence[tuple[str, tuple[int, ...]]], first: int
) -> SampleAnswer:
    try:
        return SampleAnswer(first + number, _outputs(number, json.loads(line), described))
    except (KeyError, TypeError, ValueError, RecursionError) as exc:
        raise AnswerError(
            f"the answer to sample {number} of the shard cannot be read: {exc}"
        ) from exc


def _outputs(
    number: int, data: Mapping[str, Any], described: Sequence[tuple[str, tuple[int, ...]]]
) -> tuple[OutputAnswer, ...]:
    outputs = data["outputs"]
    if data["sample"] != number or len(outputs) != len(described):
        raise AnswerError("not the next sample, or not its outputs")
    return tuple(
        _output(each, name, shape) for each, (name, shape) in zip(outputs, described, strict=True)
    )


def _output(data: Mapping[str, Any], name: str, shape: tuple[int, ...]) -> OutputAnswer:
    if "shape" in data:
        shape = _shape(name, data["shape"])
    values = None if data.get("values") is None else _floats(data["values"])
    if values is not None and len(values) != math.prod(shape):
        raise AnswerError(f"output {name!r} of shape {shape} has {len(values)} values")
    sketch = _floats(data["sketch"]) if "sketch" in data else np.zeros(0, dtype="<f4")
    if len(sketch) > _MOST_SKETCH:
        raise AnswerError(f"output {name!r} has a sketch of {len(sketch)} values")
    top = tuple((int(place), float(value)) for place, value in data.get("top", ()))
    if any(not 0 <= place < max(1, math.prod(shape)) for place, _ in top):
        raise AnswerError(f"output {name!r} has no such place")
    if values is not None and len(shape) == 1 and len(values) > 1:
        top = top_of(values)
    digest, finite = data["digest"], data["finite"]
    if not isinstance(digest, str) or not isinstance(finite, bool):
        raise AnswerError(f"output {name!r} has no digest")
    masks = None if data.get("masks") is None else _masks(data["masks"])
    return OutputAnswer(name, shape, values, top, sketch, digest, finite, masks)


def _masks(data: Mapping[str, Any]) -> Masks:
    height, width = data["size"]
    numbers = [*data["places"], height, width, data["left_out"]]
    if any(type(number) is not int for number in numbers):
        raise AnswerError("masks have odd numbers")
    low, high = (None if data[key] is None else float(data[key]) for key in ("low", "high"))
    packed = base64.b64decode(data["data"], validate=True)
    form, left_out = str(data["form"]), data["left_out"]
    return Masks(tuple(data["places"]), height, width, form, packed, low, high, left_out)


def _floats(text: str) -> Floats:
    return np.frombuffer(base64.b64decode(text, validate=True), dtype="<f4")
