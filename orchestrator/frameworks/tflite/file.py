"""What a ``.tflite`` file says, as plain values: tensors, operators, constants.

Field numbers are those of the TensorFlow Lite schema (``schema.fbs``), named beside each.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from orchestrator.frameworks.tflite.flatbuffer import Buffer, Bytes, MalformedError, Table
from orchestrator.frameworks.tflite.names import OPERATORS, TYPES

_IDENTIFIER = b"TFL3"
_OPTIONAL = -1  # an optional input that is not there
_MAX_RANK = 16  # no runtime takes more than 8; the product of a long shape takes for ever


@dataclass(frozen=True)
class Tensor:
    """``shape`` has -1 where the size is open. ``constant_bytes`` is 0 for activations."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    constant_bytes: int
    scales: tuple[float, ...]

    @property
    def constant(self) -> bool:
        return self.constant_bytes > 0

    @property
    def elements(self) -> int:
        return math.prod(self.shape)


@dataclass(frozen=True)
class Operator:
    """``inputs`` and ``outputs`` are indices of tensors; absent optional inputs are left out."""

    name: str
    version: int
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


@dataclass(frozen=True)
class Graph:
    """One subgraph."""

    tensors: tuple[Tensor, ...]
    operators: tuple[Operator, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]

    @cached_property
    def dequantized(self) -> Mapping[int, str]:
        """Tensors that a DEQUANTIZE makes of a constant, with that constant's type."""
        return {
            op.outputs[0]: self.tensors[op.inputs[0]].dtype
            for op in self.operators
            if op.name == "DEQUANTIZE"
            and op.inputs
            and op.outputs
            and self.tensors[op.inputs[0]].constant
        }


@dataclass(frozen=True)
class ModelFile:
    """A whole file. ``graphs[0]`` is the one that runs.

    ``min_runtime`` is the oldest runtime version that has every operator version used, as the
    converter noted it; None where it did not.
    """

    description: str
    graphs: tuple[Graph, ...]
    constant_bytes: int
    min_runtime: str | None


def read_model(data: Bytes) -> ModelFile:
    """Raises MalformedError, whatever the bytes are."""
    if data[4:8] != _IDENTIFIER:
        raise MalformedError("it does not have TFL3 at byte 4")
    buffer = Buffer(data)
    root = buffer.root()
    codes = tuple(_operator_code(table) for table in root.tables(1))  # operator_codes
    extents = tuple(_constant(table, buffer) for table in root.tables(4))  # buffers
    sizes = tuple(length for _, length in extents)
    graphs = tuple(_graph(table, codes, sizes) for table in root.tables(2))  # subgraphs
    if not graphs:
        raise MalformedError("it has no graph")
    return ModelFile(
        description=root.text(3),  # description
        graphs=graphs,
        constant_bytes=sum(sizes),
        min_runtime=_min_runtime(root, buffer, extents),
    )


def _operator_code(table: Table) -> tuple[str, int]:
    # The number outgrew a byte: deprecated_builtin_code keeps the low ones, builtin_code is new.
    number = max(table.integer(0, "b"), table.integer(3, "i"))
    if number < 0:
        raise MalformedError(f"operator code {number}")
    name = OPERATORS[number] if number < len(OPERATORS) else f"OPERATOR_{number}"
    if name == "CUSTOM":
        name = f"CUSTOM:{table.text(1)}"  # custom_code
    return name, table.integer(2, "i", default=1)  # version


def _constant(table: Table, buffer: Buffer) -> tuple[int, int]:
    """Where a constant's bytes are: in the table, or behind the tables in files above 2 GB."""
    offset = table.integer(1, "Q")
    if offset <= 1:
        return table.extent(0)
    size = table.integer(2, "Q")
    buffer.check_range(offset, size)
    return offset, size


def _graph(table: Table, codes: tuple[tuple[str, int], ...], sizes: tuple[int, ...]) -> Graph:
    tensors = tuple(_tensor(t, sizes) for t in table.tables(0))
    return Graph(
        tensors=tensors,
        operators=tuple(_operator(t, codes, len(tensors)) for t in table.tables(3)),
        inputs=_indices(table, 1, len(tensors)),
        outputs=_indices(table, 2, len(tensors)),
    )


def _tensor(table: Table, sizes: tuple[int, ...]) -> Tensor:
    number = table.integer(1, "b")  # type
    buffer_index = table.integer(2, "I")
    if buffer_index >= len(sizes):
        raise MalformedError(f"a tensor refers to constant {buffer_index} of {len(sizes)}")
    quantization = table.table(4)
    shape = table.integers(7) or table.integers(0)  # shape_signature, shape
    if len(shape) > _MAX_RANK:
        raise MalformedError(f"a tensor has {len(shape)} dimensions")
    return Tensor(
        name=table.text(3),
        shape=shape,
        dtype=TYPES[number] if 0 <= number < len(TYPES) else f"type_{number}",
        constant_bytes=sizes[buffer_index],
        scales=quantization.floats(2) if quantization else (),
    )


def _operator(table: Table, codes: tuple[tuple[str, int], ...], tensors: int) -> Operator:
    index = table.integer(0, "I")  # opcode_index
    if index >= len(codes):
        raise MalformedError(f"an operator refers to code {index} of {len(codes)}")
    name, version = codes[index]
    return Operator(name, version, _indices(table, 1, tensors), _indices(table, 2, tensors))


def _indices(table: Table, field: int, tensors: int) -> tuple[int, ...]:
    indices = tuple(i for i in table.integers(field) if i != _OPTIONAL)
    if indices and not (min(indices) >= 0 and max(indices) < tensors):
        raise MalformedError(f"a tensor index is not in 0 … {tensors - 1}")
    return indices


def _min_runtime(root: Table, buffer: Buffer, extents: tuple[tuple[int, int], ...]) -> str | None:
    for entry in root.tables(6):  # metadata
        index = entry.integer(1, "I")
        if entry.text(0) == "min_runtime_version" and index < len(extents):
            text = buffer.slice(*extents[index]).rstrip(b"\0").decode("ascii", "replace")
            return text or None
    return None
