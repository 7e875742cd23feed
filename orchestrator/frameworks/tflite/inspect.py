"""What a model file really holds, read from its bytes and never from its name.

Needs no TensorFlow: a file says by itself which types its weights and activations have.
"""

from __future__ import annotations

import contextlib
import hashlib
import mmap
import os
import stat
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from orchestrator.errors import ModelBuildError
from orchestrator.frameworks.tflite.file import Graph, ModelFile, Operator, Tensor, read_model
from orchestrator.frameworks.tflite.flatbuffer import Bytes, MalformedError
from orchestrator.frameworks.tflite.runtimes import newest, oldest_runtime
from orchestrator.frameworks.tflite.work import MULTIPLYING, multiply_accumulates

#: Operators that multiply by weights; what these hold decides the scheme.
_WEIGHTED = frozenset(
    """
    CONV_2D DEPTHWISE_CONV_2D FULLY_CONNECTED TRANSPOSE_CONV CONV_3D CONV_3D_TRANSPOSE
    BATCH_MATMUL RNN LSTM SVDF UNIDIRECTIONAL_SEQUENCE_RNN UNIDIRECTIONAL_SEQUENCE_LSTM
    BIDIRECTIONAL_SEQUENCE_RNN BIDIRECTIONAL_SEQUENCE_LSTM EMBEDDING_LOOKUP
    """.split()  # noqa: SIM905  # a word list reads better than as many quotes
)
_WEIGHT_TYPES = frozenset(
    ("float32", "float16", "bfloat16", "int8", "uint8", "int4", "uint4", "int2", "int16")
)
_INTEGER_WEIGHTS = frozenset(("int8", "uint8", "int4", "uint4", "int2", "int16"))
#: The converter leaves weights of fewer elements in float32 (its kWeightsMinNumElementsDefault).
_SMALL_WEIGHTS = 1024

_BY_TYPES: Mapping[tuple[str, bool, str], str] = {
    # weights, whether a DEQUANTIZE stands before the operator, activations
    ("float32", False, "float32"): "float32",
    ("float16", True, "float32"): "float16",
    ("int8", True, "float32"): "weight_only_int8",
    ("int8", False, "float32"): "dynamic_range",
    ("int8", False, "int8"): "full_int8",
}


@dataclass(frozen=True)
class TensorInfo:
    """An input or output; -1 in ``shape`` where the size is open."""

    name: str
    shape: tuple[int, ...]
    dtype: str


@dataclass(frozen=True)
class OperatorCount:
    """How often an operator occurs in one version of it.

    ``runtime`` is the oldest runtime that has that version, None where that is not known.
    """

    name: str
    version: int
    count: int
    runtime: str | None = None


@dataclass(frozen=True)
class WeightUse:
    """How many operators hold their weights in one way, how many weights that is, and how many
    multiply-accumulates they do."""

    scheme: str
    operators: int
    elements: int
    multiply_accumulates: int = 0


@dataclass(frozen=True)
class Work:
    """What one item costs, and how much of it is quantized.

    ``multiply_accumulates`` is None where the file does not tell for some operator; ``uncounted``
    names those. An operator is quantized where it has integer weights or integer activations, by
    scale; the shares are of all operators (QUANTIZE and DEQUANTIZE apart), and of the
    multiply-accumulates counted.
    """

    multiply_accumulates: int | None
    uncounted: tuple[str, ...]
    quantized_operators_share: float
    quantized_work_share: float | None


@dataclass(frozen=True)
class Inspection:
    """What a ``.tflite`` file holds.

    ``scheme`` is one of the schemes, or ``mixed`` where operators disagree (``weights`` says how).
    ``granularity`` is that of integer weights: ``per_channel``, ``per_tensor``, ``mixed``, or None
    without integer weights. ``parameters`` counts the elements of every constant but shapes and
    axes. ``smallest_activation_scale`` is None where no activation is quantized.

    ``min_runtime`` is what the converter noted; ``oldest_runtime`` the oldest runtime that has
    every operator version, as far as versions are known: ``unknown_operators`` are not.
    """

    scheme: str
    granularity: str | None
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    operators: tuple[OperatorCount, ...]
    weights: tuple[WeightUse, ...]
    parameters: int
    constant_bytes: int
    smallest_activation_scale: float | None
    min_runtime: str | None
    description: str
    size_bytes: int
    sha256: str
    work: Work
    oldest_runtime: str | None
    unknown_operators: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def inspect_file(path: Path) -> Inspection:
    """Read a file and say what it holds. Raises ModelBuildError, whatever the bytes are."""
    with opened(path) as data:
        try:
            return inspect_bytes(data)
        except MalformedError as exc:
            raise ModelBuildError(
                f"{path}: is no complete .tflite file: {exc}; copy or build it again"
            ) from exc


