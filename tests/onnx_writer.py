"""Writes ``.onnx`` files byte by byte, also such as no exporter writes.

The field numbers are those of ``onnx.proto3``.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence

TYPES = {"float32": 1, "uint8": 2, "int8": 3, "int32": 6, "int64": 7, "float16": 10, "string": 8}
_BYTES = {"float32": 4, "uint8": 1, "int8": 1, "int32": 4, "int64": 8, "float16": 2}


def varint(value: int) -> bytes:
    value &= 0xFFFF_FFFF_FFFF_FFFF
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def number(field: int, value: int) -> bytes:
    return varint(field << 3) + varint(value)


def block(field: int, content: bytes | str) -> bytes:
    content = content.encode() if isinstance(content, str) else content
    return varint(field << 3 | 2) + varint(len(content)) + content


def tensor(
    name: str,
    dtype: str,
    shape: Sequence[int],
    content: bytes | None = None,
    *,
    external: str | None = None,
) -> bytes:
    """A constant; zeros where nothing is said of its content."""
    count = 1
    for size in shape:
        count *= size
    body = b"".join(number(1, size) for size in shape) + number(2, TYPES[dtype]) + block(8, name)
    if external is not None:
        pair = block(1, "location") + block(2, external)
        return body + block(13, pair) + number(14, 1)
    return body + block(9, bytes(count * _BYTES[dtype]) if content is None else content)


def integers(name: str, *values: int) -> bytes:
    return tensor(name, "int64", [len(values)], struct.pack(f"<{len(values)}q", *values))


def value(name: str, dtype: str, shape: Iterable[int | str] | None) -> bytes:
    """An input or output; a word in its shape is a size that is open."""
    sizes = b""
    if shape is not None:
        dims = (number(1, d) if isinstance(d, int) else block(2, d) for d in shape)
        sizes = block(2, b"".join(block(1, dim) for dim in dims))
    return block(1, name) + block(2, block(1, number(1, TYPES[dtype]) + sizes))


def node(
    kind: str,
    inputs: Sequence[str],
    outputs: Sequence[str],
    *,
    domain: str = "",
    attributes: dict[str, Sequence[int] | int | str | bytes] | None = None,
) -> bytes:
    """An operator; an attribute of bytes is a graph."""
    body = b"".join(block(1, name) for name in inputs)
    body += b"".join(block(2, name) for name in outputs) + block(4, kind)
    for name, held in (attributes or {}).items():
        told = block(1, name)
        if isinstance(held, bytes):
            told += block(6, held) + number(20, 5)
        elif isinstance(held, str):
            told += block(4, held) + number(20, 3)
        elif isinstance(held, int):
            told += number(3, held) + number(20, 2)
        else:
            told += block(8, b"".join(map(varint, held))) + number(20, 7)
        body += block(5, told)
    return body + (block(7, domain) if domain else b"")


def graph(
    nodes: Sequence[bytes],
    constants: Sequence[bytes] = (),
    inputs: Sequence[bytes] = (),
    outputs: Sequence[bytes] = (),
) -> bytes:
    parts = [(1, nodes), (5, constants), (11, inputs), (12, outputs)]
    return b"".join(block(field, each) for field, every in parts for each in every)


def model(inside: bytes, *, opset: int = 17, ir_version: int = 8) -> bytes:
    head = number(1, ir_version) + block(2, "a test") + block(3, "1")
    return head + block(7, inside) + block(8, block(1, "") + number(2, opset))


#: What an integer of the quantized files stands for.
STEP = 1 / 32
#: Integers as weights of a convolution of 3 to 4 channels, 3 × 3; some lie beyond 7 bits.
WEIGHTS = bytes((37 * place * place + 11 * place) % 255 - 127 & 0xFF for place in range(108))


def _floats(*values: float) -> bytes:
    return struct.pack(f"<{len(values)}f", *values)


def convolution(batch: int | str = "batch", side: int | str = 8) -> bytes:
    """A convolution of 3 to 4 channels, 3 × 3, with its bias; a square image."""
    weights = _floats(*(STEP * value for value in struct.unpack("108b", WEIGHTS)))
    return model(
        graph(
            [node("Conv", ["x", "w", "b"], ["y"], attributes={"pads": [1, 1, 1, 1]})],
            [tensor("w", "float32", [4, 3, 3, 3], weights), tensor("b", "float32", [4])],
            [value("x", "float32", [batch, 3, side, side])],
            [value("y", "float32", [batch, 4, side, side])],
        )
    )


def quantized(activations: str, weights: str, content: bytes | None = WEIGHTS) -> bytes:
    """The same convolution between conversions: QDQ."""
    middle = bytes([128 if activations == "uint8" else 0])
    return model(
        graph(
            [
                node("QuantizeLinear", ["x", "xs", "xz"], ["xq"]),
                node("DequantizeLinear", ["xq", "xs", "xz"], ["xd"]),
                node("DequantizeLinear", ["wq", "ws", "wz"], ["wd"], attributes={"axis": 0}),
                node("Conv", ["xd", "wd"], ["yf"], attributes={"pads": [1, 1, 1, 1]}),
                node("QuantizeLinear", ["yf", "ys", "xz"], ["yq"]),
                node("DequantizeLinear", ["yq", "ys", "xz"], ["y"]),
            ],
            [
                tensor("xs", "float32", [], _floats(STEP / 4)),
                tensor("ys", "float32", [], _floats(STEP * 16)),
                tensor("xz", activations, [], middle),
                tensor("ws", "float32", [4], _floats(*[STEP] * 4)),
                tensor("wz", weights, [4]),
                tensor("wq", weights, [4, 3, 3, 3], content),
            ],
            [value("x", "float32", ["batch", 3, 8, 8])],
            [value("y", "float32", ["batch", 4, 8, 8])],
        )
    )
