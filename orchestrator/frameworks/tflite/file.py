"""What a ``.tflite`` file says, as plain values: tensors, operators, constants, signatures.

Field numbers are those of the TensorFlow Lite schema (``schema.fbs``), named beside each.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from orchestrator.frameworks.files import Bytes
from orchestrator.frameworks.tflite.flatbuffer import Buffer, MalformedError, Table
from orchestrator.frameworks.tflite.names import INTEGER_WEIGHTS, OPERATORS, OPTIONS, TYPES

_IDENTIFIER = b"TFL3"
_OPTIONAL = -1  # an optional input that is not there
_NO_CONSTANT = (0, 0)
_MAX_RANK = 16  # no runtime takes more than 8; the product of a long shape takes for ever
_MOST_SIGNATURES = 200  # a language model has one for each length of a prompt, some ten
_MOST_VALUES = 8  # of a constant that holds a shape, an axis or a loop's bound
_MOST_VERSION_BYTES = 32
_WHOLE_NUMBERS = {"int32": ("i", 4), "int64": ("q", 8)}
_IN_BLOCKS, _OVER_AXES = 2, 3  # QuantizationDetails: BlockwiseQuantization, MultiAxisQuantization
#: Subgraphs that an operator may refer to. Those of a WHILE are its condition and its body.
_CALLED = ("then", "else", "cond", "body", "init", "callee", "decomposition")


@dataclass(frozen=True)
class Tensor:
    """``shape`` has -1 where the size is open.

    ``constant_bytes`` is 0 for activations, and ``external`` says that the constant is in another
    file. ``buffer`` is equal for constants that are the same bytes. ``values`` are those of a small
    constant of whole numbers. ``scales`` counts the scales, ``scale`` is the first one and
    ``zero_point`` the integer that stands for 0 with it. ``block`` is how many weights of a row
    share a scale, 0 where no block is used: then the scales are the tensor ``block_scales``.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    constant_bytes: int = 0
    buffer: int = 0
    external: bool = False
    values: tuple[int, ...] = ()
    scales: int = 0
    scale: float | None = None
    zero_point: int = 0
    axis: int = 0
    block: int = 0
    block_scales: int = -1
    over_axes: bool = False
    sparse: bool = False

    @property
    def constant(self) -> bool:
        return self.constant_bytes > 0 or self.external

    @property
    def elements(self) -> int:
        return math.prod(self.shape)

    @property
    def quantized(self) -> bool:
        """Whether its integers stand for real numbers, which only a scale says."""
        scaled = self.scales > 0 or self.block > 0 or self.over_axes
        return scaled and self.dtype in INTEGER_WEIGHTS


@dataclass(frozen=True)
class Operator:
    """``slots`` and ``outputs`` are indices of tensors; an absent optional input is -1.

    ``options`` holds what :data:`OPTIONS` lists of this operator.
    """

    name: str
    version: int
    slots: tuple[int, ...]
    outputs: tuple[int, ...]
    options: tuple[tuple[str, int], ...] = ()

    @property
    def inputs(self) -> tuple[int, ...]:
        """Return the inputs that are there."""
        return tuple(index for index in self.slots if index != _OPTIONAL)

    def option(self, name: str) -> int:
        """Return one of the options, 0 where the operator has none of that name."""
        return dict(self.options).get(name, 0)

    @property
    def called(self) -> Mapping[str, int]:
        """Return the subgraphs that it runs, by their part in it."""
        return {name: index for name, index in self.options if name in _CALLED}


@dataclass(frozen=True)
class Graph:
    """One subgraph."""

    tensors: tuple[Tensor, ...]
    operators: tuple[Operator, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]

    @cached_property
    def makers(self) -> Mapping[int, Operator]:
        """Return the operator that computes each tensor."""
        return {index: op for op in self.operators for index in op.outputs}

    def tensor(self, operator: Operator, slot: int) -> Tensor | None:
        """Return an operator's input by its place, None where it is absent."""
        if slot >= len(operator.slots) or operator.slots[slot] == _OPTIONAL:
            return None
        return self.tensors[operator.slots[slot]]


