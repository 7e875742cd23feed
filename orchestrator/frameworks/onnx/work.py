"""How much an ``.onnx`` graph multiplies, operator by operator, for one item.

A multiply-accumulate is one product added to a sum; biases and activations are not counted. An open
batch counts as 1. Where another size that is needed is open too, the work is not known.
"""

from __future__ import annotations

import math

from orchestrator.frameworks.onnx.file import OPEN, Node
from orchestrator.frameworks.onnx.shapes import Shapes, weights_place


def multiply_accumulates(node: Node, shapes: Shapes) -> int | None:
    """Count the products of an operator; None where the file does not tell."""
    made = shapes.of(node.outputs[0]) if node.outputs else None
    first = shapes.of(node.input(0))
    weights = shapes.of(node.input(weights_place(node)))
    if not made or not first or OPEN in (*made, *first):
        return None
    if node.name == "MatMulNBits":  # its weights are packed
        return math.prod(made) * first[-1]
    if not weights or OPEN in weights:
        return None
    if "ConvTranspose" in node.name:  # weights are [in, out of a group, height, width]
        return math.prod(first) * math.prod(weights[1:])
    if "Conv" in node.name:  # weights are [out, in of a group, height, width]
        return math.prod(made) * math.prod(weights[1:])
    turned = "Gemm" in node.name and (node.attributes.get("transA") or (0,))[0]
    return math.prod(made) * (first[0] if turned else first[-1])
