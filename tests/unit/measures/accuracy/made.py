"""Answers of models, made for tests."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from typing import Any

import numpy as np

from orchestrate_agent.children.arrays import levels_of
from orchestrate_agent.children.outputs import Output
from orchestrator.measures.accuracy.answers import OutputAnswer, SampleAnswer, top_of
from orchestrator.measures.accuracy.wire import read_answers


def output(
    values: Any,
    *,
    name: str = "scores",
    top: tuple[tuple[int, float], ...] | None = None,
    shape: tuple[int, ...] | None = None,
    keep: bool = True,
) -> OutputAnswer:
    """One output as a child would tell it: a top list of what has one dimension. ``keep`` is False
    of one that was too large to be sent whole."""
    array = np.asarray([] if values is None else values, np.float32)
    if top is None:
        top = top_of(array) if array.ndim == 1 else ()
    projection = np.random.default_rng(0).normal(size=(256, array.size)).astype(np.float32)
    with np.errstate(invalid="ignore"):
        sketch = (projection @ array.reshape(-1)).astype(np.float32)
    return OutputAnswer(
        name=name,
        shape=array.shape if shape is None else shape,
        values=array if keep and values is not None else None,
        top=top,
        sketch=sketch,
        digest=hashlib.sha256(array.tobytes()).hexdigest(),
        finite=bool(np.isfinite(array).all()),
    )


def answer(key_index: int, *outputs: OutputAnswer) -> SampleAnswer:
    return SampleAnswer(key_index, outputs)


def answers(rows: Iterable[Any], **options: Any) -> list[SampleAnswer]:
    """One answer a row, each with a single output."""
    return [answer(place, output(row, **options)) for place, row in enumerate(rows)]


def child_output(name: str, values: Any) -> Output:
    """An output as a measuring child holds it."""
    array = np.asarray(values)
    flat = array.reshape(-1).astype(np.float64)
    return Output(
        name,
        array.shape,
        array.dtype.name,
        array.tobytes(),
        lambda every: flat[::every].tolist(),
        levels=lambda first, end: levels_of(np, flat[first:end]),
    )


def as_masks(told: Any, shape: tuple[int, ...], name: str = "masks") -> OutputAnswer:
    """What is read of what a child tells of an output's masks."""
    entry = {"digest": "0" * 16, "finite": True, "masks": json.loads(json.dumps(told))}
    line = json.dumps({"sample": 0, "outputs": [entry]})
    (found,) = read_answers([line], [{"name": name, "shape": [1, *shape]}], 0)
    return found.outputs[0]


def decoded(found: OutputAnswer) -> dict[int, Any]:
    """Its masks by their place."""
    assert found.masks is not None
    return dict(found.masks.decoded())
