"""What a graph's weights and activations are, and the name of that: its quantization scheme.

A scheme is named for its types: ``full_uint8``, ``int16x8`` (activations × weights),
``dynamic_int4``, ``weight_only_int8``; int8 weights that are multiplied with activations quantized
on the fly are called ``dynamic_range``, as the converter's documentation calls them. Only where a
network has more than one type of weights, or multiplies them with more than one of activations, is
it ``mixed``. What it computes between its layers does not name it; the share of its operators that
is quantized says that.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from orchestrator.frameworks.tflite.file import Graph, Operator, Tensor
from orchestrator.frameworks.tflite.names import FLOATS, INTEGER_WEIGHTS
from orchestrator.frameworks.tflite.work import multiply_accumulates

#: Where the weights of an operator stand among its inputs; several places where any may hold them.
_WEIGHTS: Mapping[str, tuple[int, ...]] = {
    **dict.fromkeys(
        (
            *("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "TRANSPOSE_CONV", "CONV_3D"),
            *("CONV_3D_TRANSPOSE", "EMBEDDING_LOOKUP", "CUSTOM:Convolution2DTransposeBias"),
        ),
        (1,),
    ),
    "BATCH_MATMUL": (1, 0),
    "GATHER": (0,),
    "RNN": (1, 2),
    "SVDF": (1,),  # the weights over time are int16 where these are int8
    "UNIDIRECTIONAL_SEQUENCE_RNN": (1, 2),
    "BIDIRECTIONAL_SEQUENCE_RNN": (1, 2, 5, 6),
    "LSTM": (2, *range(1, 9)),
    "UNIDIRECTIONAL_SEQUENCE_LSTM": (2, *range(1, 9)),
    "BIDIRECTIONAL_SEQUENCE_LSTM": (2, *range(1, 9)),
}
#: Where the activations stand; first everywhere else. What looks up rows is told by its output.
_ACTIVATIONS = {"TRANSPOSE_CONV": 2, "CONV_3D_TRANSPOSE": 2}
_LOOKUPS = frozenset(("GATHER", "EMBEDDING_LOOKUP"))
#: Operators that hand on a constant, changed in its form alone.
_REFORMING = frozenset(("DENSIFY", "RESHAPE", "TRANSPOSE", "SQUEEZE", "EXPAND_DIMS"))
#: Kernels that have multiplied float activations by int8 weights for as long as there are any. For
#: other operators the converter writes a DEQUANTIZE, in a file of dynamic range.
_DYNAMIC_KERNELS = frozenset(
    """
    CONV_2D FULLY_CONNECTED RNN LSTM SVDF UNIDIRECTIONAL_SEQUENCE_RNN UNIDIRECTIONAL_SEQUENCE_LSTM
    BIDIRECTIONAL_SEQUENCE_RNN BIDIRECTIONAL_SEQUENCE_LSTM
    """.split()  # noqa: SIM905  # a word list reads better than as many quotes
)
#: Quantizers leave weights of fewer elements in float32 (kWeightsMinNumElementsDefault).
_SMALL_WEIGHTS = 1024
#: Operators that convert between the two and compute nothing.
CONVERTING = frozenset(("QUANTIZE", "DEQUANTIZE", "DENSIFY"))
MIXED = "mixed"


@dataclass(frozen=True)
class Use:
    """One operator's weights and how it uses them. ``multiply_accumulates`` is that of one call."""

    operator: str
    weights: Tensor
    dequantized: bool
    activations: str
    multiply_accumulates: int | None

    @property
    def scheme(self) -> str:
        return scheme_name(self.weights.dtype, self.activations, dequantized=self.dequantized)

    @property
    def lookup(self) -> bool:
        return self.operator in _LOOKUPS

    @property
    def granularity(self) -> str | None:
        """None for floats, and where the layer has one channel, of which nothing can be told."""
        weights = self.weights
        if not weights.quantized:
            return None
        if weights.block or weights.over_axes:
            return "blockwise"
        if weights.scales > 1:
            return "per_channel"
        place = 3 if self.operator == "DEPTHWISE_CONV_2D" else 0
        channels = weights.shape[place] if len(weights.shape) > place else 0
        return None if channels == 1 else "per_tensor"


