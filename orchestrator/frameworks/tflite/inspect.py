"""What a model file really holds, read from its bytes and never from its name.

Needs no TensorFlow: a file says by itself which types its weights and activations have.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from orchestrator.errors import ModelBuildError
from orchestrator.frameworks.files import Bytes, opened
from orchestrator.frameworks.tflite.file import (
    Graph,
    ModelFile,
    Operator,
    Signature,
    Tensor,
    read_model,
)
from orchestrator.frameworks.tflite.flatbuffer import MalformedError
from orchestrator.frameworks.tflite.flow import Accountant, Amount, reachable
from orchestrator.frameworks.tflite.names import FLOATS
from orchestrator.frameworks.tflite.runtimes import newest
from orchestrator.frameworks.tflite.schemes import (
    Use,
    computes,
    granularity,
    is_quantized,
    multiplied,
    name_scheme,
    stored_as_integers,
    uses,
)
from orchestrator.frameworks.tflite.versions import Need, need

_HASHED_AT_ONCE = 1 << 20
_VERSION = re.compile(r"\d{1,4}(\.\d{1,4}){1,3}")


#: The integers of a quantized input.
_INTEGER_RANGES = {"int8": (-128, 127), "uint8": (0, 255), "int16": (-32768, 32767)}


@dataclass(frozen=True)
class TensorInfo:
    """An input or output; -1 in ``shape`` where the size is open.

    ``key`` is what the signature calls it, None where the file has no signature.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    key: str | None = None


@dataclass(frozen=True)
class OperatorCount:
    """How often an operator occurs in one version of it.

    ``runtime`` is the oldest runtime that computes it, None where that is not known. ``because``
    says what asks for more than the ``version`` that the file claims, None where nothing does.
    """

    name: str
    version: int
    count: int
    runtime: str | None = None
    because: str | None = None


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
    scale; the shares are of the operators that compute on real numbers (those that convert, and
    those on shapes and indices, apart), and of the multiply-accumulates counted.
    """

    multiply_accumulates: int | None
    uncounted: tuple[str, ...]
    quantized_operators_share: float
    quantized_work_share: float | None


@dataclass(frozen=True)
class SignatureInfo:
    """A way to call the file, and what that costs; ``name`` is None where the file has none."""

    name: str | None
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    parameters: int
    multiply_accumulates: int | None


@dataclass(frozen=True)
class Inspection:
    """What a ``.tflite`` file holds. All but the last two groups are about one ``signature``: the
    one asked for, else what a runtime calls by itself.

    ``scheme`` names the types of weights and activations, or is ``mixed`` where there are several
    of either (``weights`` says how). ``granularity`` is that of integer weights: ``per_channel``,
    ``per_tensor``, ``blockwise`` (of ``block_size`` weights), ``mixed``, or None without integer
    weights. ``parameters`` counts the elements of every constant but shapes and axes, a constant
    that several graphs use once. ``smallest_activation_scale`` is None where no activation is
    quantized.

    ``min_runtime`` is what the converter noted; ``oldest_runtime`` the oldest runtime that computes
    every operator of the file, by its version, types and features, as far as they are known, and
    not older than what was noted: ``unknown_operators`` are not known. ``oldest_because`` names
    what asks for it.

    ``export`` is ``open`` where the first dimension of an input is open, ``fixed`` where none is,
    and None without an input that has dimensions. ``shape_operators`` is how many SHAPE compute a
    shape while the model runs, as an open batch can make necessary: an older XNNPACK then takes
    nothing of the file.

    ``content`` is equal for files that hold the same network with the same types and constants,
    however they are packed; None where that cannot be told.
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
    oldest_because: str | None
    signature: str | None
    signatures: tuple[SignatureInfo, ...]
    block_size: int | None
    weight_types: tuple[str, ...]
    activation_types: tuple[str, ...]
    external_files: tuple[str, ...]
    content: str | None
    export: str | None
    shape_operators: int

    @property
    def default_signature(self) -> str | None:
        """Return what this is about where no signature was asked for, empty where graph 0 has none;
        None where the file has nothing else to be called."""
        alone = all(each.name == self.signature for each in self.signatures)
        return None if alone else self.signature or ""

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def inspect_file(path: Path, signature: str | None = None) -> Inspection:
    """Read a file and say what it holds. Raises ModelBuildError, whatever the bytes are."""
    with opened(path) as data:
        try:
            return inspect_bytes(data, signature)
        except MalformedError as exc:
            raise ModelBuildError(
                f"{path}: is not a complete .tflite file: {exc}; copy or build it again"
            ) from exc
        except UnknownSignatureError as exc:
            raise ModelBuildError(f"{path}: {exc}") from exc


def scheme_of(path: Path) -> str:
    """Return the scheme alone, without reading the weights. Raises ModelBuildError."""
    with opened(path) as data:
        try:
            model = read_model(data)
        except MalformedError as exc:
            raise ModelBuildError(f"{path}: is not a complete .tflite file: {exc}") from exc
    graphs = _running(model, _chosen(model, None)[1])
    return name_scheme(graphs, [use for graph in graphs for use in uses(graph)])


