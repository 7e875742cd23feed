"""Images to calibrate integer activations on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Image: TypeAlias = npt.NDArray[np.float32]

_CELLS = (4, 16, 56)  # coarse to fine, in cells a side


def random_images(count: int, side: int, seed: int) -> Iterator[Image]:
    """Seeded RGB images, values 0 to 255, shape (1, side, side, 3).

    Patches of several sizes, so that like in a photograph most of the contrast is in the coarse
    structure: white noise would average out in the first layers and calibrate them too narrowly.
    """
    rng = np.random.default_rng(seed)
    for _ in range(count):
        image = np.zeros((side, side, 3))
        for rank, cells in enumerate(_CELLS, start=1):
            image += _patches(rng, cells, side) / rank
        low, high = np.min(image), np.max(image)
        yield ((image - low) * (255.0 / (high - low))).astype(np.float32)[np.newaxis]


def _patches(rng: np.random.Generator, cells: int, side: int) -> npt.NDArray[np.float64]:
    grid = rng.uniform(0.0, 1.0, (cells, cells, 3))
    nearest = np.arange(side) * cells // side
    return grid[nearest][:, nearest]


def calibration_set(
    images: Callable[[], Iterator[Image]],
    preprocess: Callable[[Image], Image],
    on_image: Callable[[int], None],
) -> Callable[[], Iterator[list[Image]]]:
    """What the converter calls for its representative data set; it may do so more than once.

    ``on_image`` is told how many images have been handed out.
    """

    def generate() -> Iterator[list[Image]]:
        for number, image in enumerate(images(), start=1):
            yield [preprocess(image)]
            on_image(number)

    return generate
