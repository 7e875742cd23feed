"""How much a ``.tflite`` graph multiplies, operator by operator, for one item.

A multiply-accumulate is one product added to a sum; biases and activations are not counted. A
dimension that is open counts as 1: that is the batch. Where another one is open too, the work is
not known from the file.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from orchestrator.frameworks.tflite.file import Graph, Operator, Tensor

_RECURRENT = frozenset(
    """
    RNN LSTM SVDF UNIDIRECTIONAL_SEQUENCE_RNN UNIDIRECTIONAL_SEQUENCE_LSTM
    BIDIRECTIONAL_SEQUENCE_RNN BIDIRECTIONAL_SEQUENCE_LSTM
    """.split()  # noqa: SIM905  # a word list reads better than as many quotes
)
#: Operators that multiply and accumulate. Those of them that are not counted below are named.
_MULTIPLYING = _RECURRENT | frozenset(
    """
    CONV_2D DEPTHWISE_CONV_2D FULLY_CONNECTED TRANSPOSE_CONV BATCH_MATMUL CONV_3D CONV_3D_TRANSPOSE
    STABLEHLO_CONVOLUTION STABLEHLO_DOT_GENERAL
    """.split()  # noqa: SIM905  # a word list reads better than as many quotes
)
#: Operators of somebody's own that only sort out what a network has found.
_CUSTOM_WITHOUT_PRODUCTS = frozenset(
    ("CUSTOM:TFLite_Detection_PostProcess", "CUSTOM:PosenetDecoderOp", "CUSTOM:NumericVerify")
)


def multiplies(operator: Operator) -> bool:
    """Whether its work is multiply-accumulates, or somebody's own and may be."""
    if operator.name.startswith("CUSTOM:"):
        return operator.name not in _CUSTOM_WITHOUT_PRODUCTS
    return operator.name in _MULTIPLYING


def multiply_accumulates(operator: Operator, graph: Graph) -> int | None:
    """Count the products of one operator; None where the file does not tell."""
    inputs = [graph.tensors[index] for index in operator.inputs]
    outputs = [graph.tensors[index] for index in operator.outputs]
    count = _COUNTS.get(operator.name)
    if count is None or len(inputs) < 2 or not outputs:
        return None
    return count(inputs, outputs[0])


def _convolution(inputs: list[Tensor], output: Tensor) -> int | None:
    """Weights are [out, height, width, in (of a group)]."""
    if not (_known(output, 4) and _known(inputs[1], 4)):
        return None
    return _elements(output) * math.prod(inputs[1].shape[1:])


def _depthwise(inputs: list[Tensor], output: Tensor) -> int | None:
    """Weights are [1, height, width, out]."""
    if not (_known(output, 4) and _known(inputs[1], 4)):
        return None
    return _elements(output) * math.prod(inputs[1].shape[1:3])


def _transposed(inputs: list[Tensor], _: Tensor) -> int | None:
    """Inputs are the output's shape, weights [out, height, width, in], and the image."""
    if len(inputs) < 3 or not (_known(inputs[2], 4) and _known(inputs[1], 4)):
        return None
    return _elements(inputs[2]) * math.prod(inputs[1].shape[:3])


def _dense(inputs: list[Tensor], output: Tensor) -> int | None:
    """Weights are [out, in]."""
    if not (_known(output) and _known(inputs[1], 2)):
        return None
    return _elements(output) * inputs[1].shape[1]


def _matmul(inputs: list[Tensor], output: Tensor) -> int | None:
    """Rows × inner × columns: of the first factor's two sides, one is the rows, in either order."""
    first = inputs[0]
    if not all(len(t.shape) >= 2 and _known(t) for t in (first, output)):
        return None
    rows = output.shape[-2]
    sides = first.shape[-2] * first.shape[-1]
    return _elements(output) * (sides // rows) if rows > 0 and sides % rows == 0 else None


def _convolution_3d(inputs: list[Tensor], output: Tensor) -> int | None:
    """Weights are [depth, height, width, in (of a group), out]."""
    if not (_known(output, 5) and _known(inputs[1], 5)):
        return None
    return _elements(output) * math.prod(inputs[1].shape[:4])


def _transposed_3d(inputs: list[Tensor], _: Tensor) -> int | None:
    """Inputs are the output's shape, weights [depth, height, width, out, in], and the volume."""
    if len(inputs) < 3 or not (_known(inputs[2], 5) and _known(inputs[1], 5)):
        return None
    return _elements(inputs[2]) * math.prod(inputs[1].shape[:4])


def _recurrent(inputs: list[Tensor], _: Tensor) -> int | None:
    """Every weight once a step. Steps are all dimensions of the input but the last.

    Vectors of weights are biases and peepholes, which are not matrices.
    """
    matrices = [t for t in inputs[1:] if t.constant and len(t.shape) == 2]
    if not matrices or not _known(inputs[0]) or len(inputs[0].shape) < 2:
        return None
    steps = math.prod(1 if side < 0 else side for side in inputs[0].shape[:-1])
    return steps * sum(t.elements for t in matrices)


def _known(tensor: Tensor, rank: int | None = None) -> bool:
    """Whether no dimension but the first is open."""
    right_rank = rank is None or len(tensor.shape) == rank
    return bool(tensor.shape) and right_rank and all(side >= 0 for side in tensor.shape[1:])


def _elements(tensor: Tensor) -> int:
    return math.prod(1 if side < 0 else side for side in tensor.shape)


_COUNTS: Mapping[str, Callable[[list[Tensor], Tensor], int | None]] = {
    "CONV_2D": _convolution,
    "DEPTHWISE_CONV_2D": _depthwise,
    "TRANSPOSE_CONV": _transposed,
    "FULLY_CONNECTED": _dense,
    "BATCH_MATMUL": _matmul,
    "CONV_3D": _convolution_3d,
    "CONV_3D_TRANSPOSE": _transposed_3d,
    **dict.fromkeys(_RECURRENT, _recurrent),
}