def real_range(path: Path) -> tuple[float, float] | None:
    """Return the real values that every quantized input of a file can hold: the least, and the
    largest.

    None where no input is quantized. Raises ModelBuildError.
    """
    with opened(path) as data:
        try:
            model = read_model(data)
        except MalformedError as exc:
            raise ModelBuildError(f"{path}: is not a complete .tflite file: {exc}") from exc
    graph = model.graphs[_chosen(model, None)[1]]
    ranges = [
        tuple((end - tensor.zero_point) * tensor.scale for end in _INTEGER_RANGES[tensor.dtype])
        for tensor in (graph.tensors[index] for index in graph.inputs)
        if tensor.scale and tensor.dtype in _INTEGER_RANGES
    ]
    return (max(r[0] for r in ranges), min(r[1] for r in ranges)) if ranges else None


class UnknownSignatureError(Exception):
    """The file has no signature of that name."""


def inspect_bytes(data: Bytes, signature: str | None = None) -> Inspection:
    """Inspect bytes in memory as a file is inspected. Raises MalformedError and
    UnknownSignatureError."""
    model = read_model(data)
    chosen, entry = _chosen(model, signature)
    graphs = _running(model, entry)
    weighted = [use for graph in graphs for use in uses(graph)]
    accountant = _accountant(model)
    called = _signature_info(model, chosen, entry, accountant)
    needs = {
        (op.name, op.version, need(op, graph)): None
        for graph in model.graphs
        for op in graph.operators
    }
    noted = model.min_runtime or ""
    oldest = newest(
        {n.runtime for _, _, n in needs if n.runtime is not None}
        | ({noted} if _VERSION.fullmatch(noted) else set())
    )
    return Inspection(
        scheme=name_scheme(graphs, weighted),
        granularity=granularity(weighted),
        inputs=called.inputs,
        outputs=called.outputs,
        operators=_operator_counts(graphs),
        weights=_weight_uses(weighted),
        parameters=called.parameters,
        constant_bytes=model.constant_bytes,
        smallest_activation_scale=_smallest_activation_scale(graphs),
        min_runtime=model.min_runtime,
        description=model.description,
        size_bytes=len(data),
        sha256=_sha256(data, [(0, len(data))]),
        work=_work(graphs, accountant.amount(entry)),
        oldest_runtime=oldest,
        unknown_operators=tuple(
            dict.fromkeys(
                f"{name} with {n.because}" if n.because else f"{name} version {version}"
                for name, version, n in sorted(needs, key=lambda each: each[:2])
                if n.runtime is None
            )
        ),
        oldest_because=_because(needs, oldest),
        signature=called.name,
        signatures=tuple(
            _signature_info(model, each, each.graph, accountant) for each in model.signatures
        ),
        block_size=_block_size(weighted),
        weight_types=tuple(sorted({use.weights.dtype for use in weighted})),
        activation_types=_activation_types(graphs, weighted),
        external_files=_external_files(model),
        content=_content(model, data),
        export=_export(called.inputs),
        shape_operators=sum(o.name == "SHAPE" for graph in graphs for o in graph.operators),
    )


def _chosen(model: ModelFile, name: str | None) -> tuple[Signature | None, int]:
    """The signature that is measured, and its graph. Without a name it is what a runtime calls:
    graph 0, under the name that the file has for it."""
    if name is None:
        return next((each for each in model.signatures if each.graph == 0), None), 0
    for each in model.signatures:
        if each.name == name:
            return each, each.graph
    there = ", ".join(each.name for each in model.signatures) or "none"
    raise UnknownSignatureError(f"it has no signature {name!r}; there are: {there}")


def _running(model: ModelFile, entry: int) -> list[Graph]:
    """The graphs that an inference runs, the first one first."""
    called = reachable(model, entry, once=False)
    return [model.graphs[index] for index in (entry, *(i for i in called if i != entry))]


def _accountant(model: ModelFile) -> Accountant:
    stored: dict[int, Mapping[int, bool]] = {}

    def on_integers(operator: Operator, graph: Graph) -> bool:
        if id(graph) not in stored:
            stored[id(graph)] = stored_as_integers(graph)
        return is_quantized(operator, graph, stored[id(graph)])

    return Accountant(model, on_integers)


def _signature_info(
    model: ModelFile, signature: Signature | None, entry: int, accountant: Accountant
) -> SignatureInfo:
    graph, amount = model.graphs[entry], accountant.amount(entry)
    # several names for one tensor: the first one counts
    inputs = {index: name for name, index in reversed(signature.inputs)} if signature else {}
    outputs = {index: name for name, index in reversed(signature.outputs)} if signature else {}
    return SignatureInfo(
        name=None if signature is None else signature.name,
        inputs=tuple(_info(graph.tensors[i], inputs.get(i)) for i in graph.inputs),
        outputs=tuple(_info(graph.tensors[i], outputs.get(i)) for i in graph.outputs),
        parameters=_parameters(_running(model, entry)),
        multiply_accumulates=None if amount.unknown else amount.total,
    )