def scheme_name(weights: str, activations: str, *, dequantized: bool) -> str:
    """The name of one type of weights with one type of activations."""
    if weights in INTEGER_WEIGHTS:
        if activations not in INTEGER_WEIGHTS:
            if dequantized:
                return f"weight_only_{weights}"
            return "dynamic_range" if weights == "int8" else f"dynamic_{weights}"
        same = weights == activations
        return f"full_{weights}" if same else f"{activations}x{weights.lstrip('uint')}"
    if activations in INTEGER_WEIGHTS:
        return MIXED
    if weights in ("float16", "bfloat16") and weights == activations:
        return f"full_{weights}"
    return weights


def uses(graph: Graph) -> list[Use]:
    """The operators of a graph that have constant weights, products of two activations apart."""
    origins = _origins(graph)
    found = (_use(op, graph, origins) for op in graph.operators if op.name in _WEIGHTS)
    return [use for use in found if use is not None]


@dataclass(frozen=True)
class _Origin:
    constant: Tensor
    dequantized: bool


def _origins(graph: Graph) -> dict[int, _Origin]:
    """Tensors that are a constant in another form, with that constant."""
    origins = {i: _Origin(t, False) for i, t in enumerate(graph.tensors) if t.constant}
    for op in graph.operators:
        source = origins.get(op.inputs[0]) if op.inputs else None
        if source is None or not op.outputs:
            continue
        if op.name in _REFORMING:
            origins.setdefault(op.outputs[0], source)
        elif op.name == "DEQUANTIZE":
            origins.setdefault(op.outputs[0], _Origin(source.constant, True))
        elif op.name == "QUANTIZE":
            origins.setdefault(op.outputs[0], _Origin(graph.tensors[op.outputs[0]], False))
    return origins


def _use(op: Operator, graph: Graph, origins: Mapping[int, _Origin]) -> Use | None:
    places = _WEIGHTS[op.name]
    held = [
        (place, origins[op.slots[place]])
        for place in places
        if place < len(op.slots) and op.slots[place] in origins
    ]
    held = [(place, origin) for place, origin in held if _holds_weights(origin.constant)]
    if not held or not op.outputs:
        return None
    place, origin = max(held, key=lambda each: each[1].constant.elements)
    if op.name in _LOOKUPS:
        activations: Tensor | None = graph.tensors[op.outputs[0]]
    elif op.name == "BATCH_MATMUL":
        activations = graph.tensor(op, 1 - place)
    else:
        activations = graph.tensor(op, _ACTIVATIONS.get(op.name, 0))
    if activations is None:
        return None
    return Use(
        op.name,
        origin.constant,
        # a lookup multiplies nothing: its rows become floats, before it or in it
        origin.dequantized or (op.name in _LOOKUPS and activations.dtype in FLOATS),
        activations.dtype,
        multiply_accumulates(op, graph),
    )


def _holds_weights(tensor: Tensor) -> bool:
    """Indices and shapes are integers too, which stand for themselves."""
    return (tensor.dtype in FLOATS or tensor.quantized) and len(tensor.shape) > 1


def name_scheme(graphs: Sequence[Graph], found: Sequence[Use]) -> str:
    """The scheme of graphs that run together, by the uses of weights in them."""
    if not found:
        return _without_weights(graphs)
    names = {use.scheme for use in _deciding(found)}
    if len(names) != 1:
        return MIXED
    name = names.pop()
    in_floats = all(use.weights.dtype in FLOATS for use in found)
    return MIXED if in_floats and _computed_types(graphs) & INTEGER_WEIGHTS else name


def multiplied(found: Sequence[Use]) -> Sequence[Use]:
    """Return the uses without tables that rows are looked up in, unless there is nothing else."""
    return [use for use in found if not use.lookup] or found


