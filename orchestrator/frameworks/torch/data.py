"""Images for PyTorch models, to calibrate and to train on. Imports torch: build children only."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from orchestrator.errors import ModelBuildError
from orchestrator.frameworks.building import (
    BuildOptions,
    representative_data,
    representative_images,
)
from orchestrator.frameworks.images import Image, random_images
from orchestrator.frameworks.torch.catalog import (
    MEAN,
    STD,
    TRAINING,
    TRAINING_IMAGES,
    training_images,
)

#: Imagenette's classes, WordNet id → class of ImageNet. Classes of another data set are numbered
#: by name: what the loss then says is of that numbering alone.
_IMAGENETTE = {
    "n01440764": 0,
    "n02102040": 217,
    "n02979186": 482,
    "n03000684": 491,
    "n03028079": 497,
    "n03394916": 566,
    "n03417042": 569,
    "n03425413": 571,
    "n03445777": 574,
    "n03888257": 701,
}
_GENERATED_CLASSES = 10
_NOISE = 24.0  # standard deviation, of pixels from 0 to 255


@dataclass(frozen=True)
class TrainingSet:
    """Images (N, 3, height, width) and their classes; ``facts`` say what they are."""

    images: Any
    labels: Any
    facts: dict[str, Any]


def calibration_images(options: BuildOptions, side: int) -> Iterator[Any]:
    """The model's inputs (1, 3, side, side) that its ranges are found on."""
    if options.representative is None:
        count = int(representative_data(options)["count"])
        images = random_images(count, side, options.seed)
    else:
        images = (_pixels(path, side) for path in representative_images(options.representative))
    return (_input(image) for image in images)


def training_set(options: BuildOptions, side: int) -> TrainingSet:
    """The labelled images that ``qat_int8`` trains on. Raises ModelBuildError."""
    if options.dataset is None:
        return _generated(options.seed, TRAINING.generated_side)
    found = training_images(options.dataset)
    folders = sorted({image.folder for image in found})
    imagenette = all(folder in _IMAGENETTE for folder in folders)
    number = _IMAGENETTE if imagenette else {folder: i for i, folder in enumerate(folders)}
    return TrainingSet(
        images=torch.cat([_input(_pixels(image.path, side)) for image in found]),
        labels=torch.tensor([number[image.folder] for image in found]),
        facts={"side": side, "labels": "imagenet" if imagenette else "folders by name"},
    )


def _generated(seed: int, side: int) -> TrainingSet:
    """A pattern a class, and noise: little to learn, but a loss with a gradient."""
    rng = np.random.default_rng(seed)
    patterns = list(random_images(_GENERATED_CLASSES, side, seed + 1))
    labels = [number % _GENERATED_CLASSES for number in range(TRAINING_IMAGES)]
    noisy = (
        np.clip(patterns[label] + rng.normal(0, _NOISE, patterns[label].shape), 0, 255)
        for label in labels
    )
    return TrainingSet(
        images=torch.cat([_input(image.astype(np.float32)) for image in noisy]),
        labels=torch.tensor(labels),
        facts={"side": side, "labels": f"{_GENERATED_CLASSES} generated classes"},
    )


def _pixels(path: Path, side: int) -> Image:
    """(1, side, side, 3), 0 to 255. Raises ModelBuildError naming a file that cannot be read."""
    from PIL import Image as Pillow  # noqa: PLC0415  # generated images do without

    try:
        with Pillow.open(path) as opened:
            resized = opened.convert("RGB").resize((side, side), Pillow.Resampling.BILINEAR)
    except (OSError, ValueError, Pillow.DecompressionBombError) as exc:
        raise ModelBuildError(f"image {path}: cannot be read: {exc}") from exc
    return np.asarray(resized, dtype=np.float32)[np.newaxis]


def _input(image: Image) -> Any:
    """Pixels (1, height, width, 3) as a model of torchvision takes them."""
    scaled = (image / 255.0 - np.asarray(MEAN)) / np.asarray(STD)
    return torch.from_numpy(np.ascontiguousarray(scaled.transpose(0, 3, 1, 2), dtype=np.float32))
