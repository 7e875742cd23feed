"""Small and large ``.tflite`` files, written by hand: what no converter at hand writes."""

from __future__ import annotations

from typing import Any

import pytest

#: Operators that together cost more than a small file's reader would allow.
SHARED_TABLES = 40_000

FLOAT32, INT32, _INT8 = 0, 2, 9
_CONCATENATION, _FULLY_CONNECTED = 2, 9


class Writer:
    """A FlatBuffers builder that knows tables by the numbers of their fields."""

    def __init__(self) -> None:
        flatbuffers = pytest.importorskip("flatbuffers")
        self.builder: Any = flatbuffers.Builder(1024)

    def table(self, fields: dict[int, tuple[str, int]]) -> int:
        """Fields are (kind, value): ``ref``, or a scalar of the builder's by its name."""
        self.builder.StartObject(12)
        for number, (kind, value) in fields.items():
            if kind == "ref":
                self.builder.PrependUOffsetTRelativeSlot(number, value, 0)
            else:
                getattr(self.builder, f"Prepend{kind}Slot")(number, value, 0)
        return int(self.builder.EndObject())

    def tables(self, offsets: list[int]) -> int:
        self.builder.StartVector(4, len(offsets), 4)
        for offset in reversed(offsets):
            self.builder.PrependUOffsetTRelative(offset)
        return int(self.builder.EndVector())

    def numbers(self, values: list[int]) -> int:
        self.builder.StartVector(4, len(values), 4)
        for value in reversed(values):
            self.builder.PrependInt32(value)
        return int(self.builder.EndVector())

    def finish(self, root: int) -> bytes:
        self.builder.Finish(root, b"TFL3")
        return bytes(self.builder.Output())


def per_channel_network(
    rows: int, signatures: int, *, layers: int = 1, behind: bool = False, padding: int = 0
) -> bytes:
    """Signatures that each multiply by one shared int8 matrix of rows × 4, a scale a row.

    Each signature's graph has its own copy of the scales, as a converter writes them, and runs the
    layer ``layers`` times. With ``behind`` the matrix stands behind the FlatBuffer. ``padding`` is
    the size of a constant that nothing uses.
    """
    np = pytest.importorskip("numpy")
    matrix = bytes(range(4)) * rows
    # where the matrix will be is known once the file is written: the second time it is right
    place = 0
    for _ in range(2):
        w = Writer()
        if behind:
            weights = w.table({1: ("Uint64", place or 2), 2: ("Uint64", len(matrix))})
        else:
            weights = w.table({0: ("ref", w.builder.CreateByteVector(matrix))})
        spare = w.table({0: ("ref", w.builder.CreateByteVector(bytes(padding)))})
        buffers = w.tables([w.table({}), weights, spare])
        code = w.table({0: ("Int8", _FULLY_CONNECTED), 2: ("Int32", 3), 3: ("Int32", 9)})
        graphs, named = [], []
        for number in range(signatures):
            scales = w.builder.CreateNumpyVector(np.full(rows, 0.5, dtype="<f4"))
            quantization = w.table({2: ("ref", scales)})
            shapes = [w.numbers(shape) for shape in ([number + 1, 4], [rows, 4], [1, rows])]
            tensors = [
                w.table({0: ("ref", shapes[0])}),
                w.table(
                    {
                        0: ("ref", shapes[1]),
                        1: ("Int8", _INT8),
                        2: ("Uint32", 1),
                        4: ("ref", quantization),
                    }
                ),
                w.table({0: ("ref", shapes[2])}),
            ]
            layer = w.table({1: ("ref", w.numbers([0, 1, -1])), 2: ("ref", w.numbers([2]))})
            graphs.append(
                w.table(
                    {
                        0: ("ref", w.tables(tensors)),
                        1: ("ref", w.numbers([0])),
                        2: ("ref", w.numbers([2])),
                        3: ("ref", w.tables([layer] * layers)),
                    }
                )
            )
            key = w.builder.CreateString(f"s{number}")
            named.append(w.table({2: ("ref", key), 4: ("Uint32", number)}))
        root = w.table(
            {
                1: ("ref", w.tables([code])),
                2: ("ref", w.tables(graphs)),
                4: ("ref", buffers),
                7: ("ref", w.tables(named)),
            }
        )
        data = w.finish(root)
        if not behind:
            return data
        place = len(data)
    return data + matrix


def network_with_inputs(inputs: dict[str, tuple[int, list[int]]]) -> bytes:
    """One operator over named inputs, each (type, shape), which no converter gives names without
    a ``:``. Nothing here runs it."""
    w = Writer()
    places = list(range(len(inputs)))
    tensors = [
        w.table(
            {
                0: ("ref", w.numbers(shape)),
                1: ("Int8", dtype),
                3: ("ref", w.builder.CreateString(name)),
            }
        )
        for name, (dtype, shape) in inputs.items()
    ]
    tensors.append(w.table({0: ("ref", w.numbers([1, 4]))}))
    code = w.table({0: ("Int8", _CONCATENATION), 2: ("Int32", 1), 3: ("Int32", _CONCATENATION)})
    joined = w.table({1: ("ref", w.numbers(places)), 2: ("ref", w.numbers([len(inputs)]))})
    graph = w.table(
        {
            0: ("ref", w.tables(tensors)),
            1: ("ref", w.numbers(places)),
            2: ("ref", w.numbers([len(inputs)])),
            3: ("ref", w.tables([joined])),
        }
    )
    root = w.table(
        {
            1: ("ref", w.tables([code])),
            2: ("ref", w.tables([graph])),
            4: ("ref", w.tables([w.table({})])),
        }
    )
    return w.finish(root)
