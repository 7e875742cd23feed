"""What the models of a catalogue make of an image before they look at it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Channels:
    """What is made of a pixel's channels of 0 to 255: ``(channel - mean) / std``.

    ``mean`` and ``std`` stand in the order of ``colour``.
    """

    colour: Literal["rgb", "bgr"]
    mean: tuple[float, ...]
    std: tuple[float, ...]


@dataclass(frozen=True)
class Preprocessing:
    """How an image becomes a model's input: its size in pixels, how it is brought to it, and what
    is made of its channels.

    ``resize`` is ``crop`` (the middle of it, with a side of 0.875 of what would fit), ``stretch``
    or ``letterbox``.
    """

    height: int
    width: int
    channels: Channels
    resize: Literal["stretch", "crop", "letterbox"] = "crop"
