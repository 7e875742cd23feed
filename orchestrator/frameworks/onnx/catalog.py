"""Which ONNX models and schemes there are, and what exactly determines a built file's bytes.

The networks are those of PyTorch's catalogue, with the same weights. No runtime here: the
controller reads this.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator.frameworks.building import BuildOptions, representative_data
from orchestrator.frameworks.onnx.about import FRAMEWORK
from orchestrator.frameworks.preprocessing import Preprocessing
from orchestrator.frameworks.torch.catalog import MODELS as NETWORKS
from orchestrator.frameworks.torch.catalog import TorchModelSpec
from orchestrator.trial import Variant

#: Raised when the way of building changes the bytes that the same options give.
RECIPE = 1
#: The version of ONNX's operators that is exported: what runtimes since 1.13 (2022) take.
OPSET = 17
#: Of the built files.
INPUT, OUTPUT = "input", "output"


@dataclass(frozen=True)
class OnnxModelSpec:
    """A network of PyTorch's catalogue. ``peak_mb``: the most memory that building any scheme
    takes, in MB, as measured and rounded up."""

    network: TorchModelSpec
    peak_mb: int

    @property
    def preprocessing(self) -> Preprocessing:
        """What its weights were trained with."""
        return self.network.preprocessing

    @property
    def top1(self) -> float | None:
        """What is published for its weights."""
        return self.network.top1


@dataclass(frozen=True)
class OnnxSchemeSpec:
    """How a scheme is made. ``activations`` and ``weights`` are types of integers, empty where
    there are none; ``dynamic``: those of the activations are found while running. ``operators``:
    written with operators of integers instead of conversions around ordinary ones. ``reduced``:
    weights of 7 bits. ``half``: weights and activations in half precision.
    """

    activations: str = ""
    weights: str = ""
    dynamic: bool = False
    operators: bool = False
    reduced: bool = False
    half: bool = False

    @property
    def calibrated(self) -> bool:
        return bool(self.activations)

    def settings(self, options: BuildOptions) -> dict[str, Any]:
        """How it is converted, as the manifest records it."""
        common: dict[str, Any] = {"export": "torch.onnx (TorchScript)", "opset": OPSET}
        if self.half:
            return {**common, "half": "all but inputs and outputs"}
        if self.dynamic:
            return {**common, "quantized": "dynamic", "weights": f"{self.weights} per tensor"}
        if not self.calibrated:
            return common
        return {
            **common,
            "quantized": "static",
            "format": "QOperator" if self.operators else "QDQ",
            "activations": f"{self.activations} per tensor",
            "weights": f"{self.weights} per channel{', 7 bits' if self.reduced else ''}",
            "calibration": options.calibration,
        }


#: In MB, by the network: calibrating by `entropy` with torch 2.13 and onnxruntime 1.32 takes most.
_PEAKS = {
    "resnet18": 1200,
    "mobilenet_v2": 1700,
    "mobilenet_v3_small": 800,
    "mobilenet_v3_large": 1400,
    "squeezenet1_1": 1100,
}

MODELS: Mapping[str, OnnxModelSpec] = {
    name: OnnxModelSpec(NETWORKS[name], peak) for name, peak in _PEAKS.items()
}

SCHEMES: Mapping[str, OnnxSchemeSpec] = {
    "float32": OnnxSchemeSpec(),
    "float16": OnnxSchemeSpec(half=True),
    "dynamic_int8": OnnxSchemeSpec(weights="int8", dynamic=True),
    "dynamic_uint8": OnnxSchemeSpec(weights="uint8", dynamic=True),
    "static_int8": OnnxSchemeSpec("int8", "int8"),
    "static_int8_qoperator": OnnxSchemeSpec("int8", "int8", operators=True),
    "static_u8s8": OnnxSchemeSpec("uint8", "int8"),
    "static_u8s8_reduced": OnnxSchemeSpec("uint8", "int8", reduced=True),
}


def recipe(variant: Variant, options: BuildOptions) -> dict[str, Any]:
    """Return everything that determines the bytes, toolchain versions apart. Raises
    ModelBuildError."""
    network, scheme = MODELS[variant.model].network, SCHEMES[variant.scheme]
    return {
        "framework": FRAMEWORK.name,
        "recipe": RECIPE,
        "application": network.function,
        "imagenet": network.weights,
        "input_shape": list(network.input_shape),
        "random_gain": network.gain,
        "scheme": variant.scheme,
        "converter": scheme.settings(options),
        "weights": options.weights,
        "seed": options.seed,
        "representative": representative_data(options) if scheme.calibrated else None,
    }
