"""Whether a built file is what was asked for."""

from __future__ import annotations

import math
import re

from orchestrator.errors import ModelBuildError
from orchestrator.factors import OPEN
from orchestrator.frameworks.tflite.catalog import COMPATIBILITIES, MODELS
from orchestrator.frameworks.tflite.flatbuffer import MalformedError
from orchestrator.frameworks.tflite.inspect import Inspection, inspect_bytes
from orchestrator.trial import Variant

#: An activation scale below this means that calibration saw nothing but zeros.
_DEGENERATE_SCALE = 1e-7


def verify_build(variant: Variant, data: bytes, compatibility: str = "current") -> Inspection:
    """What the bytes hold. Raises ModelBuildError where that is not ``variant``."""
    try:
        found = inspect_bytes(data)
    except MalformedError as exc:
        raise ModelBuildError(f"{variant}: the converter wrote a broken file: {exc}") from exc
    batch = -1 if variant.export == OPEN else 1
    expected = (batch, *MODELS[variant.model].input_shape)
    if found.scheme != variant.scheme:
        raise ModelBuildError(
            f"{variant}: the converter wrote {found.scheme} ({_uses(found)}); this TensorFlow "
            f"does not convert the model so, leave the scheme out or use another version"
        )
    if [tensor.shape for tensor in found.inputs] != [expected]:
        raise ModelBuildError(f"{variant}: takes {found.inputs}, not one image {expected}")
    if variant.scheme == "full_int8":
        _check_integer(variant, found)
    _check_runtime(variant, found, compatibility)
    return found


def _check_integer(variant: Variant, found: Inspection) -> None:
    types = {tensor.dtype for tensor in (*found.inputs, *found.outputs)}
    if types != {"int8"}:
        raise ModelBuildError(f"{variant}: its inputs and outputs are {sorted(types)}, not int8")
    share = found.work.quantized_operators_share
    if share < 1:
        raise ModelBuildError(
            f"{variant}: {100 * (1 - share):.0f} % of its operators compute in float; this "
            f"TensorFlow does not convert the model so, leave the scheme out or use another version"
        )
    if found.granularity != "per_channel":
        raise ModelBuildError(f"{variant}: its weights are {found.granularity}, not per_channel")
    scale = found.smallest_activation_scale
    if scale is None or not math.isfinite(scale) or scale < _DEGENERATE_SCALE:
        raise ModelBuildError(
            f"{variant}: an activation has the scale {scale}: calibration saw nothing but zeros "
            f"there; calibrate on other images"
        )


def _check_runtime(variant: Variant, found: Inspection, compatibility: str) -> None:
    oldest = COMPATIBILITIES[compatibility]
    if oldest is None:
        return
    needed = found.min_runtime or "unknown"
    numbers = re.match(r"(\d+)\.(\d+)", needed)
    if numbers is None or tuple(map(int, numbers.groups())) > oldest:
        raise ModelBuildError(
            f"{variant}: needs runtime {needed}, later than {compatibility}; this TensorFlow does "
            f"not convert the model so, leave the scheme out or use another version"
        )


def _uses(found: Inspection) -> str:
    return ", ".join(f"{use.operators} operators {use.scheme}" for use in found.weights)
