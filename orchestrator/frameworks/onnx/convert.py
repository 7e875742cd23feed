"""Turns a network of PyTorch's into ``.onnx`` files in several schemes. Imports torch, ONNX and
ONNX Runtime: build children only."""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from onnxruntime import quantization as ort
from onnxruntime.transformers.float16 import convert_float_to_float16

from orchestrator.errors import ModelBuildError
from orchestrator.frameworks.onnx.catalog import INPUT, OPSET, OUTPUT, OnnxSchemeSpec
from orchestrator.frameworks.torch.catalog import TorchModelSpec

_TYPES = {"int8": ort.QuantType.QInt8, "uint8": ort.QuantType.QUInt8}
_CALIBRATIONS = {
    "max": ort.CalibrationMethod.MinMax,
    "percentile": ort.CalibrationMethod.Percentile,
    "entropy": ort.CalibrationMethod.Entropy,
}

#: Makes the inputs that a network is calibrated on, each (1, 3, height, width).
Images = Callable[[], Iterator[Any]]


class Reader(ort.CalibrationDataReader):  # type: ignore[misc]  # it has no types for us
    """Feeds the images one by one."""

    def __init__(self, images: Iterator[Any], say: Callable[[str], None]) -> None:
        self._images = images
        self._say = say
        self._read = 0

    def get_next(self) -> dict[str, Any] | None:
        image = next(self._images, None)
        if image is None:
            return None
        self._read += 1
        if self._read % 4 == 0:
            self._say(f"calibrates on image {self._read}")
        return {INPUT: image.numpy()}


def export(model: Any, spec: TorchModelSpec, path: Path) -> None:
    """Write the network in float32, its batch left open. Raises ModelBuildError."""
    with _quietly(), torch.inference_mode():
        torch.onnx.export(
            model,
            (torch.zeros(1, *spec.input_shape),),
            str(path),
            input_names=[INPUT],
            output_names=[OUTPUT],
            dynamic_axes={INPUT: {0: "batch"}, OUTPUT: {0: "batch"}},
            opset_version=OPSET,
            # the other exporter writes later operators than older runtimes take, and needs more
            dynamo=False,
        )


def convert(
    source: Path,
    target: Path,
    scheme: OnnxSchemeSpec,
    *,
    calibration: str,
    images: Images,
    say: Callable[[str], None],
) -> None:
    """Write the float32 network of ``source`` in another scheme. Raises ModelBuildError."""
    with _quietly():
        if scheme.half:
            half = convert_float_to_float16(onnx.load(source), keep_io_types=True)
            onnx.save(half, target)
        elif scheme.dynamic:
            ort.quantize_dynamic(source, target, weight_type=_TYPES[scheme.weights])
        elif scheme.calibrated:
            form = ort.QuantFormat.QOperator if scheme.operators else ort.QuantFormat.QDQ
            ort.quantize_static(
                source,
                target,
                Reader(images(), say),
                quant_format=form,
                per_channel=True,
                reduce_range=scheme.reduced,
                activation_type=_TYPES[scheme.activations],
                weight_type=_TYPES[scheme.weights],
                calibrate_method=_CALIBRATIONS[calibration],
                # what was computed is folded into the histograms now and then, and not kept
                extra_options={"CalibMaxIntermediateOutputs": 4} if calibration != "max" else {},
            )
        else:
            target.write_bytes(source.read_bytes())


def check_runs(path: Path, image: Any) -> None:
    """Run the file once. Raises ModelBuildError where it computes nothing."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    (output,) = session.run(None, {INPUT: image.numpy()})
    if not np.isfinite(output).all() or float(output.std()) == 0:
        raise ModelBuildError("the converted model computes nothing: constant or not finite")


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Without the advice that these tools log and warn with."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
