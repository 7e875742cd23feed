"""Which models and schemes there are, and what exactly determines a built file's bytes.

A new model is one row of ``MODELS``; a new scheme one row of ``SCHEMES`` and of ``about``, and its
converter settings in ``quantize``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator.factors import OPEN
from orchestrator.frameworks.about import CURRENT
from orchestrator.frameworks.building import BuildOptions, representative_data
from orchestrator.frameworks.preprocessing import Channels, Preprocessing
from orchestrator.frameworks.tflite.about import OLD_RUNTIME
from orchestrator.frameworks.torch.catalog import MEAN, STD
from orchestrator.trial import Variant

#: Raised when the way of building changes the bytes that the same options give.
RECIPE = 1
#: The oldest runtime that files can be built for, and what its version is called.
COMPATIBILITIES: Mapping[str, tuple[int, int] | None] = {CURRENT: None, OLD_RUNTIME: (2, 14)}

#: From -1 to 1.
_SYMMETRIC = Channels("rgb", (127.5,) * 3, (127.5,) * 3)
#: ImageNet's mean taken away, blue first, as Caffe's models were trained.
_CENTRED = Channels("bgr", (103.939, 116.779, 123.68), (1.0,) * 3)
#: What stands for a module of ``keras.applications`` where the network is torchvision's.
TORCHVISION = "torchvision"
#: Module of ``keras.applications`` → what its ``preprocess_input`` makes of a pixel.
_CHANNELS: Mapping[str, Channels] = {
    "mobilenet": _SYMMETRIC,
    "mobilenet_v2": _SYMMETRIC,
    "inception_v3": _SYMMETRIC,
    "resnet": _CENTRED,
    "resnet_v2": _SYMMETRIC,
    "vgg16": _CENTRED,
    "vgg19": _CENTRED,
    TORCHVISION: Channels(
        "rgb", tuple(255 * each for each in MEAN), tuple(255 * each for each in STD)
    ),
}


@dataclass(frozen=True)
class ModelSpec:
    """An architecture of ``keras.applications``: its function, and the module of its inputs; or one
    of torchvision's, with the weights that PyTorch's catalogue has of it.

    ``gain``: variance gain of random kernels. 2 keeps the size of activations through layers with
    ReLU (He et al. 2015); 1 where residual sums would grow with every block. ``input_scale``:
    the size of preprocessed pixels, which random kernels of the first layer are divided by; 64 for
    models that subtract the mean and leave the range at that.

    ``peak_mb``: the most memory that building any scheme takes, in MB, as measured with TensorFlow
    2.21 (the peak resident set of the build child, which has no children) and rounded up. Builds
    run side by side as long as these add up. ``frozen``: whether variables are made
    constants once and for all schemes, which is three times as fast for small models. That holds
    some twenty copies of the weights, 12.7 GB for VGG19, so large models are converted from a
    saved model instead.

    ``top1``: the share of ImageNet's validation set that keras.io/api/applications gives for the
    weights.
    """

    application: str
    module: str
    side: int = 224
    gain: float = 2.0
    input_scale: float = 1.0
    peak_mb: int = 0
    frozen: bool = True
    top1: float | None = None

    @property
    def preprocessing(self) -> Preprocessing:
        """What ``preprocess_input`` of its module does, with which :mod:`.keras` calibrates."""
        return Preprocessing(self.side, self.side, _CHANNELS[self.module])

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """Height, width, channels."""
        return (self.side, self.side, 3)


@dataclass(frozen=True)
class SchemeSpec:
    """How a scheme is converted; ``calibrated`` ones need representative data."""

    optimize: bool
    float16: bool = False
    integer: bool = False
    weight_only: bool = False

    @property
    def calibrated(self) -> bool:
        return self.integer

    def settings(self) -> dict[str, Any]:
        """The converter's settings as the manifest records them."""
        settings: dict[str, Any] = {"optimizations": ["DEFAULT"] if self.optimize else []}
        if self.float16:
            settings["supported_types"] = ["float16"]
        if self.integer:
            settings["supported_ops"] = ["TFLITE_BUILTINS_INT8"]
            settings["inference_input_type"] = settings["inference_output_type"] = "int8"
        if self.weight_only:
            settings["ai_edge_quantizer"] = "weight_only_wi8_afp32"
        return settings


MODELS: Mapping[str, ModelSpec] = {
    "mobilenet_v1": ModelSpec("MobileNet", "mobilenet", peak_mb=1600, top1=0.704),
    "mobilenet_v2": ModelSpec("MobileNetV2", "mobilenet_v2", peak_mb=1600, top1=0.713),
    "inception_v3": ModelSpec("InceptionV3", "inception_v3", side=299, peak_mb=3700, top1=0.779),
    "resnet18": ModelSpec("ResNet18", TORCHVISION, gain=1.0, peak_mb=3000, top1=0.69758),
    "resnet50": ModelSpec(
        "ResNet50", "resnet", gain=1.0, input_scale=64.0, peak_mb=3500, top1=0.749
    ),
    "resnet101": ModelSpec(
        "ResNet101", "resnet", gain=1.0, input_scale=64.0, peak_mb=5500, top1=0.764
    ),
    "resnet152": ModelSpec(
        "ResNet152", "resnet", gain=1.0, input_scale=64.0, peak_mb=7200, top1=0.766
    ),
    "resnet50_v2": ModelSpec("ResNet50V2", "resnet_v2", gain=1.0, peak_mb=3500, top1=0.760),
    "resnet152_v2": ModelSpec("ResNet152V2", "resnet_v2", gain=1.0, peak_mb=7200, top1=0.780),
    "vgg16": ModelSpec("VGG16", "vgg16", input_scale=64.0, frozen=False, peak_mb=8000, top1=0.713),
    "vgg19": ModelSpec("VGG19", "vgg19", input_scale=64.0, frozen=False, peak_mb=8000, top1=0.713),
}

SCHEMES: Mapping[str, SchemeSpec] = {
    "float32": SchemeSpec(optimize=False),
    "float16": SchemeSpec(optimize=True, float16=True),
    "dynamic_range": SchemeSpec(optimize=True),
    "full_int8": SchemeSpec(optimize=True, integer=True),
    "weight_only_int8": SchemeSpec(optimize=False, weight_only=True),
}


def recipe(variant: Variant, options: BuildOptions) -> dict[str, Any]:
    """Return everything that determines the bytes, toolchain versions apart. Raises
    ModelBuildError."""
    model, scheme = MODELS[variant.model], SCHEMES[variant.scheme]
    # Only what differs from the default is named, so that files from before it existed still count.
    current = options.compatibility == CURRENT
    compatibility = {} if current else {"compatibility": options.compatibility}
    export = {} if variant.export == OPEN else {"export": variant.export}
    return {
        "recipe": RECIPE,
        "application": model.application,
        "input_shape": list(model.input_shape),
        "random_gain": model.gain,
        "random_input_scale": model.input_scale,
        "scheme": variant.scheme,
        "converter": scheme.settings(),
        "weights": options.weights,
        "seed": options.seed,
        "representative": representative_data(options) if scheme.calibrated else None,
        **compatibility,
        **export,
    }
