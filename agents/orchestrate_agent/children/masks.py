"""The masks of one sample, as a trial of accuracy tells them: the pixels of each place's object.

A network gives a mask either for the inside of each box (28 × 28 pixels, say) or for a whole image.
A small one is told by its levels, 0 to 255 for 0 to 1, since it is stretched over its box before
anybody asks which pixels belong to the object; a large one by the lengths of its runs, row by row,
the first of them dark: those below one half. Both are deflated, all of a sample's together::

    {"places": [0, 3], "size": [28, 28], "form": "levels", "data": …, "low": 0.0, "high": 1.0,
     "left_out": 0}

Places stand in the order of falling scores. No more than ``MOST_PLACES`` are told, and no more than
fit ``MOST_BYTES``; of the others there is the number.

Standard library only: what an output holds arrives as levels.
"""

from __future__ import annotations

import array
import base64
import math
import sys
import zlib
from typing import Any, Dict, List, Optional, Sequence

from orchestrate_agent.children.measuring import ChildError
from orchestrate_agent.children.outputs import Output

#: Masks of a sample that are told; COCO looks at no more boxes of an image and category.
MOST_PLACES = 100
#: Characters of a sample's masks on its line: eight samples fit what an agent keeps of a process.
MOST_BYTES = 96 * 1024
#: Pixels of a mask that is told by its levels.
MOST_LEVELS = 64 * 64
LEVELS, RUNS = "levels", "runs"

#: From this level on, one half of 255, a pixel belongs to the object.
_LIT_FROM = 128
_LIT = bytes(int(level >= _LIT_FROM) for level in range(256))


def mask_place(outputs: Sequence[Output], name: str) -> int:
    """Return which output holds the masks: the one of this name, else the largest, since exporters
    differ in names."""
    for place, output in enumerate(outputs):
        if output.name == name:
            return place
    return max(range(len(outputs)), key=lambda place: outputs[place].size)


def masks_of(output: Output, scores: Optional[Output]) -> Dict[str, Any]:
    """Return what is told of the masks of one sample. Raises ChildError for an output that holds
    none.

    ``scores`` has a value, or one for each class, for every place; None where the places stand in
    their order already.
    """
    if output.levels is None or len(output.shape) < 3:
        raise ChildError(
            "incompatible",
            "output %s of shape %s holds no masks: their last two sizes are height and width"
            % (output.name, list(output.shape)),
        )
    height, width = output.shape[-2:]
    area = height * width
    count = output.size // area if area else 0
    form = LEVELS if area <= MOST_LEVELS else RUNS
    told: List[bytes] = []
    bounds: List[float] = []
    places = best_places(scores, count)[:MOST_PLACES]
    for place in places:
        levels, low, high = output.levels(place * area, (place + 1) * area)
        told.append(levels if form == LEVELS else runs_of(levels))
        bounds += [low, high]
    kept = len(told)
    data = _packed(told)
    while len(data) > MOST_BYTES:
        kept = min(kept - 1, kept * MOST_BYTES // len(data))
        data = _packed(told[:kept])
    finite = all(map(math.isfinite, bounds))
    return {
        "places": places[:kept],
        "size": [height, width],
        "form": form,
        "data": data,
        "low": min(bounds) if bounds and finite else None,
        "high": max(bounds) if bounds and finite else None,
        "left_out": count - kept,
    }


def best_places(scores: Optional[Output], count: int) -> List[int]:
    """Return all places by their scores, the highest first; of equal ones the first comes first."""
    places = list(range(count))
    if scores is None or not count or scores.size % count:
        return places
    values, each = scores.values(1), scores.size // count
    if len(values) != scores.size or not each:
        return places
    best = [max(values[place * each : (place + 1) * each]) for place in places]
    return sorted(places, key=lambda place: -best[place] if best[place] == best[place] else 0.0)


def runs_of(levels: bytes) -> bytes:
    """Return the lengths of the runs of dark and lit pixels in turn, as 32-bit numbers,
    little-endian."""
    lit = levels.translate(_LIT)
    runs = array.array("I")
    place, wanted = 0, b"\x01"
    while place < len(lit):
        ends = lit.find(wanted, place)
        ends = len(lit) if ends < 0 else ends
        runs.append(ends - place)
        place, wanted = ends, b"\x00" if wanted == b"\x01" else b"\x01"
    if sys.byteorder == "big":
        runs.byteswap()
    return runs.tobytes()


def _packed(told: Sequence[bytes]) -> str:
    return base64.b64encode(zlib.compress(b"".join(told), 9)).decode("ascii")
