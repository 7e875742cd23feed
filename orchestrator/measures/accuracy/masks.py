"""Masks as a device told them, and the pixels of the original image that they mean. Pure.

The device's side is ``orchestrate_agent.children.masks``. A mask of a box is stretched over it as
Detectron2 does, by the authors of Mask R-CNN: the ends of the box are the outer ends of the mask's
pixels, values between their centres are interpolated, beyond them lies 0, and a pixel of the image
belongs to the object where its centre has one half or more.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from orchestrator.measures.accuracy.geometry import Placement

Levels: TypeAlias = "NDArray[np.uint8]"
Lit: TypeAlias = "NDArray[np.bool_]"

#: What a mask may be of: the inside of its box, the model's input, or the original image.
COVERS = ("box", "input", "image")

_FULL = 255
_HALF = 127.5
LEVELS, RUNS = "levels", "runs"
#: No child tells more of a sample.
_MOST_PLACES, _LARGEST_SIDE, _MOST_LEVELS = 100, 16384, 64 * 64
#: Runs of a sample: what is deflated may stand for a thousand times as much.
_MOST_RUNS_BYTES = 64 * 2**20
#: What rounding makes of a share of 1.
_BEYOND = 0.01


@dataclass(frozen=True, slots=True, eq=False)
class Masks:
    """The masks of some places of an output, of the highest scores first.

    Each is ``height`` × ``width``, packed as ``form`` says. ``low`` and ``high`` are the least and
    the largest value, None where there is none or one is not finite. ``left_out`` places have a
    mask that was not told.
    """

    places: tuple[int, ...]
    height: int
    width: int
    form: str
    packed: bytes
    low: float | None
    high: float | None
    left_out: int

    def __post_init__(self) -> None:
        sides = min(self.height, self.width), max(self.height, self.width)
        if self.form not in (LEVELS, RUNS) or sides[0] < 1 or sides[1] > _LARGEST_SIDE:
            raise ValueError(f"masks of {self.height} × {self.width} {self.form!r} are not told")
        if self.form == LEVELS and self.height * self.width > _MOST_LEVELS:
            raise ValueError(f"masks of {self.height} × {self.width} are too large for levels")
        if len(self.places) > _MOST_PLACES or len(set(self.places)) < len(self.places):
            raise ValueError("too many masks, or one twice")
        if self.left_out < 0 or any(place < 0 for place in self.places):
            raise ValueError("masks of less than no place")

    def decoded(self) -> Iterator[tuple[int, Levels]]:
        """Yield each place with its levels, 0 to 255, [height, width]. Raises ValueError where they
        are not what a device packs."""
        area = self.height * self.width
        if self.form == LEVELS:
            levels = np.frombuffer(_unpacked(self.packed, len(self.places) * area), np.uint8)
            if levels.size != len(self.places) * area:
                raise ValueError("the masks end before they are whole")
            shaped = levels.reshape(-1, self.height, self.width)
            for place, mask in zip(self.places, shaped, strict=True):
                yield place, mask
            return
        content = _unpacked(self.packed, _MOST_RUNS_BYTES)
        runs = np.frombuffer(content[: len(content) // 4 * 4], "<u4").astype(np.int64)
        # each mask's runs end where they have filled it
        ends = np.cumsum(runs)
        begin = 0
        for number, place in enumerate(self.places, start=1):
            end = int(np.searchsorted(ends, number * area)) + 1
            if end > len(ends) or ends[end - 1] != number * area:
                raise ValueError("the runs of a mask do not fill it")
            own = runs[begin:end]
            lit = np.repeat(np.arange(len(own)) % 2 == 1, own)
            yield place, (lit * np.uint8(_FULL)).reshape(self.height, self.width)
            begin = end

    @property
    def are_shares(self) -> bool:
        """Whether the values lie between 0 and 1, as a share or a yes and no do."""
        return (self.low is None or self.low >= -_BEYOND) and (
            self.high is None or self.high <= 1 + _BEYOND
        )


def _unpacked(packed: bytes, most_bytes: int) -> bytes:
    """Inflate no more than so many bytes. Raises ValueError."""
    try:
        inflating = zlib.decompressobj()
        content = inflating.decompress(packed, most_bytes + 1)
    except zlib.error as exc:
        raise ValueError(f"masks that cannot be unpacked: {exc}") from exc
    if len(content) > most_bytes:
        raise ValueError("masks of more pixels than are told")
    return content


def pasted(levels: Levels, box: Sequence[float], width: int, height: int) -> Lit:
    """Return the pixels of an image that a mask of a box means, [height, width]; ``box`` is left,
    top, right, bottom in pixels of the image."""
    # column after column, as masks are encoded
    found: Lit = np.zeros((height, width), dtype=bool, order="F")
    left, top, right, bottom = box
    if not (right > left and bottom > top):
        return found
    # a pixel beyond the box has less than half of what lies at its edge
    columns = np.arange(*_within(left, right, width))
    rows = np.arange(*_within(top, bottom, height))
    if not len(columns) or not len(rows):
        return found
    across = _weights((columns + 0.5 - left) / (right - left), levels.shape[1])
    down = _weights((rows + 0.5 - top) / (bottom - top), levels.shape[0])
    values = down @ levels.astype(np.float64) @ across.T
    found[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] = values >= _HALF
    return found


def _within(low: float, high: float, size: int) -> tuple[int, int]:
    """The first pixel whose centre may lie in a side of a box, and the one after the last."""
    first = max(0, math.floor(max(low, -1.0)))
    return first, min(size, math.ceil(min(high, size + 1.0)))


def _weights(shares: NDArray[np.floating[Any]], pixels: int) -> NDArray[np.floating[Any]]:
    """How much each pixel of a mask's row counts at these places of it, 0 to 1, as [places,
    pixels]; pixels beyond the row count as dark."""
    at = shares * pixels - 0.5
    weights: NDArray[np.floating[Any]] = np.maximum(
        0.0, 1.0 - np.abs(at[:, np.newaxis] - np.arange(pixels))
    )
    return weights


def spread(levels: Levels, cover: str, placement: Placement) -> Lit:
    """Return the pixels of the original image that a mask of all of the model's input, or of all of
    the image, means: of each the nearest of the mask."""
    x = np.arange(placement.width) + 0.5
    y = np.arange(placement.height) + 0.5
    if cover == "input":
        x = (placement.left + placement.scale_x * x) / placement.input_width
        y = (placement.top + placement.scale_y * y) / placement.input_height
    else:
        x, y = x / placement.width, y / placement.height
    columns, inside_x = _nearest(x, levels.shape[1])
    rows, inside_y = _nearest(y, levels.shape[0])
    lit: Lit = levels[np.ix_(rows, columns)] > _HALF
    return lit & inside_y[:, np.newaxis] & inside_x


def _nearest(shares: NDArray[np.floating[Any]], pixels: int) -> tuple[NDArray[Any], Lit]:
    """The pixel of a row that lies at each share of it, and whether there is one."""
    places = np.floor(shares * pixels).astype(np.int64)
    return np.clip(places, 0, pixels - 1), (places >= 0) & (places < pixels)


def of_image(levels: Levels, cover: str, box: Sequence[float], placement: Placement) -> Lit:
    """Return the pixels of the original image that a mask means; ``cover`` is one of ``COVERS``."""
    if cover == "box":
        return pasted(levels, box, placement.width, placement.height)
    return spread(levels, cover, placement)
