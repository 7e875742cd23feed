"""The samples of a trial of accuracy: read from a shard, fed one batch after the other, answered.

A shard is a ``.npy`` file (NEP 1) with one sample a row, mapped into memory rather than read, so
that a node with little memory takes a large one. What a network answers to a sample is told on a
line of its own, so that nothing piles up here::

    @orchestrate-sample {"sample": 0, "outputs": [{"digest": …, "finite": true, "values": …}]}

An output whose shape is not that of the first sample's says so (``shape``), and one of masks has
them alone (``masks``, see there).

An output of few values is told whole (``values``: float32, little-endian, base64), a larger one by
its five largest values (``top``: place and value) and a ``sketch`` (see ``outputs``); of the larger
ones only some, so that what a shard answers is never more than an agent keeps of a process.

Standard library only: a child hands over what its runtime can do.
"""

from __future__ import annotations

import argparse
import array
import ast
import base64
import heapq
import math
import mmap
import struct
import sys
from typing import Any, Dict, List, Optional, Sequence, Tuple

from orchestrate_agent.children.masks import mask_place, masks_of
from orchestrate_agent.children.measuring import ChildError, SaySample, numbers
from orchestrate_agent.children.outputs import Output, digest_of, stride_of, sums_of

#: Largest values of an output that are told.
TOP = 5
#: Sums of an answer's sketch.
SKETCH = 64
#: Values of an answer that its sketch is of; of larger ones every so many.
MOST_SKETCHED = 65536
#: Larger outputs that are told by more than their digest: one for each so many values that may be
#: told whole, and no more than ``MOST_LARGE``.
WHOLE_PER_LARGE, MOST_LARGE = 64, 8
#: Bytes of a shard that are read before they are given back to the system, which would else count
#: them as this process's.
_HELD_BYTES = 8 * 2**20
#: The longest header of a ``.npy`` file that is read; ours have some 100 bytes.
_LONGEST_HEADER = 65536

#: What a shard may hold, by the name that NumPy writes, with the bytes of a value.
TYPES = {
    "|u1": ("uint8", 1),
    "|i1": ("int8", 1),
    "<i2": ("int16", 2),
    "<i4": ("int32", 4),
    "<i8": ("int64", 8),
    "<f4": ("float32", 4),
}


def add_samples(parser: argparse.ArgumentParser) -> None:
    """The options of a trial of accuracy."""
    parser.add_argument("--samples", metavar="PATH", help="a shard; nothing is timed then")
    parser.add_argument(
        "--mean", type=numbers, default=[], help="per channel, taken away from a value"
    )
    parser.add_argument(
        "--std", type=numbers, default=[], help="per channel, what is left divided by it"
    )
    parser.add_argument(
        "--whole", type=int, default=SKETCH, help="values of a sample that are told as they are"
    )
    parser.add_argument("--masks", metavar="NAME", help="the output that holds masks")
    parser.add_argument(
        "--mask-scores", metavar="NAME", help="the output by which the best masks are told"
    )


class Shard:
    """A ``.npy`` file, mapped. Raises ChildError where it is not one of those that are sent."""

    def __init__(self, path: str) -> None:
        try:
            with open(path, "rb") as file:
                self._content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except (OSError, ValueError) as error:
            raise ChildError("failed", "cannot read the samples %s: %s" % (path, error)) from error
        try:
            begins, header = self._header()
            self.dtype, size = TYPES[header["descr"]]
            shape = tuple(int(side) for side in header["shape"])
            rows = bool(shape) and not header["fortran_order"]
        except (KeyError, SyntaxError, TypeError, ValueError, struct.error) as error:
            raise ChildError(
                "failed", "%s is not a shard of samples: %s" % (path, error)
            ) from error
        if not rows:
            raise ChildError("failed", "%s has no samples as its rows" % path)
        self.count, self.shape = shape[0], shape[1:]
        self._begins = begins
        self._given_back = 0
        self._row = size
        for side in self.shape:
            self._row *= side
        if begins + self.count * self._row != len(self._content):
            raise ChildError("failed", "%s is not as long as its header says" % path)

    def _header(self) -> Tuple[int, Dict[str, Any]]:
        content = self._content
        if content[:6] != b"\x93NUMPY":
            raise ValueError("it has no NUMPY mark")
        wide = content[6] > 1
        (length,) = struct.unpack("<I" if wide else "<H", content[8 : 12 if wide else 10])
        begins = (12 if wide else 10) + length
        if length > _LONGEST_HEADER:
            raise ValueError("its header has %d bytes" % length)
        header = ast.literal_eval(content[begins - length : begins].decode("latin-1"))
        return begins, dict(header)

    def rows(self, first: int, count: int) -> bytes:
        """The bytes of ``count`` samples; behind the last one stands the last one again."""
        have = min(count, self.count - first)
        start = self._begins + first * self._row
        content = self._content[start : start + have * self._row]
        self._give_back(start)
        return content + (count - have) * content[len(content) - self._row :]

    def _give_back(self, until: int) -> None:
        """Drop the pages before this place from memory, where the system can, now and then."""
        until -= until % mmap.PAGESIZE
        if until - self._given_back >= _HELD_BYTES and hasattr(mmap, "MADV_DONTNEED"):
            self._content.madvise(mmap.MADV_DONTNEED, self._given_back, until - self._given_back)
            self._given_back = until


