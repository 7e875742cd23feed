"""How an image is brought to a model's size, and where it then lies."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

#: Side of the part that ``crop`` keeps, as a share of the largest that fits: 224 of 256, as the
#: weights of Keras and torchvision were evaluated.
CROP_SHARE = 0.875
#: What ``letterbox`` fills with, in each channel.
PADDING = 114

Resize: TypeAlias = Literal["stretch", "crop", "letterbox"]


@dataclass(frozen=True)
class Geometry:
    """The size of a model's input in pixels, how an image is brought to it, and the order of its
    colours.

    ``stretch`` makes all of the image fit and changes its proportions; ``crop`` keeps the middle of
    it; ``letterbox`` keeps all of it and its proportions, centred, and fills what is left.
    """

    height: int
    width: int
    resize: Resize
    colour: Literal["rgb", "bgr"] = "rgb"


@dataclass(frozen=True, slots=True)
class Placement:
    """Where an original image lies in the model's input.

    ``width`` and ``height`` are the original's in pixels, ``input_width`` and ``input_height`` the
    model's. A pixel at x of the original is at ``left + scale_x * x`` of the input, and likewise
    with ``top`` and ``scale_y``. Stretching has no offset and two scales, a letterbox one scale and
    an offset.
    """

    width: int
    height: int
    input_width: int
    input_height: int
    scale_x: float
    scale_y: float
    left: float = 0.0
    top: float = 0.0


def placement_of(width: int, height: int, geometry: Geometry) -> Placement:
    """Return where an image of this size comes to lie."""
    size = (width, height, geometry.width, geometry.height)
    across, down = geometry.width / width, geometry.height / height
    if geometry.resize == "stretch":
        return Placement(*size, across, down)
    if geometry.resize == "crop":
        scale = max(across, down) / CROP_SHARE
        left, top = geometry.width - width * scale, geometry.height - height * scale
        return Placement(*size, scale, scale, left / 2, top / 2)
    # whole pixels, since that is what an image can be resized to
    scale = min(across, down)
    wide, high = max(1, round(width * scale)), max(1, round(height * scale))
    left, top = (geometry.width - wide) // 2, (geometry.height - high) // 2
    return Placement(*size, wide / width, high / height, left, top)
