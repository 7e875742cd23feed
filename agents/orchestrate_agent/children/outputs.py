"""What a network answers, as a measuring child tells it: a summary of every output.

A runtime can load a network, run it, and yield nothing but zeros, without a word. So a child runs
one more inference once its times are taken, on inputs that are the same in every process, and
reports of each output what it takes to see that something was computed, and whether two processes
computed the same.

Standard library only: an output arrives as plain numbers and as the bytes that they were.
"""

from __future__ import annotations

import hashlib
import math
from functools import lru_cache
from itertools import accumulate
from operator import itemgetter, mul
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence, Tuple

#: Values of an output that are looked at; of larger ones every so many. The digest is of all.
MOST_VALUES = 16384
#: Outputs that are summarised; those that a network has beyond are left out.
MOST_OUTPUTS = 8
#: Sums of a sketch.
SKETCH = 64
#: Different values that are counted.
MOST_DISTINCT = 1000
#: Hexadecimal digits of a digest.
DIGEST = 16


class Output(NamedTuple):
    """One output of one inference.

    ``values`` gives every so many of its real values, those of a quantized output multiplied out.
    ``content`` is the output's bytes. ``step`` is the distance of two neighbouring values of a
    quantized output, None of any other. ``levels`` gives the values from one place to another as
    bytes, 0 to 255 for 0 to 1, with the least and the largest of them; None of what is not numbers.
    """

    name: str
    shape: Tuple[int, ...]
    dtype: str
    content: bytes
    values: Callable[[int], Sequence[float]]
    step: Optional[float] = None
    levels: Optional[Callable[[int, int], Tuple[bytes, float, float]]] = None

    @property
    def size(self) -> int:
        """How many values it has."""
        count = 1
        for size in self.shape:
            count *= size
        return count


def checked(answer: Callable[[], Tuple[float, Sequence[Output]]]) -> Dict[str, Any]:
    """What the result line says of the outputs: their summaries, or why there are none.

    ``answer`` gives by what share the file's own numbers changed what was fed, and the outputs.
    Times that were taken are not lost to an answer that cannot be had.
    """
    try:
        error, outputs = answer()
        return {
            "input_error": _rounded(error),
            "outputs": [summary_of(output) for output in outputs[:MOST_OUTPUTS]],
        }
    # whatever it is: memory that is short, too, and TorchScript's errors are of no common kind
    except Exception as error:  # noqa: BLE001
        return {"outputs": None, "outputs_error": " ".join(str(error).split())[:1000]}


def stride_of(size: int, most: int) -> int:
    """Return every how many of ``size`` values are looked at, so that they are at most ``most``.

    It has no divisor in common with their number, so that no channel of an output is left out: with
    a multiple of three only the first colour of an image would be seen.
    """
    every = max(1, -(-size // most))
    while math.gcd(every, size) > 1:
        every += 1
    return every


def digest_of(content: bytes) -> str:
    """What is equal for two outputs where every byte of them is."""
    return hashlib.sha256(content).hexdigest()[:DIGEST]


def summary_of(output: Output) -> Dict[str, Any]:
    """A few hundred bytes that stand for an output.

    ``seen`` values were looked at; ``finite``, ``zeros`` and ``distinct`` count among them.
    ``mean``, ``deviation``, ``low`` and ``high`` are of the finite ones, None where there are none.
    There is no ``sketch`` of values that are not all finite.
    """
    every = stride_of(output.size, MOST_VALUES)
    values = output.values(every)
    finite = [value for value in values if math.isfinite(value)]
    mean = deviation = None
    if finite:
        mean = math.fsum(finite) / len(finite)
        deviation = math.sqrt(math.fsum((value - mean) ** 2 for value in finite) / len(finite))
    return {
        "name": output.name[:200],
        "shape": list(output.shape),
        "dtype": output.dtype,
        "seen": len(values),
        "finite": len(finite),
        "zeros": sum(1 for value in values if value == 0),
        "distinct": min(MOST_DISTINCT, len(set(finite))),
        "mean": _short(mean),
        "deviation": _short(deviation),
        "low": _short(min(finite, default=None)),
        "high": _short(max(finite, default=None)),
        "step": _short(output.step),
        "sketch": sketch_of(values, SKETCH) if len(finite) == len(values) else [],
        "digest": digest_of(output.content),
    }


def sketch_of(values: Sequence[float], size: int) -> List[float]:
    """``size`` sums of the values: each value is in one of them, with one of two signs.

    Distances and lengths of sketches are about those of the values themselves (the count sketch of
    Charikar, Chen and Farach-Colton 2002). A value's place decides on its sum and its sign, so that
    the sketches of two processes can be compared.
    """
    return [_rounded(each) for each in sums_of(values, size)]


def sums_of(values: Sequence[float], size: int) -> List[float]:
    """The sums of a sketch, unrounded: rounding them takes longer than adding them up."""
    if len(values) < 2:  # an itemgetter of one place gives no tuple
        values = [*values, *(2 - len(values)) * [0.0]]
    ordered, signs, ends = _order(len(values), size)
    terms = list(map(mul, ordered(values), signs))
    begins = [0, *ends]
    return [sum(terms[begin:end]) for begin, end in zip(begins, ends)]


@lru_cache(maxsize=8)
def _order(
    count: int, size: int
) -> Tuple[Callable[[Sequence[float]], Sequence[float]], List[float], List[int]]:
    """What puts ``count`` values into the order of their sums, the sign of each in that order, and
    where each sum ends there."""
    places = _places(count, size)
    order = sorted(range(count), key=lambda value: places[value][0])
    held = [0] * size
    for place, _ in places:
        held[place] += 1
    signs = [places[value][1] for value in order]
    return itemgetter(*order), signs, list(accumulate(held))


def _places(count: int, size: int) -> List[Tuple[int, float]]:
    """The sum that each of ``count`` values is in, and its sign there."""
    places, state = [], 1
    for _ in range(count):
        # a linear congruential generator with Knuth's constants: the same in every Python
        state = (state * 6364136223846793005 + 1442695040888963407) & 0xFFFFFFFFFFFFFFFF
        places.append(((state >> 33) % size, 1.0 if state >> 63 else -1.0))
    return places


def _short(value: Optional[float]) -> Optional[float]:
    return None if value is None or not math.isfinite(value) else _rounded(value)


def _rounded(value: float) -> float:
    """Six digits, which a comparison of sketches does not need more than."""
    return float("%.6g" % value)
