"""A network as Mask R-CNN is from outside, written by hand: it was not trained, and finds colours.

It takes an image [3, height, width] of 0 to 255, less a mean, channels blue, green, red. Of each
channel that is bright anywhere it gives, in the order of the channels, a box around all that is
bright (xyxy, pixels), a class (1 to 3, 0 being the background), a score (how bright), and a mask of
28 × 28 pixels of the inside of the box, cut out by RoiAlign: N × 4, N, N, N × 1 × 28 × 28, and N
is how many it found. Weights are those of its one convolution, kept in float32, float16 or int8.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

import numpy as np

from tests import onnx_writer as writer

#: Names of the outputs, in the order of the file, which is not that of what they are.
BOXES, CLASSES, SCORES, MASKS = "6568", "6570", "6572", "6887"
MEAN = (102.9801, 115.9465, 122.7717)
_STEP = 1 / (255 * 127)


def _floats(values: Sequence[float]) -> bytes:
    return struct.pack(f"<{len(values)}f", *values)


def _weights(kind: str) -> tuple[list[bytes], list[bytes]]:
    """What makes the tensor ``w`` [3, 3, 1, 1]: constants, and operators on them. Each channel is
    divided by 255; int8 keeps a step of a 127th of that."""
    diagonal = np.eye(3).reshape(3, 3, 1, 1)
    if kind == "float32":
        content = (diagonal / 255).astype("<f4").tobytes()
        return [writer.tensor("w", "float32", [3, 3, 1, 1], content)], []
    if kind == "float16":
        content = (diagonal / 255).astype("<f2").tobytes()
        return (
            [writer.tensor("kept", "float16", [3, 3, 1, 1], content)],
            [writer.node("Cast", ["kept"], ["w"], attributes={"to": 1})],
        )
    kept = (diagonal * 127).astype("i1").tobytes()
    return (
        [
            writer.tensor("kept", "int8", [3, 3, 1, 1], kept),
            writer.tensor("step", "float32", [], _floats([_STEP])),
        ],
        [writer.node("DequantizeLinear", ["kept", "step"], ["w"])],
    )


def mask_network(kind: str = "float32", *, beside: int = 0) -> bytes:
    """The file's bytes; ``beside`` moves every box by so many pixels to the right."""
    constants, nodes = _weights(kind)
    node = writer.node
    bias = [each / 255 for each in MEAN]
    constants += [
        writer.tensor("bias", "float32", [3], _floats(bias)),
        writer.tensor("beside", "float32", [4], _floats([beside, 0, beside, 0])),
        writer.tensor("half", "float32", [], _floats([0.5])),
        writer.integers("one", 1),
        writer.integers("of_batch", 0),
        writer.integers("channels", 0, 1, 2),
        writer.tensor("full", "float32", [], _floats([1.0])),
        writer.tensor("dark", "float32", [], _floats([0.0])),
    ]
    nodes += [
        node("Unsqueeze", ["image", "of_batch"], ["batched"]),
        node("Conv", ["batched", "w", "bias"], ["seen"]),
        node("Greater", ["seen", "half"], ["is_lit"]),
        node("Cast", ["is_lit"], ["lit"], attributes={"to": 1}),
        node("ReduceMax", ["lit"], ["across"], attributes={"axes": [2], "keepdims": 0}),
        node("ReduceMax", ["lit"], ["down"], attributes={"axes": [3], "keepdims": 0}),
    ]
    corners = []
    for name, along, last in (
        ("left", "across", 0),
        ("top", "down", 0),
        ("right", "across", 1),
        ("bottom", "down", 1),
    ):
        taken: dict[str, Sequence[int] | int | str | bytes] = {
            "axis": 2,
            "keepdims": 0,
            "select_last_index": last,
        }
        nodes += [
            node("ArgMax", [along], [f"{name}_place"], attributes=taken),
            *(
                [node("Add", [f"{name}_place", "one"], [f"{name}_end"])]
                if last
                else [node("Identity", [f"{name}_place"], [f"{name}_end"])]
            ),
            node("Cast", [f"{name}_end"], [f"{name}_row"], attributes={"to": 1}),
            node("Transpose", [f"{name}_row"], [name], attributes={"perm": [1, 0]}),
        ]
        corners.append(name)
    nodes += [
        node("Concat", corners, ["tight"], attributes={"axis": 1}),
        node("Add", ["tight", "beside"], ["every_box"]),
        # each channel an image of its own, so that its box is cut out of it alone
        node("Transpose", ["seen"], ["turned"], attributes={"perm": [1, 0, 2, 3]}),
        node(
            "RoiAlign",
            ["turned", "every_box", "channels"],
            ["every_mask"],
            attributes={"output_height": 28, "output_width": 28, "sampling_ratio": 2},
        ),
        node("ReduceMax", ["seen"], ["bright"], attributes={"axes": [0, 2, 3], "keepdims": 0}),
        node("Greater", ["bright", "half"], ["is_there"]),
        node("NonZero", ["is_there"], ["found_rows"]),
        node("Squeeze", ["found_rows", "of_batch"], ["found"]),
        node("Gather", ["every_box", "found"], [BOXES]),
        node("Add", ["found", "one"], [CLASSES]),
        node("Gather", ["bright", "found"], [SCORES]),
        node("Gather", ["every_mask", "found"], ["cut"]),
        node("Min", ["cut", "full"], ["not_more"]),
        node("Max", ["not_more", "dark"], [MASKS]),
    ]
    outputs = [
        writer.value(MASKS, "float32", ["found", 1, 28, 28]),
        writer.value(BOXES, "float32", ["found", 4]),
        writer.value(CLASSES, "int64", ["found"]),
        writer.value(SCORES, "float32", ["found"]),
    ]
    image = [writer.value("image", "float32", [3, "height", "width"])]
    return writer.model(writer.graph(nodes, constants, image, outputs), opset=16)
