"""How an image is brought to a model's size, and the way back for what was found in it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

#: Side of the part that ``crop`` keeps, as a share of the largest that fits: 224 of 256, as the
#: weights of Keras and torchvision were evaluated.
CROP_SHARE = 0.875
#: What ``letterbox`` fills with, in each channel.
PADDING = 114

Resize: TypeAlias = Literal["stretch", "crop", "letterbox"]
#: left, top, right, bottom, in pixels
Box: TypeAlias = tuple[float, float, float, float]


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


@dataclass(frozen=True)
class Placement:
    """Where an image came to lie in a model's input.

    ``width`` and ``height`` are the image's own. A point (x, y) of the image, in pixels, lies at
    ``(x * scale_x + left, y * scale_y + top)`` of the input.
    """

    width: int
    height: int
    scale_x: float
    scale_y: float
    left: float
    top: float

    def inside(self, box: Box) -> Box:
        """Return where a box of the image, in its pixels, lies in the input."""
        left, top, right, bottom = box
        return (
            left * self.scale_x + self.left,
            top * self.scale_y + self.top,
            right * self.scale_x + self.left,
            bottom * self.scale_y + self.top,
        )

    def back(self, box: Box) -> Box:
        """Return where a box of the input, in its pixels, lies in the image: the inverse of
        :meth:`inside`. What lies beside the image is not cut off."""
        left, top, right, bottom = box
        return (
            (left - self.left) / self.scale_x,
            (top - self.top) / self.scale_y,
            (right - self.left) / self.scale_x,
            (bottom - self.top) / self.scale_y,
        )


def placement_of(width: int, height: int, geometry: Geometry) -> Placement:
    """Return where an image of this size comes to lie."""
    across, down = geometry.width / width, geometry.height / height
    if geometry.resize == "stretch":
        return Placement(width, height, across, down, 0.0, 0.0)
    if geometry.resize == "crop":
        scale = max(across, down) / CROP_SHARE
        left = (geometry.width - width * scale) / 2
        return Placement(width, height, scale, scale, left, (geometry.height - height * scale) / 2)
    # whole pixels, since that is what an image can be resized to
    scale = min(across, down)
    wide, high = max(1, round(width * scale)), max(1, round(height * scale))
    left, top = (geometry.width - wide) // 2, (geometry.height - high) // 2
    return Placement(width, height, wide / width, high / height, left, top)
