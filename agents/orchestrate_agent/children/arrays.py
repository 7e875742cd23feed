"""What the children with NumPy have in common: how arrays are drawn, and laid out for an input.

Standard library only: NumPy is the device's, and handed over.
"""

from __future__ import annotations

import argparse
import array
from typing import Any, Callable, Dict, List, Sequence, Tuple

from orchestrate_agent.children.measuring import INTEGER_BOUNDS, ChildError


def random_values(numpy: Any, random: Any, spec: Dict[str, Any]) -> Any:
    """Uniform values for an input of this name, shape and type: in the range asked for (low, high),
    else in that which ``benchmark_model`` draws from."""
    dtype, shape = numpy.dtype(spec["dtype"]), spec["shape"]
    if dtype.kind in "fc":
        return random.uniform(spec.get("low", -0.5), spec.get("high", 0.5), shape).astype(dtype)
    bounds = INTEGER_BOUNDS.get(dtype.name)
    if bounds is None:
        kind = "strings" if dtype.kind in "SOU" else "type %s" % dtype
        raise ChildError(
            "failed", "input %s takes %s, which is not fed here" % (spec["name"], kind)
        )
    low, high = int(spec.get("low", bounds[0])), int(spec.get("high", bounds[1]))
    return random.randint(low, high + 1, shape, dtype=numpy.int64).astype(dtype)


def prepared(numpy: Any, rows: Any, args: argparse.Namespace) -> Any:
    """Samples as float32, less ``--mean`` and divided by ``--std``, channel by channel."""
    values = rows.astype(numpy.float32)
    if args.mean:
        values -= numpy.array(args.mean, dtype=numpy.float32)
    if args.std:
        values /= numpy.array(args.std, dtype=numpy.float32)
    return values


class Table:
    """What each value of a byte becomes, channel by channel, found once and looked up from then on:
    most samples are pixels, and a table is quicker than arithmetic and the same to the bit."""

    def __init__(self, numpy: Any, args: argparse.Namespace, convert: Callable[[Any], Any]) -> None:
        """``convert`` makes of an array of bytes, channels last, what an input is given."""
        self._numpy = numpy
        self._convert = convert
        self._channels = max(len(args.mean), len(args.std), 1)
        self._columns: List[Any] = []

    def values(self, rows: Any) -> Any:
        """What the input is given of these samples."""
        numpy = self._numpy
        if self._channels > 1 and rows.shape[-1] != self._channels:
            return self._convert(rows)  # which says what is wrong with it
        if not self._columns:
            every = numpy.arange(256, dtype=numpy.uint8)
            table = self._convert(numpy.stack([every] * self._channels, axis=-1))
            columns = [numpy.ascontiguousarray(table[:, c]) for c in range(self._channels)]
            alike = all(numpy.array_equal(each, columns[0]) for each in columns)
            self._columns = columns[:1] if alike else columns
        if len(self._columns) == 1:
            return self._columns[0].take(rows)
        found = numpy.empty(rows.shape, self._columns[0].dtype)
        for place, column in enumerate(self._columns):
            found[..., place] = column.take(rows[..., place])
        return found


def length_of(numpy: Any, values: Any) -> float:
    """The Euclidean norm, without the threads that linear algebra would start for it."""
    return float(numpy.sqrt(numpy.square(values).sum()))


def doubles_of(values: Any) -> Sequence[float]:
    """The numbers of an array in order, in a quarter of the memory that a list of them takes."""
    return array.array("d", values.astype("float64", copy=False).tobytes())


def levels_of(numpy: Any, values: Any) -> Tuple[bytes, float, float]:
    """Values of 0 to 1 as bytes of 0 to 255, with the least and the largest of them. What is not a
    number is dark."""
    if not values.size:
        return b"", 0.0, 0.0
    low, high = float(values.min()), float(values.max())
    levels = numpy.rint(numpy.clip(numpy.nan_to_num(values), 0.0, 1.0) * 255.0)
    return levels.astype(numpy.uint8).tobytes(), low, high


def laid_out(numpy: Any, values: Any, name: str, wanted: Sequence[int]) -> Any:
    """The values in the shape of the input: as they are, with the channels first, or with sides of
    1 added or left out. Raises ChildError."""
    wanted = tuple(int(size) for size in wanted)
    if values.shape == wanted:
        return values
    if values.ndim == 4 and len(wanted) == 3 and values.shape[0] == 1:
        # a network of one image, without a dimension for the batch
        return laid_out(numpy, values, name, (1, *wanted))[0]
    if values.ndim == 4 and len(wanted) == 4:
        turned = values.transpose(0, 3, 1, 2)
        if turned.shape == wanted:
            return numpy.ascontiguousarray(turned)
    longer = [[size for size in shape[1:] if size != 1] for shape in (values.shape, wanted)]
    if values.shape[:1] == wanted[:1] and longer[0] == longer[1]:
        return values.reshape(wanted)
    raise ChildError(
        "incompatible",
        "the samples have shape %s, and input %s takes %s; prepare them in the model's own size "
        "(`preprocessing:` in the suite)" % (list(values.shape), name, list(wanted)),
    )
