"""The parts of an ``.onnx`` file, as they stand in it: graphs, their nodes, their constants.

The field numbers are those of ``onnx.proto3``. Constants are not decoded but for small ones that
say a shape; where their bytes lie is kept.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

from orchestrator.frameworks.files import Bytes
from orchestrator.frameworks.onnx.wire import (
    MalformedError,
    Span,
    Value,
    Wire,
    number_of,
    span_of,
)

#: A size that is open.
OPEN = -1
#: Graphs within graphs (``If``, ``Loop``): deeper than any real one.
_DEEPEST = 16
_MOST_DIMENSIONS = 64
#: Of a size; beyond it lies no memory.
_LARGEST = 1 << 48
#: Values of a constant that says a shape.
_MOST_VALUES = 64

#: Types of values by their number in a file, and bits of one.
DTYPES: dict[int, str] = {
    1: "float32", 2: "uint8", 3: "int8", 4: "uint16", 5: "int16", 6: "int32", 7: "int64",
    8: "string", 9: "bool", 10: "float16", 11: "float64", 12: "uint32", 13: "uint64",
    14: "complex64", 15: "complex128", 16: "bfloat16", 17: "float8e4m3fn", 18: "float8e4m3fnuz",
    19: "float8e5m2", 20: "float8e5m2fnuz", 21: "uint4", 22: "int4", 23: "float4e2m1",
    24: "float8e8m0", 25: "uint2", 26: "int2",
}  # fmt: skip
FLOATS = frozenset(name for name in DTYPES.values() if "float" in name)


@dataclass(frozen=True)
class Constant:
    """A tensor that stands in the file. ``raw`` is where its bytes lie, None where they are written
    otherwise or in another file, ``external``."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    raw: Span | None = None
    external: str | None = None
    values: tuple[int, ...] | None = None

    @property
    def elements(self) -> int:
        """How many values it has."""
        return math.prod(self.shape)


@dataclass(frozen=True)
class ValueInfo:
    """What a file says of a tensor by its name; ``shape`` is None where it does not say."""

    name: str
    dtype: str
    shape: tuple[int, ...] | None


@dataclass(frozen=True)
class Node:
    """An operator of a graph. ``domain`` is empty for ONNX's own operators; of its attributes those
    are kept that are whole numbers, words or graphs."""

    name: str
    domain: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: dict[str, tuple[int, ...]] = field(default_factory=dict)
    words: dict[str, str] = field(default_factory=dict)
    constant: Constant | None = None
    graphs: tuple[Graph, ...] = ()

    @property
    def title(self) -> str:
        """Return the operator with its domain: ``com.microsoft.QGemm``."""
        return f"{self.domain}.{self.name}" if self.domain else self.name

    def input(self, place: int) -> str:
        """Return an input's name, empty where it is absent."""
        return self.inputs[place] if place < len(self.inputs) else ""


@dataclass(frozen=True)
class Graph:
    """A graph: its nodes in the order in which they run."""

    nodes: tuple[Node, ...]
    constants: dict[str, Constant]
    inputs: tuple[ValueInfo, ...]
    outputs: tuple[ValueInfo, ...]
    known: dict[str, ValueInfo]

    def fed(self) -> tuple[ValueInfo, ...]:
        """Return the inputs that nothing in the file gives a value."""
        return tuple(each for each in self.inputs if each.name not in self.constants)


@dataclass(frozen=True)
class ModelFile:
    """A file as a whole. ``opset`` is the version of ONNX's own operators, None where the file does
    not say; ``domains`` are the versions of others. ``functions`` are operators that the file
    defines itself, as (domain, name)."""

    graph: Graph
    ir_version: int | None
    opset: int | None
    domains: dict[str, int]
    producer: str
    functions: frozenset[tuple[str, str]]
    notes: dict[str, str]


def read_model(data: Bytes) -> ModelFile:
    """Read a file. Raises MalformedError, whatever the bytes are."""
    return _Reader(Wire(data)).model()


@dataclass(frozen=True)
class _Attribute:
    """What an operator is told beside its inputs."""

    name: str
    numbers: tuple[int, ...]
    word: str
    tensor: Constant | None
    graphs: tuple[Graph, ...]


