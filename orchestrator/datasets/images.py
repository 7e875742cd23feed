"""Image files → pixels of a model's size. The only module that needs Pillow for data sets."""

from __future__ import annotations

import hashlib
import importlib.util
import io
import struct
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from orchestrator.datasets.dataset import Item
from orchestrator.errors import UsageError
from orchestrator.measures.accuracy.geometry import PADDING, Geometry, Placement, placement_of
from orchestrator.plain_files import read_named

#: What is decoded; some others of Pillow's start programs.
_FORMATS = ("BMP", "GIF", "JPEG", "PNG", "WEBP")
#: More than a camera makes. A few kB can claim to be larger and fill the memory.
_MOST_PIXELS = 80_000_000
_MOST_BYTES = 256 * 2**20
_ORIENTATION = 0x0112
#: Of small pictures for a page.
_QUALITY = 75

Pixels = npt.NDArray[np.uint8]


def check_pillow() -> None:
    """Raise UsageError where this Python cannot read images."""
    if importlib.util.find_spec("PIL") is None:
        raise UsageError(
            "images are read with Pillow, which is not installed: `pip install "
            "'orchestrate-quantized[accuracy]'`"
        )


def pillow_version() -> str:
    """The version of the library whose decoders and filters make the pixels."""
    import PIL  # noqa: PLC0415  # an extra

    return str(PIL.__version__)


def pixels_of(item: Item, geometry: Geometry) -> Pixels:
    """Return the image's pixels (height, width, 3). UsageError names a file that cannot be read.

    A grey image has three equal channels, what is transparent is white, an orientation that a
    camera noted is applied, and of an animation the first picture counts.
    """
    if item.path is None:
        raise ValueError(f"{item.key} is not an image")
    image = _decoded(item.path, item)
    place = placement_of(image.width, image.height, geometry)
    pixels = np.asarray(_fitted(image, geometry, place), dtype=np.uint8)
    return pixels if geometry.colour == "rgb" else pixels[:, :, ::-1]


def thumbnail_of(content: bytes, path: Path, side: int) -> bytes:
    """Return a file's image as a JPEG of ``side`` pixels at most, with nothing else that the file
    holds: no place, no camera, no comment. UsageError names a file that cannot be read."""
    from PIL import Image  # noqa: PLC0415  # an extra

    image = _decoded_content(content, path, Item(path.name, path=path))
    longer = max(image.size)
    if longer > side:
        image.thumbnail((side, side))
    elif longer <= side // 2:  # of a few pixels, each is shown as a square
        times = side // longer
        size = image.width * times, image.height * times
        image = image.resize(size, Image.Resampling.NEAREST)
    bare = Image.new("RGB", image.size)
    bare.paste(image)
    written = io.BytesIO()
    bare.save(written, "JPEG", quality=_QUALITY)
    return written.getvalue()


def _fitted(image: Any, geometry: Geometry, place: Placement) -> Any:
    """The image at the model's size. Only what is kept is computed, however odd its proportions."""
    from PIL import Image  # noqa: PLC0415  # an extra

    whole = (geometry.width, geometry.height)
    if geometry.resize != "letterbox":
        # the part of the image that fills the input
        left, top = -place.left / place.scale_x, -place.top / place.scale_y
        right, bottom = image.width - left, image.height - top
        box = (max(left, 0), max(top, 0), min(right, image.width), min(bottom, image.height))
        return image.resize(whole, Image.Resampling.BILINEAR, box=box)
    size = (round(place.scale_x * image.width), round(place.scale_y * image.height))
    ground = Image.new("RGB", whole, (PADDING,) * 3)
    resized = image.resize(size, Image.Resampling.BILINEAR)
    ground.paste(resized, (int(place.left), int(place.top)))
    return ground


def _decoded(path: Path, item: Item) -> Any:
    """The image of a file in three channels, upright."""
    try:
        content = read_named(path, most_bytes=_MOST_BYTES)
    except OSError as exc:
        raise _unreadable(path, exc.strerror or str(exc)) from exc
    if item.sha256 not in (None, hashlib.sha256(content).hexdigest()):
        raise UsageError(f"image {path}: has changed since the samples were drawn; start again")
    return _decoded_content(content, path, item)


def _decoded_content(content: bytes, path: Path, item: Item) -> Any:
    from PIL import Image, UnidentifiedImageError  # noqa: PLC0415  # an extra

    try:
        with warnings.catch_warnings():
            # of images that are odd but can be read; the size is looked at here
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(content), formats=_FORMATS) as opened:
                _check_size(opened, path)
                return _in_rgb(_upright(opened, path, item))
    except UsageError:
        raise
    except UnidentifiedImageError as exc:
        raise _unreadable(path, f"it is none of {', '.join(_FORMATS)}") from exc
    # files of others: a decoder may raise whatever its mistakes are
    except Exception as exc:
        raise _unreadable(path, str(exc) or type(exc).__name__) from exc


def _check_size(opened: Any, path: Path) -> None:
    if opened.width * opened.height > _MOST_PIXELS:
        size = f"{opened.width} × {opened.height} pixels"
        raise _unreadable(path, f"{size} are more than an image of a data set has")


def _unreadable(path: Path, why: str) -> UsageError:
    return UsageError(
        f"image {path}: cannot be read ({why[:200]}); restore it, or take it out of the data set"
    )


def _upright(opened: Any, path: Path, item: Item) -> Any:
    """The image as its orientation says, if that is what its annotations are for."""
    from PIL import ImageOps  # noqa: PLC0415  # an extra

    stored = opened.size
    try:
        turned = ImageOps.exif_transpose(opened)
    except (KeyError, struct.error, SyntaxError, TypeError, ValueError):
        turned = opened  # notes that nothing can read; every viewer shows it as it is stored
    if item.size is None or turned.size == item.size:
        return turned
    if stored == item.size:
        return opened
    raise UsageError(
        f"image {path}: has {turned.width} × {turned.height} pixels, and its annotations are for "
        f"{item.size[0]} × {item.size[1]}; use the images that the annotations belong to"
    )


def _in_rgb(image: Any) -> Any:
    from PIL import Image  # noqa: PLC0415  # an extra

    if image.mode.startswith("I"):  # 16 bits of grey, which Pillow would cut off at 255
        grey = np.asarray(image).astype(np.int64)
        return Image.fromarray((grey >> 8 if grey.max() > 255 else grey).astype(np.uint8)).convert(
            "RGB"
        )
    if "transparency" not in image.info and image.mode not in ("RGBA", "LA", "PA", "RGBa", "La"):
        return image.convert("RGB")
    over = image.convert("RGBA")
    ground = Image.new("RGBA", over.size, "white")
    ground.alpha_composite(over)
    return ground.convert("RGB")