@dataclass(frozen=True)
class Signature:
    """A named way to call the file: one of its graphs, and names for its inputs and outputs."""

    name: str
    graph: int
    inputs: tuple[tuple[str, int], ...]
    outputs: tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class ModelFile:
    """A whole file. ``graphs[0]`` is what a runtime calls where no signature is chosen.

    ``min_runtime`` is the oldest runtime version that has every operator version used, as the
    converter noted it; None where it did not. ``external_files`` are the names of the files that
    hold the weights that this one does not. ``extents`` says where each constant's bytes are.
    """

    description: str
    graphs: tuple[Graph, ...]
    constant_bytes: int
    min_runtime: str | None
    signatures: tuple[Signature, ...] = ()
    external_files: tuple[str, ...] = ()
    extents: tuple[tuple[int, int], ...] = ()


def read_model(data: Bytes) -> ModelFile:
    """Raises MalformedError, whatever the bytes are."""
    if data[4:8] != _IDENTIFIER:
        raise MalformedError("it does not have TFL3 at byte 4")
    buffer = Buffer(data)
    root = buffer.root()
    codes = tuple(_operator_code(table) for table in root.tables(1))  # operator_codes
    extents = tuple(_constant(table, buffer) for table in root.tables(4))  # buffers
    extents = extents or (_NO_CONSTANT,)  # the first one is empty by definition
    tables = list(root.tables(2))  # subgraphs
    graphs = tuple(_graph(table, codes, extents, buffer, len(tables)) for table in tables)
    if not graphs:
        raise MalformedError("it has no graph")
    return ModelFile(
        description=root.text(3),  # description
        graphs=graphs,
        constant_bytes=sum(length for _, length in extents),
        min_runtime=_min_runtime(root, buffer, extents),
        signatures=_signatures(root, graphs, buffer),
        external_files=tuple(group.text(0) for group in root.tables(8)),  # external_buffer_groups
        extents=extents,
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
    """Find where a constant's bytes are: in the table, or behind the tables, where large ones
    are."""
    offset = table.integer(1, "Q")
    if offset <= 1:
        return table.extent(0)
    size = table.integer(2, "Q")
    buffer.check_range(offset, size)
    return offset, size


def _graph(
    table: Table,
    codes: Sequence[tuple[str, int]],
    extents: Sequence[tuple[int, int]],
    buffer: Buffer,
    graphs: int,
) -> Graph:
    tensors = tuple(_tensor(t, extents, buffer) for t in table.tables(0))
    return Graph(
        tensors=tensors,
        operators=tuple(_operator(t, codes, len(tensors), graphs) for t in table.tables(3)),
        inputs=_present(table, 1, len(tensors)),
        outputs=_present(table, 2, len(tensors)),
    )


def _tensor(table: Table, extents: Sequence[tuple[int, int]], buffer: Buffer) -> Tensor:
    number = table.integer(1, "b")  # type
    index = table.integer(2, "I")  # buffer
    if index >= len(extents):
        raise MalformedError(f"a tensor refers to constant {index} of {len(extents)}")
    shape = table.integers(7) or table.integers(0)  # shape_signature, shape
    if len(shape) > _MAX_RANK:
        raise MalformedError(f"a tensor has {len(shape)} dimensions")
    dtype = TYPES[number] if 0 <= number < len(TYPES) else f"type_{number}"
    quantization = table.table(4)
    scales, scale, zero_point, axis, block, block_scales, over_axes = 0, None, 0, 0, 0, -1, False
    if quantization is not None:
        scales, scale = quantization.floats(2)  # scale
        zero_point = quantization.first(3, "q")  # zero_point
        axis = quantization.integer(6, "i")  # quantized_dimension
        details = quantization.integer(4, "B")  # details_type
        over_axes = details == _OVER_AXES
        if details == _IN_BLOCKS and (in_blocks := quantization.table(5)) is not None:
            block = max(0, in_blocks.integer(2, "i"))  # block_size
            block_scales = in_blocks.integer(0, "i")  # scales
    external = table.integer(10, "I")  # external_buffer
    return Tensor(
        name=table.text(3),
        shape=shape,
        dtype=dtype,
        constant_bytes=extents[index][1],
        # those of other files are numbered apart
        buffer=-external if external else index,
        external=external > 0,
        values=_values(dtype, extents[index], buffer),
        scales=scales,
        scale=scale,
        zero_point=zero_point,
        axis=axis,
        block=block,
        block_scales=block_scales,
        over_axes=over_axes,
        sparse=table.has(6),  # sparsity
    )


def _values(dtype: str, extent: tuple[int, int], buffer: Buffer) -> tuple[int, ...]:
    start, length = extent
    kind, size = _WHOLE_NUMBERS.get(dtype, ("", 0))
    if not size or not 0 < length <= _MOST_VALUES * size or length % size:
        return ()
    buffer.visit(length // size)
    return tuple(buffer.scalar(kind, start + place) for place in range(0, length, size))


def _operator(
    table: Table, codes: Sequence[tuple[str, int]], tensors: int, graphs: int
) -> Operator:
    index = table.integer(0, "I")  # opcode_index
    if index >= len(codes):
        raise MalformedError(f"an operator refers to code {index} of {len(codes)}")
    name, version = codes[index]
    operator = Operator(
        name,
        version,
        _indices(table, 1, tensors),
        _indices(table, 2, tensors),
        _options(name, table),
    )
    for part, graph in operator.called.items():
        if not 0 <= graph < graphs:
            raise MalformedError(f"the {part} of {name} is graph {graph} of {graphs}")
    return operator


def _options(name: str, table: Table) -> tuple[tuple[str, int], ...]:
    found = OPTIONS.get(name)
    if found is None:
        return ()
    union, fields = found
    options = table.table(union)
    if options is None:
        return tuple((each.name, each.default) for each in fields)
    return tuple((e.name, options.integer(e.field, e.kind, e.default)) for e in fields)


def _present(table: Table, field: int, tensors: int) -> tuple[int, ...]:
    return tuple(index for index in _indices(table, field, tensors) if index != _OPTIONAL)


def _indices(table: Table, field: int, tensors: int) -> tuple[int, ...]:
    indices = table.integers(field)
    if indices and not (min(indices) >= _OPTIONAL and max(indices) < tensors):
        raise MalformedError(f"a tensor index is not in 0 … {tensors - 1}")
    return indices


def _signatures(root: Table, graphs: tuple[Graph, ...], buffer: Buffer) -> tuple[Signature, ...]:
    found = []
    for table in root.tables(7):  # signature_defs
        signature = _signature(table, graphs)
        graph = graphs[signature.graph]
        # each is described with all that its graph takes and gives
        buffer.visit(len(graph.inputs) + len(graph.outputs))
        found.append(signature)
        if len(found) > _MOST_SIGNATURES:
            raise MalformedError(f"it has more than {_MOST_SIGNATURES} signatures")
    return tuple(found)


def _signature(table: Table, graphs: tuple[Graph, ...]) -> Signature:
    index = table.integer(4, "I")  # subgraph_index
    if index >= len(graphs):
        raise MalformedError(f"a signature refers to graph {index} of {len(graphs)}")
    tensors = len(graphs[index].tensors)
    return Signature(
        table.text(2),  # signature_key
        index,
        _named_tensors(table, 0, tensors),
        _named_tensors(table, 1, tensors),
    )


def _named_tensors(table: Table, field: int, tensors: int) -> tuple[tuple[str, int], ...]:
    named = tuple((entry.text(0), entry.integer(1, "I")) for entry in table.tables(field))
    if any(index >= tensors for _, index in named):
        raise MalformedError(f"a signature's tensor is not in 0 … {tensors - 1}")
    return named


def _min_runtime(root: Table, buffer: Buffer, extents: tuple[tuple[int, int], ...]) -> str | None:
    for entry in root.tables(6):  # metadata
        index = entry.integer(1, "I")
        if entry.text(0) == "min_runtime_version" and index < len(extents):
            start, length = extents[index]
            noted = buffer.slice(start, min(length, _MOST_VERSION_BYTES)).rstrip(b"\0")
            # whatever else stands there is not a version, and may be meant for a terminal
            found = re.fullmatch(rb"[0-9A-Za-z.+_-]+", noted)
            return noted.decode("ascii") if found else None
    return None
