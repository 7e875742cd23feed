"""How much a ``.tflite`` graph multiplies, operator by operator, for one item.

A multiply-accumulate is one product added to a sum; biases and activations are not counted. A
dimension that is open counts as 1: that is the batch. Where another one is open too, the work is
not known from the file.
"""

from __future__ import annotations

import math

from orchestrator.zoo.tflite_file import Graph, Operator, Tensor

#: Operators that multiply and accumulate. Those of them that are not counted below are named.
MULTIPLYING = frozenset(
    """
    CONV_2D DEPTHWISE_CONV_2D FULLY_CONNECTED TRANSPOSE_CONV BATCH_MATMUL CONV_3D CONV_3D_TRANSPOSE
    RNN LSTM SVDF UNIDIRECTIONAL_SEQUENCE_RNN UNIDIRECTIONAL_SEQUENCE_LSTM
    BIDIRECTIONAL_SEQUENCE_RNN BIDIRECTIONAL_SEQUENCE_LSTM STABLEHLO_CONVOLUTION
    STABLEHLO_DOT_GENERAL
    """.split()  # noqa: SIM905  # a word list reads better than as many quotes
)


def multiply_accumulates(operator: Operator, graph: Graph) -> int | None:
    """Of one operator; None where the file does not tell."""
    inputs = [graph.tensors[index] for index in operator.inputs]
    outputs = [graph.tensors[index] for index in operator.outputs]
    if len(inputs) < 2 or not outputs:
        return None
    first, second, output = inputs[0], inputs[1], outputs[0]
    if operator.name == "CONV_2D" and _known(output, 4) and _known(second, 4):
        return _elements(output) * math.prod(second.shape[1:])
    if operator.name == "DEPTHWISE_CONV_2D" and _known(output, 4) and _known(second, 4):
        return _elements(output) * math.prod(second.shape[1:3])
    if operator.name == "FULLY_CONNECTED" and _known(second, 2) and _known(output):
        return _elements(output) * second.shape[1]
    if operator.name == "TRANSPOSE_CONV" and len(inputs) > 2 and _known(second, 4):
        return _elements(inputs[2]) * math.prod(second.shape[:3]) if _known(inputs[2], 4) else None
    if operator.name == "BATCH_MATMUL" and all(map(_known, (first, second, output))):
        return _matmul(first, output)
    return None


def _matmul(first: Tensor, output: Tensor) -> int | None:
    """Rows × inner × columns: of the first factor's two sides, one is the rows, in either order."""
    if len(first.shape) < 2 or len(output.shape) < 2:
        return None
    rows = output.shape[-2]
    sides = first.shape[-2] * first.shape[-1]
    return _elements(output) * (sides // rows) if rows > 0 and sides % rows == 0 else None


def _known(tensor: Tensor, rank: int | None = None) -> bool:
    """Whether no dimension but the first is open."""
    right_rank = rank is None or len(tensor.shape) == rank
    return bool(tensor.shape) and right_rank and all(side >= 0 for side in tensor.shape[1:])


def _elements(tensor: Tensor) -> int:
    return math.prod(1 if side < 0 else side for side in tensor.shape)
