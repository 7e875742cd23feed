"""Which PyTorch models and schemes there are, and what exactly determines a built file's bytes.

A new model is one row of ``MODELS``. No torch here: the controller reads this.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from orchestrator.artifacts.files import sha256_of
from orchestrator.errors import ModelBuildError
from orchestrator.frameworks.about import CALIBRATIONS
from orchestrator.frameworks.building import IMAGE_SUFFIXES, BuildOptions, representative_data
from orchestrator.frameworks.preprocessing import Channels, Preprocessing
from orchestrator.frameworks.torch.about import FRAMEWORK
from orchestrator.trial import Variant

#: Raised when the way of building changes the bytes that the same options give. 2: a file notes its
#: scheme.
RECIPE = 2
#: In a built file, as JSON: its scheme, and its input's shape without the batch. The measuring
#: child reads the shape, having torch and nothing that would know the model; ``torch_file`` reads
#: both: that integers were trained and not only calibrated, nothing else in a file tells.
EXTRA_FILE = "orchestrate.json"
#: Of a data set's images so many are trained on, the first of every class in turn: enough for the
#: ranges and weights to settle on, few enough for a build on two cores.
TRAINING_IMAGES = 64
#: What every weight of ``torchvision.models`` was trained with: pixels of 0 to 1, by channel.
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class TorchModelSpec:
    """An architecture of ``torchvision.models``: its function, and which weights are ImageNet's.

    ``gain``: variance gain of random kernels, as in ``catalog.ModelSpec``. ``peak_mb``: the most
    memory that building any scheme takes, in MB, as measured with torch 2.13 (the build child's
    peak resident set while ``qat_int8`` trains on a data set's images) and rounded up.
    ``top1``: the share of ImageNet's validation set that the library gives for these weights.
    """

    function: str
    weights: str = "IMAGENET1K_V1"
    side: int = 224
    gain: float = 2.0
    peak_mb: int = 0
    top1: float | None = None

    @property
    def preprocessing(self) -> Preprocessing:
        """What all weights of ``torchvision.models`` were trained with."""
        mean, std = (tuple(255 * each for each in channels) for channels in (MEAN, STD))
        return Preprocessing(self.side, self.side, Channels("rgb", mean, std))

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """Channels, height, width."""
        return (3, self.side, self.side)


@dataclass(frozen=True)
class Training:
    """How ``qat_int8`` trains: stochastic gradient descent with momentum on fake-quantized weights
    and activations, batch normalisation's statistics held.

    ``generated_side``: images that we make ourselves are smaller, since a model learns nothing
    from their size and a step takes a fifth of the time.
    """

    steps: int = 8
    batch: int = 8
    learning_rate: float = 1e-4
    momentum: float = 0.9
    generated_side: int = 96


@dataclass(frozen=True)
class TorchSchemeSpec:
    """How a scheme is made.

    ``dynamic``: Linear layers alone, activations quantized while running. ``static``: all of the
    graph, ranges calibrated. ``trained``: the same after training with fake quantization.
    ``calibration`` is how ranges are found, empty where the options of building say it.
    """

    dynamic: bool = False
    static: bool = False
    trained: bool = False
    calibration: str = ""

    @property
    def calibrated(self) -> bool:
        return self.static

    def settings(self, options: BuildOptions) -> dict[str, Any]:
        """How it is converted, as the manifest records it."""
        common: dict[str, Any] = {"export": "trace, freeze"}
        if self.dynamic:
            return {**common, "quantized": ["Linear"], "weights": "int8 per tensor"}
        if not self.static:
            return common
        # 7 bits of activation: FBGEMM's kernels without VNNI would overflow with 8, and one file
        # is to be right under every engine.
        common |= {"backend": "x86", "activations": "quint8, 7 bits", "weights": "int8 per channel"}
        if self.trained:
            return {**common, "fake_quantize": True, "training": asdict(TRAINING)}
        return {**common, "calibration": self.calibration or options.calibration}


TRAINING = Training()

MODELS: Mapping[str, TorchModelSpec] = {
    "resnet18": TorchModelSpec("resnet18", gain=1.0, peak_mb=1500, top1=0.69758),
    "mobilenet_v2": TorchModelSpec("mobilenet_v2", peak_mb=2100, top1=0.71878),
    "mobilenet_v3_small": TorchModelSpec("mobilenet_v3_small", peak_mb=1000, top1=0.67668),
    "mobilenet_v3_large": TorchModelSpec("mobilenet_v3_large", peak_mb=1800, top1=0.74042),
    "squeezenet1_1": TorchModelSpec("squeezenet1_1", peak_mb=1000, top1=0.58178),
}

SCHEMES: Mapping[str, TorchSchemeSpec] = {
    "float32": TorchSchemeSpec(),
    "dynamic_int8": TorchSchemeSpec(dynamic=True),
    "static_int8": TorchSchemeSpec(static=True),
    # each way of calibrating beside the others in one run
    **{f"static_int8_{how}": TorchSchemeSpec(static=True, calibration=how) for how in CALIBRATIONS},
    "qat_int8": TorchSchemeSpec(static=True, trained=True),
}


def recipe(variant: Variant, options: BuildOptions) -> dict[str, Any]:
    """Return everything that determines the bytes, toolchain versions apart. Raises
    ModelBuildError."""
    model, scheme = MODELS[variant.model], SCHEMES[variant.scheme]
    return {
        "framework": FRAMEWORK.name,
        "recipe": RECIPE,
        "application": model.function,
        "imagenet": model.weights,
        "input_shape": list(model.input_shape),
        "random_gain": model.gain,
        "scheme": variant.scheme,
        "converter": scheme.settings(options),
        "weights": options.weights,
        "seed": options.seed,
        "representative": representative_data(options) if scheme.calibrated else None,
        "dataset": dataset_data(options) if scheme.trained else None,
    }


@dataclass(frozen=True)
class LabelledImage:
    """``folder`` is the class: a WordNet id in Imagenette."""

    path: Path
    folder: str


def training_images(dataset: Path) -> tuple[LabelledImage, ...]:
    """The images of a data set that are trained on. Raises ModelBuildError.

    Imagenette's layout: ``train/CLASS/IMAGE``, or the same without ``train``.
    """
    root = dataset / "train" if (dataset / "train").is_dir() else dataset
    try:
        folders = sorted(path for path in root.iterdir() if path.is_dir())
        classes = [
            [LabelledImage(image, folder.name) for image in sorted(folder.iterdir())]
            for folder in folders
        ]
    except OSError as exc:
        raise ModelBuildError(f"data set {dataset}: {exc.strerror or exc}") from exc
    classes = [[i for i in c if i.path.suffix.lower() in IMAGE_SUFFIXES] for c in classes]
    found = [
        image for rank in range(TRAINING_IMAGES) for c in classes for image in c[rank : rank + 1]
    ]
    if not found:
        raise ModelBuildError(
            f"data set {dataset}: holds no image; it has to look like Imagenette: "
            f"train/CLASS/IMAGE ({', '.join(IMAGE_SUFFIXES)})"
        )
    return tuple(found[:TRAINING_IMAGES])


def dataset_data(options: BuildOptions) -> dict[str, Any]:
    """What a scheme is trained on, as recorded and hashed. Raises ModelBuildError."""
    if options.dataset is None:
        return {"kind": "generated", "count": TRAINING_IMAGES, "seed": options.seed}
    images = training_images(options.dataset)
    lines = [f"{image.folder} {sha256_of(image.path)}" for image in images]
    return {
        "kind": "folder",
        "count": len(images),
        "classes": len({image.folder for image in images}),
        "sha256": hashlib.sha256("\n".join(lines).encode()).hexdigest(),
    }