@contextlib.contextmanager
def opened(path: Path) -> Iterator[Bytes]:
    """A file's bytes, mapped rather than read. Raises ModelBuildError.

    Nothing but a plain file is opened: reading a pipe would wait for ever.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(fd, "rb"):
            status = os.fstat(fd)
            if stat.S_ISDIR(status.st_mode):
                raise ModelBuildError(f"{path}: Is a directory")
            if not stat.S_ISREG(status.st_mode):
                raise ModelBuildError(f"{path}: is no plain file")
            if status.st_size == 0:
                yield b""
                return
            with mmap.mmap(fd, 0, access=mmap.ACCESS_READ) as data:
                yield data
    except OSError as exc:
        raise ModelBuildError(f"{path}: {exc.strerror or exc}") from exc


def scheme_of(path: Path) -> str:
    """The scheme alone, without reading the weights. Raises ModelBuildError."""
    with opened(path) as data:
        try:
            model = read_model(data)
        except MalformedError as exc:
            raise ModelBuildError(f"{path}: is no complete .tflite file: {exc}") from exc
    return _scheme(model, [use for graph in model.graphs for use in _weighted_uses(graph)])


def inspect_bytes(data: Bytes) -> Inspection:
    """The same for bytes in memory. Raises MalformedError."""
    model = read_model(data)
    main = model.graphs[0]
    weighted = [use for graph in model.graphs for use in _weighted_uses(graph)]
    operators = _operator_counts(model)
    return Inspection(
        scheme=_scheme(model, weighted),
        granularity=_granularity(weighted),
        inputs=tuple(_info(main.tensors[i]) for i in main.inputs),
        outputs=tuple(_info(main.tensors[i]) for i in main.outputs),
        operators=operators,
        weights=_weight_uses(weighted),
        parameters=_parameters(model),
        constant_bytes=model.constant_bytes,
        smallest_activation_scale=_smallest_activation_scale(model),
        min_runtime=model.min_runtime,
        description=model.description,
        size_bytes=len(data),
        sha256=hashlib.sha256(data).hexdigest(),
        work=_work(model, weighted),
        oldest_runtime=newest({op.runtime for op in operators if op.runtime is not None}),
        unknown_operators=tuple(
            f"{op.name} version {op.version}" for op in operators if op.runtime is None
        ),
    )


@dataclass(frozen=True)
class _Use:
    """One operator's weights and how it uses them."""

    scheme: str
    weights: Tensor
    multiply_accumulates: int | None


def _weighted_uses(graph: Graph) -> list[_Use]:
    sources = {
        op.outputs[0]: graph.tensors[op.inputs[0]]
        for op in graph.operators
        if op.name in ("DEQUANTIZE", "DENSIFY") and op.inputs and op.outputs
    }
    uses = (_use(op, graph, sources) for op in graph.operators if op.name in _WEIGHTED)
    return [use for use in uses if use is not None]


def _use(op: Operator, graph: Graph, sources: Mapping[int, Tensor]) -> _Use | None:
    """None for an operator without constant weights, such as a product of two activations."""
    weights: list[tuple[Tensor, bool]] = []
    activations: list[Tensor] = []
    for index in op.inputs:
        source = sources.get(index)
        if source is not None and source.constant:
            weights.append((source, True))
        elif graph.tensors[index].constant:
            weights.append((graph.tensors[index], False))
        else:
            activations.append(graph.tensors[index])
    weights = [w for w in weights if w[0].dtype in _WEIGHT_TYPES]
    if not weights or not activations:
        return None
    tensor, dequantized = max(weights, key=lambda w: w[0].elements)
    key = (tensor.dtype, dequantized, activations[0].dtype)
    return _Use(_BY_TYPES.get(key, "mixed"), tensor, multiply_accumulates(op, graph))


