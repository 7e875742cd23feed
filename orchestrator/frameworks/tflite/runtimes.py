"""The oldest TensorFlow Lite runtime that has an operator in a version.

From the table by which the converter itself writes ``min_runtime_version`` into a file
(``tflite/converter/tools/versioning/runtime_version.cc`` of LiteRT, Apache-2.0, read in 2026).
Neither TensorFlow nor LiteRT ships it for Python. Here: the operators of convolutional and small
transformer networks; the runtime of another one is not known.
"""

from __future__ import annotations

from collections.abc import Mapping

#: Operator → the runtimes that brought its versions 1, 2, 3, …
_SINCE: Mapping[str, tuple[str, ...]] = {
    name: tuple(versions.split())
    for name, versions in {
        "ABS": "1.13.0 2.4.0 2.5.0 2.6.0 2.12.0",
        "ADD": "1.5.0 1.14.0 2.4.0 2.6.0 2.13.0 2.23.0",
        "ARG_MAX": "1.9.0 1.14.0 2.9.0",
        "AVERAGE_POOL_2D": "1.5.0 1.14.0 2.3.0",
        "BATCH_MATMUL": "2.3.0 2.3.0 2.4.0 2.5.0",
        "CAST": "1.5.0 2.7.0 2.8.0 2.9.0 2.12.0 2.15.0 2.17.0 2.21.0",
        "CONCATENATION": "1.5.0 1.14.0 2.3.0 2.14.0 2.21.0 2.23.0",
        "CONV_2D": "1.5.0 1.14.0 1.14.0 2.3.0 2.4.0 2.9.0 2.11.0 2.15.0",
        "CONV_3D": "2.5.0",
        "DEPTHWISE_CONV_2D": "1.5.0 1.12.0 1.14.0 2.2.0 2.3.0 2.3.0 2.11.0",
        "DEPTH_TO_SPACE": "2.1.0 2.5.0",
        "DEQUANTIZE": "1.13.1 1.14.0 1.15.0 2.2.0 2.7.0 2.18.0 2.21.0 2.22.0",
        "DIV": "1.6.0 2.3.0",
        "ELU": "1.14.0",
        "EXP": "1.7.0 2.12.0",
        "EXPAND_DIMS": "1.10.0",
        "FULLY_CONNECTED": "1.5.0 1.10.0 1.14.0 1.14.0 2.0.0 2.1.0 2.3.0 2.3.0 2.3.0 2.11.0 2.15.0 "
        "2.17.0 2.18.0 2.21.0",
        "GATHER": "1.6.0 1.14.0 1.15.0 2.4.0 2.5.0 2.13.0 2.15.0",
        "GELU": "2.9.0 2.9.0",
        "HARD_SWISH": "1.15.0",
        "L2_NORMALIZATION": "1.5.0 1.14.0",
        "LEAKY_RELU": "1.13.1 2.3.0",
        "LOGISTIC": "1.14.0 1.14.0 2.3.0",
        "MAXIMUM": "1.14.0 1.14.0 2.3.0 2.3.0",
        "MAX_POOL_2D": "1.5.0 1.14.0 2.3.0",
        "MEAN": "1.6.0 1.14.0 2.4.0",
        "MINIMUM": "1.14.0 1.14.0 2.3.0 2.3.0",
        "MIRROR_PAD": "1.13.1 2.3.0 2.12.0",
        "MUL": "1.5.0 1.14.0 1.15.0 2.3.0 2.6.0 2.11.0 2.13.0 2.23.0",
        "PACK": "1.11.0 1.14.0 2.3.0 2.13.0",
        "PAD": "1.5.0 1.14.0 2.4.0 2.6.0 2.20.0",
        "PADV2": "1.9.0 1.14.0 2.4.0 2.6.0 2.20.0",
        "PRELU": "1.8.0",
        "QUANTIZE": "1.14.0 1.15.0 2.7.0 2.21.0 2.21.0 2.21.0",
        "REDUCE_MAX": "1.11.0 1.14.0 2.5.0",
        "RELU": "1.5.0 2.1.0 2.5.0",
        "RELU6": "1.5.0 1.14.0 2.5.0",
        "RELU_N1_TO_1": "1.5.0",
        "RESHAPE": "1.5.0",
        "RESIZE_BILINEAR": "1.7.0 1.14.0 2.2.0 2.5.0",
        "RESIZE_NEAREST_NEIGHBOR": "1.13.1 1.14.0 2.3.0 2.4.0",
        "RSQRT": "1.10.0 2.5.0 2.15.0",
        "SHAPE": "1.10.0",
        "SLICE": "1.14.0 1.14.0 1.14.0 2.4.0 2.5.0 2.14.0 2.21.0 2.23.0",
        "SOFTMAX": "1.5.0 1.14.0 2.3.0 2.23.0",
        "SPACE_TO_DEPTH": "1.5.0 1.14.0",
        "SPLIT": "1.5.0 1.14.0 1.14.0 2.3.0",
        "SQUARED_DIFFERENCE": "1.13.1 2.5.0",
        "SQUEEZE": "1.6.0 2.5.0",
        "STRIDED_SLICE": "1.6.0 1.14.0 2.1.0 2.2.0 2.5.0 2.6.0 2.14.0 2.14.0",
        "SUB": "1.6.0 1.14.0 2.3.0 2.4.0 2.4.0",
        "SUM": "1.10.0 1.15.0",
        "TANH": "1.14.0 1.14.0 2.3.0",
        "TRANSPOSE": "1.6.0 1.14.0 1.15.0 2.3.0 2.4.0 2.12.0 2.14.4 2.22.0 2.23.0",
        "TRANSPOSE_CONV": "1.9.0 2.2.0 2.3.0 2.13.0 2.15.0",
        "UNPACK": "1.11.0 1.14.0 2.2.0 2.3.0 2.22.0",
    }.items()
}


def oldest_runtime(operator: str, version: int) -> str | None:
    """The version of the runtime, or None where that is not known."""
    since = _SINCE.get(operator, ())
    return since[version - 1] if 1 <= version <= len(since) else None


def newest(versions: set[str]) -> str | None:
    """The highest of these versions."""
    return max(versions, key=lambda text: [int(part) for part in text.split(".")], default=None)
