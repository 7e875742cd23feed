"""What a model is fed of a data set: the size of its images, and what is made of their values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from orchestrator.config.accuracy import Accuracy, OwnPreprocessing
from orchestrator.config.text import shown
from orchestrator.datasets.dataset import Dataset
from orchestrator.errors import UsageError
from orchestrator.frameworks.preprocessing import Preprocessing
from orchestrator.measures.accuracy.geometry import Geometry
from orchestrator.trial import InputSpec

_CHANNELS = 3


@dataclass(frozen=True)
class Feeding:
    """What becomes of a sample: ``(value - mean) / std``, by channel.

    Channels are the last dimension of a shard.

    ``geometry`` is how images are prepared, None for arrays. ``mean`` and ``std`` are one number,
    or one for each channel in the geometry's order of colours; empty where nothing is done. Where
    a model takes the channels, the shape of its input says on the device.
    """

    geometry: Geometry | None
    mean: tuple[float, ...]
    std: tuple[float, ...]


def feeding_of(
    section: Accuracy,
    dataset: Dataset,
    model: str,
    own: Preprocessing | None,
    inputs: tuple[InputSpec, ...],
    *,
    input_size: int = 0,
) -> Feeding:
    """Say what a model is fed.

    ``own`` is what the catalogue knows of it, ``inputs`` what its file takes, as far as anybody
    knows, and ``input_size`` the side that its input is resized to, 0 for its own. Raises
    UsageError where that does not fit the data, or where nobody says what images are made into.
    """
    if len(inputs) > 1:
        # without a signature, or an `input:` in the suite, they have no names here
        names = ", ".join(each.name or f"one of {list(each.shape)}" for each in inputs)
        raise UsageError(
            f"model {model}: takes {len(inputs)} inputs ({names}), and accuracy is measured with "
            "one; leave it out of this suite"
        )
    shape = inputs[0].shape if inputs else ()
    if dataset.arrays is not None:
        return _of_arrays(section, dataset, model, shape)
    preprocessing = section.preprocessing
    if preprocessing is None and own is None:
        raise UsageError(
            f"model {model}: `preprocessing: auto` knows the catalogue's models alone; write what "
            "it was trained with, for example `preprocessing: {size: 224, resize: crop, mean: "
            "[127.5, 127.5, 127.5], std: [127.5, 127.5, 127.5]}`"
        )
    height, width = _size(preprocessing, own, model, shape, input_size)
    _layout(model, shape)
    if preprocessing is not None:
        # images have it: the section's own check
        resize = preprocessing.resize or "stretch"
        geometry = Geometry(height, width, resize, preprocessing.colour)
        return Feeding(geometry, preprocessing.mean, preprocessing.std)
    if own is None:
        raise ValueError("nobody says what images are made into")
    channels = own.channels
    geometry = Geometry(height, width, own.resize, channels.colour)
    return Feeding(geometry, channels.mean, channels.std)


def _size(
    written: OwnPreprocessing | None,
    own: Preprocessing | None,
    model: str,
    shape: tuple[int, ...],
    input_size: int,
) -> tuple[int, int]:
    """Height and width of the model's input."""
    if input_size:
        return (input_size, input_size)
    first = _layout(model, shape) == "nchw"
    # the first dimension, that of the batch, may not be there
    has = () if not shape else shape[-2:] if first else shape[-3:-1]
    if min(has, default=0) < 1:  # left open
        has = ()
    said = None if written is None else written.size
    if said is None and own is not None:
        said = (own.height, own.width)
    if said is None and not has:
        raise UsageError(
            f"model {model}: nothing says how large its input is; write it, for example "
            "`preprocessing: {size: 224, …}`"
        )
    if said is not None and has and said != has:
        raise UsageError(
            f"model {model}: its input is {has[0]} × {has[1]} pixels, and `preprocessing` says "
            f"{said[0]} × {said[1]}; correct `size`, or leave it out"
        )
    height, width = said or has
    return height, width


def _layout(model: str, shape: tuple[int, ...]) -> Literal["nhwc", "nchw"] | None:
    """Where the channels stand; None where nobody knows. UsageError for what is not an image."""
    if not shape:
        return None
    if len(shape) in (3, 4) and shape[-1] == _CHANNELS:
        return "nhwc"
    if len(shape) in (3, 4) and shape[-3] == _CHANNELS:
        return "nchw"
    raise UsageError(
        f"model {model}: its input has the shape {list(shape)}, which is not an image's of three "
        "channels; give it its samples in a .npz file"
    )


def _of_arrays(section: Accuracy, dataset: Dataset, model: str, shape: tuple[int, ...]) -> Feeding:
    written = section.preprocessing
    rows = dataset.row_shape
    if shape and _plain(shape[1:]) != _plain(rows):
        raise UsageError(
            f"model {model}: takes {list(shape[1:])} values, and a row of x in {dataset.source} "
            f"has the shape {list(rows)}; reshape x"
        )
    if written is None and dataset.row_type == "uint8":
        raise UsageError(
            f"data set {dataset.source}: x holds {shown(dataset.row_type)}, and nothing says what "
            f"{model} is fed of it; write for example `preprocessing: {{mean: 127.5, std: 127.5}}`,"
            " or `{mean: 0, std: 1}` for the values as they are"
        )
    if written is None:
        return Feeding(None, (), ())
    wide = max(len(written.mean), len(written.std))
    if wide > 1 and (not rows or rows[-1] != wide):
        raise UsageError(
            f"data set {dataset.source}: `mean` and `std` have {wide} channels, and a row of x has "
            f"the shape {list(rows)}; channels stand last"
        )
    return Feeding(None, written.mean, written.std)


def _plain(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape without the dimensions of 1, which change no order."""
    return tuple(side for side in shape if side != 1)
