"""Which version of an operator its types and features ask for, whatever version the file claims.

A converter derives the version that it notes from these; a quantizer that rewrites the file may
leave it as it was, and then a runtime that is too old computes zeros. The rules are those of
``tflite/converter/tools/versioning/op_version.cc`` of LiteRT (Apache-2.0, read in 2026), as far as
they are about types, scales and the options that are read. Where those rules are silent, what
runtimes were seen to compute counts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from orchestrator.frameworks.tflite.file import Graph, Operator, Tensor
from orchestrator.frameworks.tflite.runtimes import newest, oldest_runtime


@dataclass(frozen=True)
class Need:
    """What an operator asks of a runtime.

    ``runtime`` is the oldest one, None where that is not known. ``because`` says in a few words
    what asks for more than the version that the file claims; None where nothing does.
    """

    version: int
    runtime: str | None
    because: str | None = None


#: A runtime that multiplies float activations by int4 weights: tflite-runtime 2.14.0 was seen to.
_INT4_WITH_FLOATS = "2.14.0"
#: The first that computes int4 weights in blocks right since then: LiteRT 2.1. Those of 2023 and
#: 2024 give zeros, 1.4 and 2.0 wrong numbers.
_INT4_IN_BLOCKS = "2.21.0"


def need(operator: Operator, graph: Graph) -> Need:
    """The version and the runtime of one operator of a file."""
    asked = max(1, asked_version(operator, graph))
    version = max(operator.version, asked)
    runtime = oldest_runtime(operator.name, version)
    because = _why(operator, graph) if asked > operator.version else None
    weights = graph.tensor(operator, 1)
    data = graph.tensor(operator, 0)
    if runtime is None or weights is None or data is None or operator.name.startswith("CUSTOM:"):
        return Need(version, runtime, because)
    if weights.block or weights.over_axes:
        runs = weights.dtype == "int4" and weights.block > 0
        most = newest({runtime, _INT4_IN_BLOCKS}) if runs else None
        return Need(version, most, f"{weights.dtype} weights in blocks")
    if weights.dtype == "int4" and data.dtype == "float32":
        return Need(version, newest({runtime, _INT4_WITH_FLOATS}), "int4 weights")
    return Need(version, runtime, because)


def _why(operator: Operator, graph: Graph) -> str:
    data, weights = graph.tensor(operator, 0), graph.tensor(operator, 1)
    for found in (weights, data):
        if found is not None and found.constant and found.quantized:
            kind = "weights, one scale a channel" if found.scales > 1 else "weights"
            return f"{found.dtype} {kind}"
    return f"{data.dtype} inputs" if data is not None else "its options"


def asked_version(operator: Operator, graph: Graph) -> int:
    """Return the version that the rules ask for; 1 where there is none for the operator."""
    slots = _Slots(operator, graph)
    rule = _RULES.get(operator.name)
    if rule is not None:
        return rule(slots)
    return _BY_TYPE.get(operator.name, {}).get(slots.type(0), 1)


class _Slots:
    """An operator with its tensors at hand."""

    def __init__(self, operator: Operator, graph: Graph) -> None:
        self._graph = graph
        self.operator = operator
        self.option = operator.option

    def tensor(self, slot: int) -> Tensor | None:
        return self._graph.tensor(self.operator, slot)

    def type(self, slot: int) -> str:
        found = self.tensor(slot)
        return "" if found is None else found.dtype

    @property
    def output(self) -> Tensor | None:
        outputs = self.operator.outputs
        return self._graph.tensors[outputs[0]] if outputs else None

    @property
    def types(self) -> tuple[str, str, str]:
        """The types of the first input, the second, and the output."""
        output = self.output
        return self.type(0), self.type(1), "" if output is None else output.dtype

    def rank(self, slot: int) -> int:
        found = self.tensor(slot)
        return 0 if found is None else len(found.shape)

    @property
    def broadcasts_beyond_four(self) -> bool:
        first, second = self.tensor(0), self.tensor(1)
        if first is None or second is None:
            return False
        return first.shape != second.shape and max(self.rank(0), self.rank(1)) > 4


_HYBRID = ("float32", "int8", "float32")


def _by_type(text: str) -> dict[str, int]:
    pairs = (pair.split(":") for pair in text.split())
    return {dtype: int(version) for dtype, version in pairs}


_INT8, _INT8_INT16 = _by_type("int8:2"), _by_type("int8:2 int16:3")

#: Operator → the version that the type of the first input asks for.
_BY_TYPE: Mapping[str, Mapping[str, int]] = {
    **dict.fromkeys(
        """
        MEAN MIRROR_PAD REDUCE_MAX REDUCE_MIN RELU6 RSQRT AVERAGE_POOL_2D MAX_POOL_2D TANH LOGISTIC
        LESS GREATER_EQUAL TOPK_V2
        """.split(),  # noqa: SIM905  # a word list reads better than as many quotes
        _INT8_INT16,
    ),
    **dict.fromkeys(
        """
        SPACE_TO_DEPTH SPLIT_V SUM LOG_SOFTMAX GREATER LESS_EQUAL SQUARED_DIFFERENCE DEPTH_TO_SPACE
        """.split(),  # noqa: SIM905  # a word list reads better than as many quotes
        _INT8,
    ),
    **dict.fromkeys(("EXP", "LOG", "REDUCE_PROD", "SQRT"), _by_type("int8:2 int16:2")),
    **dict.fromkeys(("ARG_MAX", "ARG_MIN"), _by_type("int8:2 bool:3")),
    **dict.fromkeys(("SIN", "COS"), _by_type("float16:2")),
    "CONCATENATION": _by_type("int8:2 int16:3 uint32:4 int4:5 float16:6"),
    "EQUAL": _by_type("int8:2 string:3 int16:5"),
    "FLOOR_DIV": _by_type("float32:2 int8:3 int16:3"),
    "FLOOR_MOD": _by_type("int8:2 int16:2"),
    "GELU": _by_type("int8:2 uint8:2"),
    "LEAKY_RELU": _by_type("int16:2"),
    "NOT_EQUAL": _by_type("int8:2 string:3 int16:4"),
    "PACK": _by_type("int8:2 int16:3 uint32:4"),
    "RANGE": _by_type("int64:2"),
    "RELU": _by_type("int8:2 uint8:2 int16:3"),
    "REVERSE_V2": _by_type("bool:2 int8:3"),
    "SIGN": _by_type("int32:2"),
    "SOFTMAX": _by_type("int8:2 int16:3 float16:4"),
    "SQUEEZE": _by_type("string:2"),
    "TILE": _by_type("string:2 int8:3"),
    "UNPACK": _by_type("int8:2 uint8:2 bool:3 int16:4 float16:5 bfloat16:5"),
}


def _per_channel(slots: _Slots, channels: int) -> bool:
    weights = slots.tensor(1)
    if weights is None or len(weights.shape) <= channels:
        return False
    return weights.scales > 0 and weights.scales == weights.shape[channels]


def _convolution(slots: _Slots) -> int:
    types = slots.types
    if types == ("int16", "int8", "int16") and slots.option("bias_type"):
        return 8
    if _in_groups(slots.tensor(0), slots.tensor(1)):
        return 6
    if types == _HYBRID:
        return 5 if _per_channel(slots, 0) else 2
    known = {("int16",) * 3: 4, ("int8",) * 3: 3, ("int8", "int4", "int8"): 7}
    return known.get(types, 1)


def _in_groups(data: Tensor | None, weights: Tensor | None) -> bool:
    if data is None or weights is None or not len(data.shape) == len(weights.shape) == 4:
        return False
    return data.shape[3] > 0 and data.shape[3] != weights.shape[3]


def _depthwise(slots: _Slots) -> int:
    types = slots.types
    if types == _HYBRID:
        return 6 if _per_channel(slots, 3) else 4
    known = {("int16",) * 3: 5, ("int8",) * 3: 3, ("int8", "int4", "int8"): 7}
    dilated = (slots.option("dilation_x"), slots.option("dilation_y")) != (1, 1)
    return known.get(types, 2 if dilated else 1)


def _fully_connected(slots: _Slots) -> int:
    types, weights = slots.types, slots.tensor(1)
    per_channel = types == _HYBRID and _several_scales(weights)
    wide_bias = types == ("int16", "int8", "int16") and slots.option("bias_type") != 0
    versions = (
        (14, types[1] == "int2"),
        (13, types == ("int16", "int4", "int16")),
        (12, per_channel),
        (11, wide_bias),
        (8, weights is not None and weights.sparse),
        (7, types == ("int16",) * 3),
        (6, len(slots.operator.slots) == 2),
        (5, slots.option("keep_dims") != 0),
        (4, types == ("int8",) * 3),
        (10, types == ("int8", "int4", "int8")),
        (9, types == _HYBRID and slots.option("asymmetric") != 0),
        (3, types == _HYBRID),
        (2, slots.option("shuffled") != 0),
    )
    return next((version for version, asked in versions if asked), 1)


def _embedding(slots: _Slots) -> int:
    weights = slots.type(1)
    if weights == "int4" or (slots.types[1] == "int8" and _several_scales(slots.tensor(1))):
        return 4
    return 5 if weights == "int2" else 1


def _several_scales(tensor: Tensor | None) -> bool:
    return tensor is not None and tensor.scales > 1


def _gather(slots: _Slots) -> int:
    if slots.type(0) == "int4":
        return 7
    if slots.type(1) == "int16":
        return 6
    if slots.option("batch_dims"):
        return 5
    return _by_type("int16:4 bool:3 int8:2").get(slots.type(0), 1)


def _gather_nd(slots: _Slots) -> int:
    if slots.type(0) == "bool":
        return 5
    if slots.type(1) == "int16":
        return 4
    return _by_type("int16:3 string:2").get(slots.type(0), 1)


def _svdf(slots: _Slots) -> int:
    if slots.type(0) == "int8":
        return 3
    if slots.types == _HYBRID:
        return 4 if slots.option("asymmetric") else 2
    return 1


def _recurrent(slots: _Slots) -> int:
    """RNNs, and the LSTM in both directions."""
    if slots.type(1) == "int8" and slots.types[2] == "float32":
        return 3 if slots.option("asymmetric") else 2
    return 1


def _lstm(slots: _Slots) -> int:
    types = (slots.type(0), slots.type(2), slots.types[2])
    if not slots.option("basic"):
        if types == ("int16", "int8", "int16"):
            return 5
        if types == _HYBRID:
            return 4 if slots.option("asymmetric") else 3
    return 2 if slots.option("basic") else 1


def _lstm_over_a_sequence(slots: _Slots) -> int:
    types = (slots.type(0), slots.type(2), slots.types[2])
    if types == ("int16", "int8", "int16"):
        return 5
    if slots.option("diagonal"):
        return 4
    if types == _HYBRID:
        return 3 if slots.option("asymmetric") else 2
    return 1


def _add(slots: _Slots) -> int:
    first = slots.tensor(0)
    if first is not None and first.dtype == "int16":
        if not first.scales:
            return 5
        return 1 if slots.option("power_of_two") else 3
    return _by_type("float16:6 int64:4 int8:2").get(slots.type(0), 1)


def _sub(slots: _Slots) -> int:
    if slots.type(0) == "int16" and not slots.option("power_of_two"):
        return 5
    if slots.type(0) == "int64":
        return 4
    if slots.broadcasts_beyond_four:
        return 3
    return 2 if slots.type(0) == "int8" else 1


def _mul(slots: _Slots) -> int:
    first, second, output = slots.tensor(0), slots.tensor(1), slots.output
    if first is None or second is None or output is None:
        return 1
    if first.dtype == "int16":
        return 4 if first.scales or second.scales else 7
    known = _by_type("float16:8 uint32:7 complex64:6 int64:5")
    if first.dtype in known:
        return known[first.dtype]
    scales = (first.scale or 0.0) * (second.scale or 0.0), output.scale or 0.0
    if all(scales) and scales[0] >= scales[1]:
        return 3
    return 2 if first.dtype == "int8" else 1


def _extreme(slots: _Slots) -> int:
    if slots.type(0) == "int16":
        return 4
    if slots.broadcasts_beyond_four:
        return 3
    return 2 if slots.type(0) == "int8" else 1


def _transpose(slots: _Slots) -> int:
    dtype, rank = slots.type(0), slots.rank(0)
    versions = (
        (9, dtype == "float16"),
        (8, rank > 6 or dtype == "bfloat16"),
        (7, dtype == "int4"),
        (6, rank > 5),
        (5, dtype == "int16"),
        (4, rank > 4),
        (3, dtype == "bool"),
        (2, dtype == "int8"),
    )
    return next((version for version, asked in versions if asked), 1)


def _transposed_convolution(slots: _Slots) -> int:
    types = slots.type(2), slots.type(1)
    if types == ("int16", "int8") and slots.option("bias_type"):
        return 5
    if slots.option("fused"):
        return 4
    if slots.tensor(3) is not None:
        return 3
    return 2 if slots.type(1) == "int8" else 1


def _slice(slots: _Slots) -> int:
    known = _by_type("float16:8 int4:7 uint32:6")
    if slots.type(0) in known:
        return known[slots.type(0)]
    if slots.rank(0) > 4:
        return 5
    return _by_type("int16:4 string:3 int8:2").get(slots.type(0), 1)


def _strided_slice(slots: _Slots) -> int:
    dtype = slots.type(0)
    versions = (
        (8, bool(slots.option("offset"))),
        (7, dtype == "uint32"),
        (6, bool(slots.option("ellipsis") or slots.option("new_axis"))),
        (5, dtype == "string"),
        (4, slots.rank(0) > 4),
        (3, dtype == "bool"),
        (2, dtype == "int8"),
    )
    return next((version for version, asked in versions if asked), 1)


def _pad(slots: _Slots) -> int:
    if slots.type(0) == "bool":
        return 5
    if slots.rank(0) > 4:
        return 4
    return _INT8_INT16.get(slots.type(0), 1)


def _space_and_batch(slots: _Slots) -> int:
    if slots.type(0) == "int16":
        return 4
    if slots.rank(0) not in (0, 4):
        return 3
    return 2 if slots.type(0) == "int8" else 1


def _resize(slots: _Slots) -> int:
    if slots.type(0) == "int16":
        return 4
    if slots.option("half_pixel") or slots.option("align"):
        return 3
    return 2 if slots.type(0) == "int8" else 1


def _dequantize(slots: _Slots) -> int:
    known = _by_type("uint4:8 int2:7 int4:6 int16:3 float16:3")
    if slots.type(0) == "int8":
        return 5 if _several_scales(slots.tensor(0)) else 2
    return known.get(slots.type(0), 1)


def _quantize(slots: _Slots) -> int:
    output = slots.output
    types = {slots.type(0), "" if output is None else output.dtype}
    if "uint4" in types:
        return 5
    if "int4" in types:
        return 4
    if _several_scales(output):
        return 3
    return 2 if output is not None and output.dtype == "int16" else 1


def _cast(slots: _Slots) -> int:
    output = slots.output
    types = {slots.type(0), "" if output is None else output.dtype}
    versions = (
        (8, {"int2", "uint4"}),
        (7, {"bfloat16"}),
        (6, {"int4"}),
        (5, {"float64", "float16"}),
        (4, {"uint16"}),
        (3, {"int8"}),
        (2, {"uint32"}),
    )
    return next((version for version, asked in versions if types & asked), 1)


def _batch_matmul(slots: _Slots) -> int:
    if slots.type(0) in _INT8_INT16:
        return _INT8_INT16[slots.type(0)]
    return 4 if slots.types == _HYBRID and slots.option("asymmetric") else 1


def _split(slots: _Slots) -> int:
    return _by_type("int8:2 int32:3 int16:4").get(slots.type(1), 1)


def _select(slots: _Slots) -> int:
    if slots.type(0) == "uint32":
        return 4
    if any(slots.rank(slot) == 5 for slot in range(3)):
        return 3
    return 2 if slots.type(0) == "int8" else 1


def _abs(slots: _Slots) -> int:
    first = slots.tensor(0)
    if first is not None and first.dtype == "int16":
        return 3 if first.scales else 4
    return _by_type("int32:5 int8:2 uint8:2").get(slots.type(0), 1)


def _fill(slots: _Slots) -> int:
    return _by_type("float16:4 int8:3 int16:3 bool:2 string:2").get(slots.type(1), 1)


def _update_slice(slots: _Slots) -> int:
    known = _by_type("bfloat16:6 int4:5 int16:4 float16:3")
    if slots.type(0) in known:
        return known[slots.type(0)]
    return 2 if slots.type(2) == "int64" else 1


_RULES: Mapping[str, Callable[[_Slots], int]] = {
    "ABS": _abs,
    "ADD": _add,
    "BATCH_MATMUL": _batch_matmul,
    "BATCH_TO_SPACE_ND": _space_and_batch,
    "BIDIRECTIONAL_SEQUENCE_LSTM": _recurrent,
    "BIDIRECTIONAL_SEQUENCE_RNN": _recurrent,
    "BROADCAST_TO": lambda slots: 3 if slots.type(0) in ("int8", "int16") else 2,
    "CAST": _cast,
    "CONV_2D": _convolution,
    "DEPTHWISE_CONV_2D": _depthwise,
    "DEQUANTIZE": _dequantize,
    "DIV": lambda slots: 2 if slots.broadcasts_beyond_four else 1,
    "DYNAMIC_UPDATE_SLICE": _update_slice,
    "EMBEDDING_LOOKUP": _embedding,
    "FAKE_QUANT": lambda slots: 2 if slots.option("narrow") else 1,
    "FILL": _fill,
    "FULLY_CONNECTED": _fully_connected,
    "GATHER": _gather,
    "GATHER_ND": _gather_nd,
    "LSTM": _lstm,
    "MAXIMUM": _extreme,
    "MINIMUM": _extreme,
    "MUL": _mul,
    "PAD": _pad,
    "PADV2": _pad,
    "QUANTIZE": _quantize,
    "RESIZE_BILINEAR": _resize,
    "RESIZE_NEAREST_NEIGHBOR": _resize,
    "RNN": _recurrent,
    "SELECT": _select,
    "SELECT_V2": lambda slots: 2 if slots.type(0) == "uint32" else 1,
    "SLICE": _slice,
    "SPACE_TO_BATCH_ND": _space_and_batch,
    "SPLIT": _split,
    "STRIDED_SLICE": _strided_slice,
    "SUB": _sub,
    "SVDF": _svdf,
    "TRANSPOSE": _transpose,
    "TRANSPOSE_CONV": _transposed_convolution,
    "UNIDIRECTIONAL_SEQUENCE_LSTM": _lstm_over_a_sequence,
    "UNIDIRECTIONAL_SEQUENCE_RNN": _recurrent,
    "WHERE": lambda slots: 1 if slots.type(0) == "bool" else 2,
}