def _deciding(found: Sequence[Use]) -> list[Use]:
    """Return the uses without those that a converter of one scheme leaves as they were."""
    names = {use.scheme for use in found}
    if any(name.startswith(("dynamic_", "weight_only_", "float16")) for name in names):
        found = [
            use
            for use in found
            if use.scheme != "float32" or use.weights.elements >= _SMALL_WEIGHTS
        ]
    types = {use.weights.dtype for use in multiplied(found)}
    found = [use for use in found if not use.lookup or use.weights.dtype not in types] or found
    dynamic = {use.weights.dtype for use in found if use.scheme.startswith("dynamic_")}
    return [
        use
        for use in found
        if use.operator in _DYNAMIC_KERNELS
        or not use.scheme.startswith("weight_only_")
        or use.weights.dtype not in dynamic
    ]


def _without_weights(graphs: Sequence[Graph]) -> str:
    computed = _computed_types(graphs)
    integers = computed & INTEGER_WEIGHTS
    if integers:
        between = any(_floats_between(graph) for graph in graphs)
        return MIXED if between or len(integers) > 1 else f"full_{min(integers)}"
    floats = computed & FLOATS
    if len(floats) == 1:
        name = floats.pop()
        return name if name in ("float32", "float64") else f"full_{name}"
    outputs = {graphs[0].tensors[index].dtype for index in graphs[0].outputs} or {"empty"}
    return outputs.pop() if not floats and len(outputs) == 1 else MIXED


def _computed_types(graphs: Iterable[Graph]) -> set[str]:
    """The types that operators compute on: floats, and integers that have a scale.

    What is converted alone, at the border or in between, is not computed with.
    """
    tensors = (
        graph.tensors[index]
        for graph in graphs
        for op in graph.operators
        if op.name not in CONVERTING
        for index in (*op.inputs, *op.outputs)
    )
    return {t.dtype for t in tensors if not t.constant and (t.quantized or t.dtype in FLOATS)}


def _floats_between(graph: Graph) -> bool:
    """Whether a quantized graph computes in float between two integer parts.

    In front of the first and behind the last one float is preparation and sorting out.
    """
    after: set[int] = set()
    for op in graph.operators:
        if any(i in after or _integer(graph.tensors[i]) for i in op.inputs):
            after.update(op.outputs)
    before: set[int] = set()
    for op in reversed(graph.operators):
        if any(i in before or _integer(graph.tensors[i]) for i in op.outputs):
            before.update(op.inputs)
    return any(
        graph.tensors[i].dtype in FLOATS and i in after and i in before
        for op in graph.operators
        if op.name not in CONVERTING
        for i in op.outputs
    )


def _integer(tensor: Tensor) -> bool:
    return tensor.quantized and not tensor.constant


def granularity(found: Sequence[Use]) -> str | None:
    """Name the granularity of the integer weights; None where there are none."""
    quantized = [use for use in multiplied(found) if use.weights.quantized]
    kinds = {kind for use in quantized if (kind := use.granularity) is not None}
    if not kinds:
        return "per_tensor" if quantized else None
    return kinds.pop() if len(kinds) == 1 else MIXED


def is_quantized(operator: Operator, graph: Graph, origins: Mapping[int, bool]) -> bool:
    """Whether it has integer weights, also ones dequantized before it, or works on integers.

    ``origins`` says of the constants in another form whether they are stored as integers.
    """
    touched = (*operator.inputs, *operator.outputs)
    return any(graph.tensors[i].quantized or origins.get(i, False) for i in touched)


def stored_as_integers(graph: Graph) -> Mapping[int, bool]:
    """Map every tensor that is a constant in another form to whether that is stored as integers."""
    return {index: origin.constant.quantized for index, origin in _origins(graph).items()}


def computes(operator: Operator, graph: Graph) -> bool:
    """Whether it computes on floats or quantized values, rather than on shapes and indices."""
    return operator.name not in CONVERTING and any(
        graph.tensors[i].quantized or graph.tensors[i].dtype in FLOATS for i in operator.outputs
    )