class _Reader:
    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    def model(self) -> ModelFile:
        wire = self._wire
        graph: Graph | None = None
        ir_version: int | None = None
        producer = version = ""
        opsets: dict[str, int] = {}
        functions: set[tuple[str, str]] = set()
        notes: dict[str, str] = {}
        for number, value in wire.fields(wire.whole()):
            if number == 1:
                ir_version = number_of(value)
            elif number == 2:
                producer = wire.text(value)
            elif number == 3:
                version = wire.text(value)
            elif number == 7:
                if graph is not None:
                    raise MalformedError("it has two graphs")
                graph = self._graph(span_of(value), 0)
            elif number == 8:
                opsets.update([self._opset(span_of(value))])
            elif number == 14:
                notes.update([self._pair(span_of(value))])
            elif number == 25:
                functions.add(self._function(span_of(value)))
        if graph is None:
            raise MalformedError("it has no graph")
        own = {domain: n for domain, n in opsets.items() if domain in ("", "ai.onnx")}
        return ModelFile(
            graph,
            ir_version,
            max(own.values(), default=None),
            {domain: n for domain, n in opsets.items() if domain not in own},
            f"{producer} {version}".strip(),
            frozenset(functions),
            notes,
        )

    def _opset(self, span: Span) -> tuple[str, int]:
        domain, version = "", 0
        for number, value in self._wire.fields(span):
            if number == 1:
                domain = self._wire.text(value)
            elif number == 2:
                version = number_of(value)
        return domain, version

    def _pair(self, span: Span) -> tuple[str, str]:
        key = text = ""
        for number, value in self._wire.fields(span):
            if number == 1:
                key = self._wire.text(value)
            elif number == 2:
                text = self._wire.text(value)
        return key, text

    def _function(self, span: Span) -> tuple[str, str]:
        name = domain = ""
        for number, value in self._wire.fields(span):
            if number == 1:
                name = self._wire.text(value)
            elif number == 10:
                domain = self._wire.text(value)
        return domain, name

    def _graph(self, span: Span, depth: int) -> Graph:
        if depth > _DEEPEST:
            raise MalformedError(f"graphs stand in each other {depth} deep")
        nodes: list[Node] = []
        constants: dict[str, Constant] = {}
        sides: dict[int, list[ValueInfo]] = {11: [], 12: [], 13: []}
        for number, value in self._wire.fields(span):
            if number == 1:
                nodes.append(self._node(span_of(value), depth))
            elif number == 5:
                constant = self._constant(span_of(value))
                constants[constant.name] = constant
            elif number in sides:
                sides[number].append(self._value_info(span_of(value)))
        for node in nodes:
            if node.constant is not None and node.outputs:
                constants[node.outputs[0]] = node.constant
        told = {each.name: each for side in sides.values() for each in side}
        return Graph(tuple(nodes), constants, tuple(sides[11]), tuple(sides[12]), told)

    def _node(self, span: Span, depth: int) -> Node:
        wire = self._wire
        inputs: list[str] = []
        outputs: list[str] = []
        name = domain = ""
        attributes: dict[str, tuple[int, ...]] = {}
        words: dict[str, str] = {}
        constant: Constant | None = None
        graphs: list[Graph] = []
        for number, value in wire.fields(span):
            if number == 1:
                inputs.append(wire.text(value))
            elif number == 2:
                outputs.append(wire.text(value))
            elif number == 4:
                name = wire.text(value)
            elif number == 7:
                domain = wire.text(value)
            elif number == 5:
                found = self._attribute(span_of(value), depth)
                attributes[found.name] = found.numbers
                words[found.name] = found.word
                graphs += found.graphs
                constant = found.tensor if found.name == "value" else constant
        if domain == "ai.onnx":
            domain = ""
        return Node(
            name,
            domain,
            tuple(inputs),
            tuple(outputs),
            attributes,
            words,
            constant if name == "Constant" and not domain else None,
            tuple(graphs),
        )

    def _attribute(self, span: Span, depth: int) -> _Attribute:
        name = word = ""
        numbers: list[int] = []
        tensor: Constant | None = None
        graphs: list[Graph] = []
        for number, value in self._wire.fields(span):
            if number == 1:
                name = self._wire.text(value)
            elif number in (3, 8):
                numbers += self._wire.integers(value)
            elif number == 4:
                word = self._wire.text(value)
            elif number == 5:
                tensor = self._constant(span_of(value))
            elif number in (6, 11):
                graphs.append(self._graph(span_of(value), depth + 1))
        return _Attribute(name, tuple(numbers), word, tensor, tuple(graphs))

    def _constant(self, span: Span) -> Constant:
        name, dtype, location = "", 0, 0
        shape: list[int] = []
        raw: Span | None = None
        external: str | None = None
        lists: list[Value] = []
        for number, value in self._wire.fields(span):
            if number == 1:
                shape += self._wire.integers(value)
            elif number == 2:
                dtype = number_of(value)
            elif number == 8:
                name = self._wire.text(value)
            elif number == 9:
                raw = span_of(value)
            elif number == 13:
                key, text = self._pair(span_of(value))
                external = text if key == "location" else external
            elif number == 14:
                location = number_of(value)
            elif number == 7:
                lists.append(value)
        self._check_shape(shape)
        if location != 1:
            external = None
        elif external is None:
            external = "a file that it does not name"
        called = DTYPES.get(dtype, f"type {dtype}")
        constant = Constant(name, tuple(shape), called, raw, external)
        if called == "int64" and constant.elements <= _MOST_VALUES and external is None:
            return Constant(name, tuple(shape), called, raw, None, self._numbers(raw, lists))
        return constant

    def _numbers(self, raw: Span | None, lists: list[Value]) -> tuple[int, ...] | None:
        if raw is not None:
            if raw.size % 8 or raw.size > 8 * _MOST_VALUES:
                return None
            return struct.unpack(f"<{raw.size // 8}q", self._wire.data[raw.start : raw.end])
        found = [number for value in lists for number in self._wire.integers(value)]
        return tuple(found[:_MOST_VALUES])

    @staticmethod
    def _check_shape(shape: list[int]) -> None:
        if len(shape) > _MOST_DIMENSIONS:
            raise MalformedError(f"a tensor has {len(shape)} dimensions")
        if any(not 0 <= size < _LARGEST for size in shape) or math.prod(shape) >= _LARGEST:
            raise MalformedError(f"a tensor has the shape {shape[:8]}")

    def _value_info(self, span: Span) -> ValueInfo:
        name, dtype = "", "nothing that is told"
        shape: tuple[int, ...] | None = None
        for number, value in self._wire.fields(span):
            if number == 1:
                name = self._wire.text(value)
            elif number == 2:
                dtype, shape = self._type(span_of(value))
        return ValueInfo(name, dtype, shape)

    def _type(self, span: Span) -> tuple[str, tuple[int, ...] | None]:
        kinds = {4: "a sequence", 5: "a map", 8: "a sparse tensor", 9: "an optional value"}
        dtype, shape = "nothing that is told", None
        for number, value in self._wire.fields(span):
            if number in kinds:
                dtype = kinds[number]
            elif number == 1:
                for inner, held in self._wire.fields(span_of(value)):
                    if inner == 1:
                        code = number_of(held)
                        dtype = DTYPES.get(code, f"type {code}")
                    elif inner == 2:
                        shape = self._shape(span_of(held))
        return dtype, shape

    def _shape(self, span: Span) -> tuple[int, ...]:
        shape: list[int] = []
        for number, value in self._wire.fields(span):
            if number == 1:
                size = OPEN
                for inner, held in self._wire.fields(span_of(value)):
                    if inner == 1:
                        size = number_of(held)
                shape.append(size if size >= 0 else OPEN)
        self._check_shape([1 if size == OPEN else size for size in shape])
        return tuple(shape)


def every_graph(graph: Graph) -> Iterator[Graph]:
    """Yield a graph and all that stand in its operators."""
    waiting = [graph]
    while waiting:
        found = waiting.pop()
        yield found
        waiting += [inner for node in found.nodes for inner in node.graphs]