def answer_samples(
    answering: Any, inputs: int, args: argparse.Namespace, say: SaySample
) -> Dict[str, Any]:
    """Feed every sample of the shard, a batch at a time, and say what was answered; returns what
    the result line says of all of them. Raises ChildError.

    ``answering`` is the child's: ``feed_samples`` takes the bytes of a batch of rows, and
    ``answer_batch`` runs an inference and gives the outputs of each sample of the batch. ``inputs``
    counts what the model takes.
    """
    shard = Shard(args.samples)
    if inputs != 1:
        raise ChildError(
            "incompatible",
            "the model has %d inputs, and samples are fed to models of one" % inputs,
        )
    described: Sequence[Output] = ()
    for first in range(0, shard.count, args.batch):
        answering.feed_samples(shard, args, shard.rows(first, args.batch))
        answered = answering.answer_batch(args.batch)
        for place in range(min(args.batch, shard.count - first)):
            outputs = answered[place]
            described = described or outputs
            told = answer_of(outputs, args.whole, args.masks, args.mask_scores)
            for each, output, usual in zip(told, outputs, described):
                if output.shape != usual.shape:
                    each["shape"] = list(output.shape)
            say({"sample": first + place, "outputs": told})
    return {
        "samples": shard.count,
        "answered": [
            {"name": each.name[:200], "shape": list(each.shape), "dtype": each.dtype}
            for each in described
        ],
    }


def answer_of(
    outputs: Sequence[Output],
    whole: int,
    masks: Optional[str] = None,
    scores: Optional[str] = None,
) -> List[Dict[str, Any]]:
    """What is told of one sample's outputs, of which ``whole`` values as they are.

    ``masks`` names the output that holds masks, if one does, and ``scores`` the one by which the
    best of them are told.
    """
    told = []
    large = min(MOST_LARGE, max(1, whole // WHOLE_PER_LARGE))
    masked = mask_place(outputs, masks) if masks and outputs else None
    for place, output in enumerate(outputs):
        if place == masked:
            ranked = next((each for each in outputs if each.name == scores), None)
            found = masks_of(output, ranked)
            finite = found["low"] is not None or not found["places"]
            told.append({"digest": digest_of(output.content), "finite": finite, "masks": found})
            continue
        values = output.values(1)
        # a sum is finite only where all of its values are, and is quick
        finite = math.isfinite(sum(values)) or all(map(math.isfinite, values))
        each: Dict[str, Any] = {"digest": digest_of(output.content), "finite": finite}
        if len(values) <= whole:
            whole -= len(values)
            each["values"] = packed(values)
        elif finite and large:
            large -= 1
            each["top"] = top_of(values)
            seen = values[:: stride_of(len(values), MOST_SKETCHED)]
            each["sketch"] = packed(sums_of(seen, SKETCH))
        told.append(each)
    return told


def top_of(values: Sequence[float]) -> List[List[Any]]:
    """Return place and value of the largest values; of equal ones the first comes first."""
    best: List[List[Any]] = []
    for value in heapq.nlargest(TOP, values):  # quick, for it asks for no place
        again = bool(best) and best[-1][1] == value
        best.append([values.index(value, best[-1][0] + 1 if again else 0), value])
    return best


def packed(values: Sequence[float]) -> str:
    """Return the values as float32, little-endian, in base64."""
    numbers = array.array("f", values)
    if sys.byteorder == "big":
        numbers.byteswap()
    return base64.b64encode(numbers.tobytes()).decode("ascii")