def _work(model: ModelFile, uses: list[_Use]) -> Work:
    done: list[tuple[Operator, int | None]] = [
        (op, multiply_accumulates(op, graph))
        for graph in model.graphs
        for op in graph.operators
        if op.name in MULTIPLYING
    ]
    uncounted = sorted({op.name for op, count in done if count is None})
    total = sum(count for _, count in done if count is not None)
    quantized = sum(
        use.multiply_accumulates or 0 for use in uses if use.weights.dtype in _INTEGER_WEIGHTS
    )
    return Work(
        multiply_accumulates=None if uncounted else total,
        uncounted=tuple(uncounted),
        quantized_operators_share=_quantized_operators(model),
        quantized_work_share=quantized / total if total else None,
    )


def _quantized_operators(model: ModelFile) -> float:
    flags = [
        _is_quantized(op, graph)
        for graph in model.graphs
        for op in graph.operators
        if op.name not in ("QUANTIZE", "DEQUANTIZE")
    ]
    return sum(flags) / len(flags) if flags else 0.0


def _is_quantized(op: Operator, graph: Graph) -> bool:
    """Whether it has integer weights, also ones dequantized before it, or works on integers."""
    tensors = [graph.tensors[i] for i in (*op.inputs, *op.outputs)]
    if any(t.scales and t.dtype in _INTEGER_WEIGHTS for t in tensors):
        return True
    return any(graph.dequantized.get(i) in _INTEGER_WEIGHTS for i in op.inputs)


def _scheme(model: ModelFile, uses: list[_Use]) -> str:
    types = {t.dtype for graph in model.graphs for t in graph.tensors}
    schemes = {use.scheme for use in uses}
    if schemes & {"dynamic_range", "weight_only_int8"} and _only_small(uses, "float32"):
        schemes.discard("float32")
    if not schemes:
        schemes = {_scheme_without_weights(types)}
    scheme = schemes.pop() if len(schemes) == 1 else "mixed"
    if scheme == "full_int8" and any(_inner_floats(graph) for graph in model.graphs):
        return "mixed"
    if scheme in ("float32", "float16") and types & {"int8", "uint8", "int16", "int4"}:
        return "mixed"
    return scheme


def _only_small(uses: list[_Use], scheme: str) -> bool:
    return all(u.weights.elements < _SMALL_WEIGHTS for u in uses if u.scheme == scheme)


def _scheme_without_weights(types: set[str]) -> str:
    if "int8" in types:
        return "full_int8"
    return "float32" if "float32" in types else "mixed"


def _inner_floats(graph: Graph) -> bool:
    """Whether a fully quantized graph computes anything in float after all.

    At its border a QUANTIZE may take float input in and a DEQUANTIZE may hand float output out.
    """
    border = set(graph.inputs) | set(graph.outputs)
    return any(
        graph.tensors[i].dtype == "float32" and i not in border
        for op in graph.operators
        for i in (*op.inputs, *op.outputs)
    )


def _granularity(uses: list[_Use]) -> str | None:
    integer = [u.weights.scales for u in uses if "int" in u.weights.dtype]
    if not integer:
        return None
    per_channel = [len(scales) > 1 for scales in integer]
    if all(per_channel):
        return "per_channel"
    return "mixed" if any(per_channel) else "per_tensor"


def _weight_uses(uses: list[_Use]) -> tuple[WeightUse, ...]:
    schemes = sorted({use.scheme for use in uses})
    grouped = {s: [u for u in uses if u.scheme == s] for s in schemes}
    return tuple(
        WeightUse(
            s,
            len(some),
            sum(u.weights.elements for u in some),
            sum(u.multiply_accumulates or 0 for u in some),
        )
        for s, some in grouped.items()
    )


def _operator_counts(model: ModelFile) -> tuple[OperatorCount, ...]:
    counts = Counter((op.name, op.version) for graph in model.graphs for op in graph.operators)
    return tuple(
        OperatorCount(name, version, count, oldest_runtime(name, version))
        for (name, version), count in sorted(counts.items())
    )


def _parameters(model: ModelFile) -> int:
    # Integers without a scale are shapes and axes; with one they are quantized biases.
    return sum(
        t.elements
        for graph in model.graphs
        for t in graph.tensors
        if t.constant and (t.dtype in _WEIGHT_TYPES or t.scales)
    )


def _smallest_activation_scale(model: ModelFile) -> float | None:
    scales = [
        scale
        for graph in model.graphs
        for t in graph.tensors
        if t.dtype in ("int8", "int16") and not t.constant
        for scale in t.scales
    ]
    return min(scales, default=None)


def _info(tensor: Tensor) -> TensorInfo:
    return TensorInfo(tensor.name, tensor.shape, tensor.dtype)
