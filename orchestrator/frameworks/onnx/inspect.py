"""What an ``.onnx`` file really holds, read from its bytes and never from its name.

Needs neither ONNX nor its runtime: a file says by itself which types its numbers have.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from orchestrator.errors import ModelBuildError
from orchestrator.frameworks.files import Bytes, opened
from orchestrator.frameworks.onnx.file import (
    FLOATS,
    OPEN,
    Constant,
    Graph,
    ModelFile,
    Node,
    ValueInfo,
    every_graph,
    read_model,
)
from orchestrator.frameworks.onnx.schemes import (
    MULTIPLYING,
    UNCOUNTED,
    Use,
    Uses,
    WeightRange,
    computes,
    name_scheme,
)
from orchestrator.frameworks.onnx.shapes import Shapes
from orchestrator.frameworks.onnx.wire import MalformedError
from orchestrator.frameworks.onnx.work import multiply_accumulates

_HASHED_AT_ONCE = 1 << 20
#: Constants that say how integers stand for real numbers, by the places of an operator's inputs.
_SCALES = {
    "QuantizeLinear": (1, 2),
    "DequantizeLinear": (1, 2),
    "QLinearConv": (1, 2, 4, 5, 6, 7),
    "QLinearMatMul": (1, 2, 4, 5, 6, 7),
    "QGemm": (1, 2, 4, 5, 7, 8),
    "QLinearAdd": (1, 2, 4, 5, 6, 7),
    "QLinearMul": (1, 2, 4, 5, 6, 7),
    "ConvInteger": (2, 3),
    "MatMulInteger": (2, 3),
}
#: Types of weights and biases of a quantized network.
_INTEGERS = frozenset(
    ("int8", "uint8", "int4", "uint4", "int2", "uint2", "int16", "uint16", "int32")
)
#: Names of an operator of integers whose scheme has a name of its own by its weights' range.
_REDUCED = {"static_u8s8": "static_u8s8_reduced"}


@dataclass(frozen=True)
class TensorInfo:
    """An input or output; -1 in ``shape`` where the size is open. ``shape`` is None where the file
    does not say how many dimensions there are."""

    name: str
    shape: tuple[int, ...] | None
    dtype: str


@dataclass(frozen=True)
class WeightUse:
    """How many operators hold their weights in one way, how many weights that is, and how many
    multiply-accumulates they do."""

    scheme: str
    operators: int
    elements: int
    multiply_accumulates: int


@dataclass(frozen=True)
class Work:
    """What one item costs, and how much of it is quantized.

    ``multiply_accumulates`` is None where the file does not tell for some operator; ``uncounted``
    names those. The shares are of the operators that compute on real numbers, and of the
    multiply-accumulates counted; None without any.
    """

    multiply_accumulates: int | None
    uncounted: tuple[str, ...]
    quantized_operators_share: float | None
    quantized_work_share: float | None


@dataclass(frozen=True)
class Inspection:
    """What an ``.onnx`` file holds.

    ``scheme`` names the types of weights and activations, or is ``mixed`` where there are several
    of either (``weights`` says how). ``form`` is how that is written: ``QDQ``, ``QOperator``,
    ``dynamic``, ``mixed``, or None where nothing is quantized. ``granularity`` is that of integer
    weights: ``per_channel``, ``per_tensor``, ``mixed``, or None where there are none or nothing
    tells. ``reduced_range``: all integer weights lie between -64 and 64. ``parameters`` counts the
    elements of the constants that are real numbers or stand for such, scales and zero points apart.

    ``export`` is ``open`` where the first size of an input is open, ``fixed`` where none is, and
    None without an input that has sizes. ``functions`` are operators that the file defines itself.
    """

    scheme: str
    form: str | None
    granularity: str | None
    reduced_range: bool
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    operators: tuple[tuple[str, int], ...]
    functions: tuple[str, ...]
    weights: tuple[WeightUse, ...]
    weight_types: tuple[str, ...]
    activation_types: tuple[str, ...]
    parameters: int
    work: Work
    ir_version: int | None
    opset: int | None
    domains: tuple[tuple[str, int], ...]
    producer: str
    external_files: tuple[str, ...]
    export: str | None
    size_bytes: int
    sha256: str

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def inspect_file(path: Path) -> Inspection:
    """Read a file and say what it holds. Raises ModelBuildError, whatever the bytes are."""
    with opened(path) as data:
        try:
            return inspect_bytes(data)
        except MalformedError as exc:
            raise ModelBuildError(
                f"{path}: is not a complete .onnx file: {exc}; copy or export it again"
            ) from exc


def inspect_bytes(data: Bytes) -> Inspection:
    """Say what the bytes hold. Raises MalformedError."""
    model = read_model(data)
    graphs = list(every_graph(model.graph))
    found = [_Part(graph) for graph in graphs]
    uses = [use for part in found for use in part.uses]
    held = [constant for graph in graphs for constant in graph.constants.values()]
    form = _agreed({use.form for use in uses if use.integers})
    kept = tuple(use.constant for use in uses if use.integers and use.constant is not None)
    reduced = WeightRange(data, tuple(c for c in kept if c.dtype == "int8")).within_7_bits
    scheme = name_scheme(uses, (constant.dtype for constant in held))
    counts = Counter(node.title for graph in graphs for node in graph.nodes)
    return Inspection(
        scheme=_REDUCED.get(scheme, scheme) if reduced else scheme,
        form=form,
        granularity=_agreed(
            {
                "per_channel" if use.per_channel else "per_tensor"
                for use in uses
                if use.per_channel is not None
            }
        ),
        reduced_range=reduced,
        inputs=tuple(map(_told, model.graph.fed())),
        outputs=tuple(map(_told, model.graph.outputs)),
        operators=tuple(sorted(counts.items(), key=lambda item: (-item[1], item[0]))),
        functions=tuple(sorted(f"{domain}.{name}" for domain, name in model.functions)),
        weights=_weights(found),
        weight_types=tuple(sorted({use.weights for use in uses if use.weights})),
        activation_types=tuple(sorted({use.activations for use in uses})),
        parameters=sum(map(_parameters, graphs)),
        work=_work(found, model),
        ir_version=model.ir_version,
        opset=model.opset,
        domains=tuple(sorted(model.domains.items())),
        producer=model.producer,
        external_files=tuple(sorted({c.external for c in held if c.external is not None})),
        export=_export(model.graph),
        size_bytes=len(data),
        sha256=_sha256(data),
    )


class _Part:
    """One graph, with what is known of its operators."""

    def __init__(self, graph: Graph) -> None:
        shapes, known = Shapes(graph), Uses(graph)
        self.computing = [node for node in graph.nodes if computes(node)]
        self.quantized = sum(map(known.is_quantized, self.computing))
        self.multiplying: list[tuple[Node, Use, int | None]] = []
        for node in graph.nodes:
            use = known.of(node)
            if use is not None:
                self.multiplying.append((node, use, multiply_accumulates(node, shapes)))

    @property
    def uses(self) -> list[Use]:
        return [use for _, use, _ in self.multiplying]


def _agreed(found: set[str]) -> str | None:
    if not found:
        return None
    return found.pop() if len(found) == 1 else "mixed"


def _told(value: ValueInfo) -> TensorInfo:
    return TensorInfo(value.name, value.shape, value.dtype)


def _weights(parts: Sequence[_Part]) -> tuple[WeightUse, ...]:
    operators: Counter[str] = Counter()
    elements: Counter[str] = Counter()
    products: Counter[str] = Counter()
    for part in parts:
        for _, use, count in part.multiplying:
            operators[use.scheme] += 1
            elements[use.scheme] += use.constant.elements if use.constant else 0
            products[use.scheme] += count or 0
    return tuple(
        WeightUse(scheme, count, elements[scheme], products[scheme])
        for scheme, count in operators.most_common()
    )


def _work(parts: Sequence[_Part], model: ModelFile) -> Work:
    uncounted: set[str] = set()
    whole = quantized = 0
    for place, part in enumerate(parts):
        for node, use, count in part.multiplying:
            # the first is the graph itself; how often the others run, the file does not tell
            if count is None or place > 0:
                uncounted.add(node.title)
                continue
            whole += count
            quantized += count if use.integers else 0
        for node in part.computing:
            theirs = node.domain not in ("", "com.microsoft") or (
                (node.domain, node.name) in model.functions
            )
            if node.title not in MULTIPLYING and (node.title in UNCOUNTED or theirs):
                uncounted.add(node.title)
    computing = sum(len(part.computing) for part in parts)
    return Work(
        None if uncounted else whole,
        tuple(sorted(uncounted)),
        sum(part.quantized for part in parts) / computing if computing else None,
        quantized / whole if whole else None,
    )


def _parameters(graph: Graph) -> int:
    """Of constants that are written by a node those that a large one is, too."""
    apart = {node.input(place) for node in graph.nodes for place in _SCALES.get(node.name, ())}
    return sum(
        constant.elements
        for name, constant in graph.constants.items()
        if name not in apart and _stands_for_reals(constant)
    )


def _stands_for_reals(constant: Constant) -> bool:
    """Whether it holds numbers, rather than a shape, an index or text."""
    return constant.dtype in FLOATS or constant.dtype in _INTEGERS


def _export(graph: Graph) -> str | None:
    sizes = [each.shape[0] for each in graph.fed() if each.shape]
    if not sizes:
        return None
    return "open" if OPEN in sizes else "fixed"


def _sha256(data: Bytes) -> str:
    digest = hashlib.sha256()
    for start in range(0, len(data), _HASHED_AT_ONCE):
        digest.update(data[start : start + _HASHED_AT_ONCE])
    return digest.hexdigest()