def _work(graphs: list[Graph], amount: Amount) -> Work:
    flags = []
    for graph in graphs:
        stored = stored_as_integers(graph)
        flags += [is_quantized(o, graph, stored) for o in graph.operators if computes(o, graph)]
    return Work(
        multiply_accumulates=None if amount.unknown else amount.total,
        uncounted=tuple(sorted(amount.unknown)),
        quantized_operators_share=sum(flags) / len(flags) if flags else 0.0,
        quantized_work_share=amount.quantized / amount.total if amount.total else None,
    )


def _because(needs: Iterable[tuple[str, int, Need]], oldest: str | None) -> str | None:
    """What asks for the oldest runtime, where that is not a version that the file claims."""
    for name, _, each in needs:
        if each.runtime == oldest and each.because is not None:
            return f"{name} with {each.because}"
    return None


def _block_size(found: list[Use]) -> int | None:
    sizes = {use.weights.block for use in found if use.weights.block}
    return sizes.pop() if len(sizes) == 1 else None


def _activation_types(graphs: list[Graph], found: list[Use]) -> tuple[str, ...]:
    """Name the types that weights are multiplied with; of a network without weights, all there
    are."""
    types = {use.activations for use in multiplied(found)} or {
        t.dtype
        for graph in graphs
        for t in graph.tensors
        if not t.constant and (t.quantized or t.dtype in FLOATS)
    }
    return tuple(sorted(types))


def _weight_uses(found: list[Use]) -> tuple[WeightUse, ...]:
    schemes = sorted({use.scheme for use in found})
    grouped = {s: [u for u in found if u.scheme == s] for s in schemes}
    return tuple(
        WeightUse(
            s,
            len(some),
            sum(u.weights.elements for u in some),
            sum(u.multiply_accumulates or 0 for u in some),
        )
        for s, some in grouped.items()
    )


def _operator_counts(graphs: list[Graph]) -> tuple[OperatorCount, ...]:
    counts = Counter((o.name, o.version, need(o, g)) for g in graphs for o in g.operators)
    ordered = sorted(counts.items(), key=lambda each: (each[0][:2], str(each[0][2].runtime)))
    return tuple(
        OperatorCount(name, version, count, asked.runtime, asked.because)
        for (name, version, asked), count in ordered
    )


def _parameters(graphs: list[Graph]) -> int:
    """Graphs share constants; what one of them alone uses twice are two layers' parameters."""
    most: Counter[int] = Counter()
    for graph in graphs:
        here: Counter[int] = Counter()
        scales = {t.block_scales for t in graph.tensors if t.block}
        for index, t in enumerate(graph.tensors):
            # Integers without a scale are shapes and axes; with one they are quantized biases.
            if (
                index not in scales
                and t.constant
                and (t.dtype in FLOATS or t.scales or t.quantized)
            ):
                here[t.buffer] += t.elements
        most |= here
    return most.total()


def _smallest_activation_scale(graphs: list[Graph]) -> float | None:
    scales = [
        t.scale
        for graph in graphs
        for t in graph.tensors
        if t.quantized and not t.constant and t.scale is not None
    ]
    return min(scales, default=None)


def _export(inputs: Sequence[TensorInfo]) -> str | None:
    batches = [tensor.shape[0] for tensor in inputs if tensor.shape]
    if not batches:
        return None
    return "open" if min(batches) < 0 else "fixed"


def _external_files(model: ModelFile) -> tuple[str, ...]:
    held = any(t.external for graph in model.graphs for t in graph.tensors)
    return model.external_files or ("another file",) if held else ()


def _info(tensor: Tensor, key: str | None) -> TensorInfo:
    return TensorInfo(tensor.name, tensor.shape, tensor.dtype, key)


def _content(model: ModelFile, data: Bytes) -> str | None:
    """A hash of what is computed: operators, types, shapes, scales, and the constants' bytes.

    None for constants that overlap or are elsewhere: those of a real file do not.
    """
    extents = {model.extents[t.buffer] for g in model.graphs for t in g.tensors if t.buffer > 0}
    if _external_files(model) or sum(length for _, length in extents) > len(data):
        return None
    bytes_of = {extent: _sha256(data, [extent]) for extent in extents}
    found = hashlib.sha256()
    for graph in model.graphs:
        for t in graph.tensors:
            constant = bytes_of[model.extents[t.buffer]] if t.constant_bytes and t.buffer else ""
            real = (t.shape, t.dtype, t.scales, t.scale, t.axis, t.block, t.sparse, constant)
            found.update(repr(real).encode())
        for op in graph.operators:
            found.update(repr((op.name, op.slots, op.outputs, op.options)).encode())
        found.update(repr((graph.inputs, graph.outputs)).encode())
    return found.hexdigest()


def _sha256(data: Bytes, extents: Iterable[tuple[int, int]]) -> str:
    """Hash pieces of a file, some at a time: a slice of mapped bytes is a copy."""
    found = hashlib.sha256()
    for start, length in extents:
        for place in range(start, start + length, _HASHED_AT_ONCE):
            found.update(data[place : min(place + _HASHED_AT_ONCE, start + length)])
    return found.hexdigest()
