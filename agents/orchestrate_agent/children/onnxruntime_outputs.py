"""Feeding an ``.onnx`` graph given values and reading what it answers.

A quantized file of this kind takes and gives real numbers all the same: what is inside converts.
"""

from __future__ import annotations

import argparse
from typing import Any, Callable, Dict, List, Sequence, Tuple

from orchestrate_agent.children.arrays import (
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
    """A graph that is asked for its outputs.

    ``inputs`` say what it takes: name, shape, type. ``names`` are those of its outputs, and ``run``
    runs an inference on arrays by the inputs' names. ``draw`` draws values for one input as for
    timing.
    """

    def __init__(
        self,
        numpy: Any,
        inputs: Sequence[Dict[str, Any]],
        names: Sequence[str],
        run: Callable[[Dict[str, Any]], Sequence[Any]],
        draw: Callable[[Any, Dict[str, Any]], Any],
    ) -> None:
        self._numpy = numpy
        self._inputs = inputs
        self._names = names
        self._run = run
        self._draw = draw
        self._fed: Dict[str, Any] = {}

    def answer_seeded(self, bounds: Sequence[float]) -> Tuple[float, List[Output]]:
        """What it answers to the same values in every process; nothing is lost in feeding them, but
        for the rounding of an input in half precision."""
        numpy, worst = self._numpy, 0.0
        random = numpy.random.RandomState(INPUT_SEED)
        for each in self._inputs:
            if "float" not in each["dtype"]:
                self._fed[each["name"]] = self._draw(random, each)
                continue
            low, high = each.get("low", bounds[0]), each.get("high", bounds[1])
            values = random.uniform(low, high, each["shape"])
            fed = values.astype(each["dtype"])
            self._fed[each["name"]] = fed
            length = length_of(numpy, values)
            if length:
                worst = max(worst, length_of(numpy, fed - values) / length)
        return worst, self._outputs(self._run(self._fed))

    def feed_samples(self, shard: Shard, args: argparse.Namespace, content: bytes) -> None:
        """Feed one batch of rows, less ``--mean`` and divided by ``--std``, channel by channel."""
        (spec,), numpy = self._inputs, self._numpy
        rows = numpy.frombuffer(content, dtype=shard.dtype).reshape((args.batch, *shard.shape))
        values = prepared(numpy, rows, args) if "float" in spec["dtype"] else rows
        values = values.astype(spec["dtype"])
        self._fed = {spec["name"]: laid_out(numpy, values, spec["name"], spec["shape"])}

    def answer_batch(self, batch: int) -> List[List[Output]]:
        """Run an inference; the outputs of each of the batch's samples."""
        arrays = self._run(self._fed)
        if batch == 1:
            return [self._outputs(arrays)]
        for array in arrays:
            if not array.ndim or array.shape[0] != batch:
                raise ChildError(
                    "incompatible",
                    "the graph makes an output of shape %s of %d items"
                    % (list(array.shape), batch),
                )
        return [self._outputs([a[place : place + 1] for a in arrays]) for place in range(batch)]

    def _outputs(self, arrays: Sequence[Any]) -> List[Output]:
        return [self._output(name, held) for name, held in zip(self._names, arrays)]

    def _output(self, name: str, held: Any) -> Output:
        if not hasattr(held, "dtype"):
            raise TypeError("output %s is a %s, not a tensor" % (name, type(held).__name__))
        if held.dtype.kind not in "fiub":  # of strings the bytes alone can be compared
            return Output(name, (0,), "string", repr(held.tolist()).encode(), lambda every: [])
        return Output(
            name,
            tuple(held.shape),
            held.dtype.name,
            held.tobytes(),
            lambda every: doubles_of(held.reshape(-1)[::every]),
            levels=lambda first, end: levels_of(
                self._numpy, held.reshape(-1)[first:end].astype("float64")
            ),
        )
