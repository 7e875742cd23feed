"""Feeding a ``.tflite`` graph real values and reading what it answers, in real values again.

Integers of a quantized file stand for real numbers: ``(integer - zero point) * scale``. What is fed
is turned into them by the file's own numbers, and so is what comes out, so that files of unlike
schemes are fed the same and answer in the same terms.
"""

from __future__ import annotations

import argparse
from typing import Any, Callable, Sequence

from orchestrate_agent.children.arrays import (
    Table,
    doubles_of,
    laid_out,
    length_of,
    levels_of,
    prepared,
)
from orchestrate_agent.children.measuring import INPUT_SEED, ChildError
from orchestrate_agent.children.outputs import Output
from orchestrate_agent.children.samples import Shard


class Answering:
    """A graph that is asked for its outputs. ``entry`` is the child's; ``invoke`` an inference."""

    def __init__(self, numpy: Any, entry: Any, invoke: Callable[[], object]) -> None:
        self._numpy = numpy
        self._entry = entry
        self._invoke = invoke
        #: The input that samples are fed to, and what bytes become there.
        self._fed: dict[str, Any] | None = None
        self._told: list[dict[str, Any]] = []
        self._table: Table | None = None

    def feed_seeded(
        self, bounds: Sequence[float], raw: Callable[[Any, dict[str, Any]], Any]
    ) -> float:
        """Feed every input the same real values in every process; returns by how much, as a share
        of them, the file's own numbers change them.

        ``raw`` draws for an input whose integers stand for nothing but themselves.
        """
        numpy, worst = self._numpy, 0.0
        random = numpy.random.RandomState(INPUT_SEED)
        for detail in self._entry.inputs():
            shape = [int(size) for size in detail["shape"]]
            kind = numpy.dtype(detail["dtype"]).kind
            if kind not in "fc" and _scale_of(detail) is None:
                self._entry.set(detail["index"], raw(random, detail))
                continue
            values = random.uniform(bounds[0], bounds[1], shape)
            fed = self._as_held(detail, values)
            self._entry.set(detail["index"], fed)
            length = length_of(numpy, values)
            if length:
                error = length_of(numpy, self._real(detail, fed) - values) / length
                worst = max(worst, error)
        return worst

    def feed_samples(self, shard: Shard, args: argparse.Namespace, content: bytes) -> None:
        """Feed one batch of rows, less ``--mean`` and divided by ``--std``, channel by channel."""
        if self._fed is None:
            (self._fed,) = self._entry.inputs()
        detail, numpy = self._fed, self._numpy
        rows = numpy.frombuffer(content, dtype=shard.dtype).reshape((args.batch, *shard.shape))

        def convert(rows: Any) -> Any:
            if numpy.dtype(detail["dtype"]).kind not in "fc" and _scale_of(detail) is None:
                return rows.astype(detail["dtype"])  # integers that stand for themselves alone
            return self._as_held(detail, prepared(numpy, rows, args))

        if shard.dtype == "uint8":
            self._table = self._table or Table(numpy, args, convert)
            values = self._table.values(rows)
        else:
            values = convert(rows)
        self._entry.set(detail["index"], laid_out(numpy, values, detail["name"], detail["shape"]))

    def answer(self) -> list[Output]:
        """Run an inference; its outputs."""
        self._invoke()
        return [self._output(detail, self._entry.get(detail["index"])) for detail in self._details]

    def answer_batch(self, batch: int) -> list[list[Output]]:
        """Run an inference; the outputs of each of the batch's samples."""
        self._invoke()
        details = self._details
        held = [self._entry.get(detail["index"]) for detail in details]
        if batch == 1:
            return [[self._output(d, values) for d, values in zip(details, held)]]
        for detail, values in zip(details, held):
            shape = self._numpy.shape(values)
            if shape[:1] != (batch,):
                raise ChildError(
                    "incompatible",
                    "the graph makes output %s of shape %s of %d items"
                    % (detail["name"], list(shape), batch),
                )
        return [
            [self._output(d, values[place : place + 1]) for d, values in zip(details, held)]
            for place in range(batch)
        ]

    @property
    def _details(self) -> list[dict[str, Any]]:
        """Names and scales of the outputs, asked for once: that takes longer than an answer."""
        self._told = self._told or list(self._entry.outputs())
        return self._told

    def _output(self, detail: dict[str, Any], held: Any) -> Output:
        numpy = self._numpy
        held = numpy.asarray(held)
        name, dtype = str(detail["name"]), held.dtype.name
        if held.dtype.kind not in "fiubc":  # of strings the bytes alone can be compared
            return Output(name, (0,), "string", repr(held.tolist()).encode(), lambda every: [])
        scale = _scale_of(detail)
        return Output(
            name,
            tuple(held.shape),
            dtype,
            held.tobytes(),
            lambda every: doubles_of(self._real(detail, held.reshape(-1)[::every])),
            None if scale is None or held.dtype.kind in "fc" else scale[0],
            lambda first, end: levels_of(
                numpy, self._real(detail, held.reshape(-1)[first:end].copy())
            ),
        )

    def _as_held(self, detail: dict[str, Any], values: Any) -> Any:
        """Real values as the file holds them."""
        numpy = self._numpy
        dtype, scale = numpy.dtype(detail["dtype"]), _scale_of(detail)
        if dtype.kind in "fc" or scale is None:
            return values.astype(dtype)
        limits = numpy.iinfo(dtype)
        steps = numpy.rint(values / scale[0]) + scale[1]
        return numpy.clip(steps, limits.min, limits.max).astype(dtype)

    def _real(self, detail: dict[str, Any], held: Any) -> Any:
        """The real values that the file's integers stand for."""
        numpy, scale = self._numpy, _scale_of(detail)
        if held.dtype.kind == "c":
            return numpy.abs(held)
        if held.dtype.kind == "f" or scale is None:
            return held.astype(numpy.float64)
        return (held.astype(numpy.float64) - scale[1]) * scale[0]


def _scale_of(detail: dict[str, Any]) -> tuple[float, int] | None:
    """(scale, zero point) of a quantized tensor; a scale of 0 says that there is none."""
    scale, zero_point = detail.get("quantization") or (0.0, 0)
    return (float(scale), int(zero_point)) if scale else None
