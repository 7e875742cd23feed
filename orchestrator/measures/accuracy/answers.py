"""What a model answered to one sample, as a measuring child reports it. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from orchestrator.measures.accuracy.masks import Masks
from orchestrator.measures.accuracy.matching import matched

Floats: TypeAlias = "NDArray[np.floating[Any]]"
Ints: TypeAlias = "NDArray[np.int64]"
Bools: TypeAlias = "NDArray[np.bool_]"

#: How many of the highest scores are kept of an output.
TOP = 5
#: Stands in a list of indices where a model named nothing.
NOTHING = -1


@dataclass(frozen=True, slots=True, eq=False)
class OutputAnswer:
    """One output of a model for one sample.

    ``shape`` is the output's without the dimension of the batch. ``values`` are all of it as
    float32, integer outputs multiplied out by their own scale and zero point; None where it was too
    large to be sent whole. ``top`` are the indices and values of the highest, best first, as
    :func:`top_of` puts them. ``sketch`` is its projection onto fixed seeded vectors, ``digest`` a
    hash of its bytes as the runtime gave them, and ``finite`` whether every value is a number.
    ``masks`` are what is told instead of an output of masks.
    """

    name: str
    shape: tuple[int, ...]
    values: Floats | None
    top: tuple[tuple[int, float], ...]
    sketch: Floats
    digest: str
    finite: bool
    masks: Masks | None = None


@dataclass(frozen=True, slots=True)
class SampleAnswer:
    """All outputs for one sample; ``key_index`` is the sample's place in the drawn data set."""

    key_index: int
    outputs: tuple[OutputAnswer, ...]


def top_indices(scores: Floats, count: int = TOP) -> Ints:
    """Return the indices of the ``count`` highest scores of each row, best first, as [n, count].

    Equal scores rank by their index, the lowest first, as an argmax does. What is not a number
    never ranks: its place, and each beyond the last column, holds ``NOTHING``.
    """
    if scores.ndim != 2:
        raise ValueError(f"scores must be [samples, classes], these have the shape {scores.shape}")
    # a stable sort keeps the order of indices among equals, and puts NaN behind every number
    order = np.argsort(-scores, axis=1, kind="stable")[:, :count]
    ranked = np.full((len(scores), count), NOTHING, dtype=np.int64)
    is_number = ~np.isnan(np.take_along_axis(scores, order, axis=1))
    ranked[:, : order.shape[1]] = np.where(is_number, order, NOTHING)
    return ranked


def top_of(values: Floats, count: int = TOP) -> tuple[tuple[int, float], ...]:
    """Return the highest values of one output with their indices, by the rule of
    :func:`top_indices`."""
    flat = values.reshape(-1)
    places = top_indices(flat[np.newaxis, :], count)[0]
    return tuple((int(place), float(flat[place])) for place in places if place != NOTHING)


def named_outputs(answers: Sequence[SampleAnswer]) -> tuple[str, ...]:
    """Return the names of the outputs that every one of the answers has, in the first one's
    order."""
    if not answers:
        return ()
    shared = set.intersection(*({output.name for output in each.outputs} for each in answers))
    return tuple(output.name for output in answers[0].outputs if output.name in shared)


def outputs_of(answers: Sequence[SampleAnswer], name: str) -> tuple[OutputAnswer, ...]:
    """Return one output of every sample. Raises ValueError where a sample lacks it."""
    found = []
    for answer in answers:
        output = next((each for each in answer.outputs if each.name == name), None)
        if output is None:
            has = ", ".join(each.name for each in answer.outputs) or "none"
            raise ValueError(f"sample {answer.key_index} has no output {name!r} (it has: {has})")
        found.append(output)
    return tuple(found)


def tops(answers: Sequence[SampleAnswer], output: str | None = None, count: int = TOP) -> Ints:
    """Return each sample's highest classes as [n, count], ``NOTHING`` where there are fewer.

    ``output`` names the output that holds the classes' scores; it may be left out where a model has
    a single one. Raises ValueError where it is not told apart.
    """
    ranked = np.full((len(answers), count), NOTHING, dtype=np.int64)
    if not answers:
        return ranked
    if output is None:
        names = named_outputs(answers)
        if len(names) != 1:
            raise ValueError(
                f"the model has {len(names)} outputs ({', '.join(names)}): say which one holds the "
                "scores of the classes"
            )
        output = names[0]
    for row, answer in zip(ranked, outputs_of(answers, output), strict=True):
        top = answer.top
        if len(top) < count and answer.values is not None:
            top = top_of(answer.values, count)
        places = [place for place, value in top if not np.isnan(value)][:count]
        row[: len(places)] = places
    return ranked


def in_common(
    one: Sequence[SampleAnswer], other: Sequence[SampleAnswer]
) -> tuple[tuple[SampleAnswer, ...], tuple[SampleAnswer, ...]]:
    """Return the answers of both sides to the samples that both have, in the order of the samples.

    Raises ValueError where a side has a sample twice: the copies would count as evidence.
    """
    sides = []
    for answers in (one, other):
        by_sample = {answer.key_index: answer for answer in answers}
        if len(by_sample) < len(answers):
            raise ValueError("a sample was answered twice by one side; only one answer may count")
        sides.append(by_sample)
    shared = sorted(sides[0].keys() & sides[1].keys())
    return tuple(sides[0][key] for key in shared), tuple(sides[1][key] for key in shared)


def matched_outputs(one: SampleAnswer, other: SampleAnswer) -> tuple[tuple[str, str], ...]:
    """Return the names of those outputs of ``one`` and ``other`` that are the same one
    (:mod:`.matching`)."""
    return tuple((a.name, b.name) for a, b in matched(one.outputs, other.outputs))
