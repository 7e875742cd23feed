"""How the operators of an ``.onnx`` graph hold and compute their numbers, read from its types.

A quantized network is written in one of three ways: with operators of integers (``QLinearConv``:
the operator format), with ordinary operators between ``DequantizeLinear`` and ``QuantizeLinear``
(QDQ), of which a runtime makes operators of integers where it can, or with integers that are found
while it runs (``DynamicQuantizeLinear`` and ``ConvInteger``).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

from orchestrator.frameworks.files import Bytes
from orchestrator.frameworks.onnx.file import FLOATS, Constant, Graph, Node
from orchestrator.frameworks.onnx.shapes import weights_place

#: Ways of writing a quantized network.
QDQ, OPERATORS, DYNAMIC = "QDQ", "QOperator", "dynamic"

#: Operators that multiply by weights, of which the shapes tell how often.
_ORDINARY = frozenset(
    """
    Conv ConvTranspose MatMul Gemm com.microsoft.FusedConv com.microsoft.FusedGemm
    com.microsoft.FusedMatMul
    """.split()  # noqa: SIM905  # a word list reads better than as many quotes
)
_DYNAMIC = frozenset(
    """
    ConvInteger MatMulInteger com.microsoft.MatMulIntegerToFloat com.microsoft.DynamicQuantizeMatMul
    """.split()  # noqa: SIM905
)
_INTEGER = frozenset(
    """
    QLinearConv QLinearMatMul com.microsoft.QLinearConv com.microsoft.QGemm
    """.split()  # noqa: SIM905
)
_OF_BITS = "com.microsoft.MatMulNBits"
MULTIPLYING = _ORDINARY | _DYNAMIC | _INTEGER | {_OF_BITS}
#: Those that multiply as well, of which nothing here tells how often.
UNCOUNTED = frozenset(
    """
    LSTM GRU RNN Einsum DeformConv Attention If Loop Scan com.microsoft.Attention
    com.microsoft.MultiHeadAttention com.microsoft.GroupQueryAttention com.microsoft.QAttention
    com.microsoft.DynamicQuantizeLSTM com.microsoft.QMoE com.microsoft.MoE
    com.microsoft.MatMulBnb4 com.microsoft.QOrderedMatMul
    """.split()  # noqa: SIM905  # a word list reads better than as many quotes
)
#: Those that compute nothing on real numbers: they convert, or sort out shapes.
_APART = frozenset(
    """
    QuantizeLinear DequantizeLinear DynamicQuantizeLinear Cast Constant ConstantOfShape Shape
    Identity Size Range com.microsoft.QuantizeLinear com.microsoft.DequantizeLinear CastLike
    """.split()  # noqa: SIM905
)
_QUANTIZE = ("QuantizeLinear", "com.microsoft.QuantizeLinear")
_DEQUANTIZE = ("DequantizeLinear", "com.microsoft.DequantizeLinear")
#: What may stand between an operator and its weights.
_PASSED = frozenset(("Transpose", "Reshape", "Identity", "Cast", "Squeeze", "Unsqueeze"))
_MOST_PASSED = 8
_BITS = re.compile(r"\d+")
#: Bytes of a signed integer that lies outside of -64 to 64.
_WITHIN_7_BITS = bytes(value & 0xFF for value in range(-64, 65))
_LOOKED_AT_ONCE = 1 << 20


@dataclass(frozen=True)
class Use:
    """How one operator holds its weights and what it multiplies them with.

    ``form`` is how that is written, empty where nothing is quantized. ``weights`` is None where it
    multiplies what was computed.
    """

    activations: str
    weights: str | None
    form: str = ""
    per_channel: bool | None = None
    constant: Constant | None = None

    @property
    def integers(self) -> bool:
        """Whether it stands for a product of integers."""
        return self.form in (QDQ, OPERATORS, DYNAMIC)

    @property
    def scheme(self) -> str:
        """Name the types of weights and activations."""
        weights = self.weights or self.activations
        if self.form == DYNAMIC:
            return f"dynamic_{weights}"
        if not self.integers:
            return weights if self.form == "" else f"weight_only_{weights}"
        named = {
            ("int8", "int8"): "static_int8",
            ("uint8", "int8"): "static_u8s8",
            ("uint8", "uint8"): "full_uint8",
        }
        bits = _BITS.search(weights)
        return named.get((self.activations, weights), f"{self.activations}x{bits and bits[0]}")


class Uses:
    """What each operator of a graph computes in."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._made_by: Mapping[str, Node] = {
            name: node for node in graph.nodes for name in node.outputs if name
        }

    def of(self, node: Node) -> Use | None:
        """Return how an operator that multiplies does it; None of any other."""
        title = node.title
        if title in _INTEGER:
            return self._integer(node)
        if title in _DYNAMIC:
            constant = self._graph.constants.get(node.input(1))
            # the weights' zero points, one a channel where there are scales by channel
            place = {"MatMulIntegerToFloat": 5, "DynamicQuantizeMatMul": 3}.get(node.name, 3)
            zero_point = self._graph.constants.get(node.input(place))
            many = None if zero_point is None else zero_point.elements > 1
            held = "integers" if constant is None else constant.dtype
            return Use("uint8", held, DYNAMIC, many, constant)
        if title == _OF_BITS:
            bits = (node.attributes.get("bits") or (4,))[0]
            return Use("float32", f"int{bits}", "weights", True)
        if title in _ORDINARY:
            return self._ordinary(node)
        return None

    def is_quantized(self, node: Node) -> bool:
        """Whether an operator computes on integers, as the file has it."""
        use = self.of(node)
        if use is not None:
            return use.integers or use.form == "weights"
        before = self._made_by.get(node.input(0))
        if node.name.startswith("QLinear") or (before is not None and _makes_integers(before)):
            return True
        return self._dequantized(node.input(0)) is not None

    def _integer(self, node: Node) -> Use:
        place = weights_place(node)
        zero_point = self._graph.constants.get(node.input(2))
        constant = self._graph.constants.get(node.input(place))
        scale = self._graph.constants.get(node.input(place + 1))
        held = self._graph.constants.get(node.input(place + 2))
        weights = constant or held
        return Use(
            "uint8" if zero_point is None else zero_point.dtype,
            None if weights is None else weights.dtype,
            OPERATORS,
            None if scale is None or constant is None else scale.elements > 1,
            constant,
        )

    def _ordinary(self, node: Node) -> Use:
        name = self._behind(node.input(1))
        constant = self._graph.constants.get(name)
        activations = self._dequantized(node.input(0))
        if constant is not None:
            if constant.dtype not in FLOATS:
                return Use(constant.dtype, constant.dtype, "", None, constant)
            weights = constant.dtype
            return Use(activations[0] if activations else weights, weights, "", None, constant)
        held = self._dequantized(name)
        if held is None:
            return Use(activations[0] if activations else self._float(node), None)
        dtype, source, scale = held
        kept = self._graph.constants.get(self._behind(source))
        many = scale is not None and scale.elements > 1
        if activations is None:
            # both computed, one of them from integers: nothing stands in the file as weights
            return Use("float32", dtype, "weights", many, kept) if kept else Use("float32", None)
        return Use(activations[0], dtype, QDQ, many if kept else None, kept)

    def _float(self, node: Node) -> str:
        """The type of an operator that multiplies what was computed."""
        for name in (*node.outputs, *node.inputs):
            told = self._graph.known.get(name)
            if told is not None and told.dtype in FLOATS:
                return told.dtype
        return "float32"

    def _behind(self, name: str) -> str:
        """The tensor that this one is, but for its layout."""
        for _ in range(_MOST_PASSED):
            node = self._made_by.get(name)
            if node is None or node.title not in _PASSED:
                break
            name = node.input(0)
        return name

    def _dequantized(self, name: str) -> tuple[str, str, Constant | None] | None:
        """(type of the integers, the tensor of them, their scale) where this is made of integers;
        None where it is not."""
        node = self._made_by.get(self._behind(name))
        if node is None or node.title not in _DEQUANTIZE:
            return None
        constants = self._graph.constants
        source, scale = node.input(0), constants.get(node.input(1))
        kept = constants.get(source)
        if kept is not None:
            return kept.dtype, source, scale
        zero_point = constants.get(node.input(2))
        if zero_point is not None:
            return zero_point.dtype, self._real(source), scale
        before = self._made_by.get(source)
        held = constants.get(before.input(2)) if before and before.title in _QUANTIZE else None
        told = self._graph.known.get(source)
        dtype = held.dtype if held else told.dtype if told else "uint8"
        return dtype, self._real(source), scale

    def _real(self, name: str) -> str:
        """The real numbers that were quantized to this tensor."""
        node = self._made_by.get(name)
        return node.input(0) if node is not None and node.title in _QUANTIZE else name


def _makes_integers(node: Node) -> bool:
    return node.name.startswith("QLinear") or node.title in _QUANTIZE


def computes(node: Node) -> bool:
    """Whether an operator computes on real numbers, rather than convert them or sort out shapes."""
    return node.title not in _APART


def name_scheme(uses: Iterable[Use], stored: Iterable[str]) -> str:
    """Name how a network is quantized: as its operators with weights agree, else ``mixed``.

    ``stored`` are the types of its constants, for one without such an operator.
    """
    every = list(uses)
    with_weights = [use for use in every if use.weights is not None] or every
    schemes = {use.scheme for use in with_weights}
    if not schemes:
        schemes = {dtype for dtype in stored if dtype in FLOATS} or {"float32"}
    return schemes.pop() if len(schemes) == 1 else "mixed"


@dataclass(frozen=True)
class WeightRange:
    """Looks at integer weights."""

    data: Bytes
    constants: tuple[Constant, ...]

    @cached_property
    def within_7_bits(self) -> bool:
        """Whether all of them lie between -64 and 64; False where some are in another file."""
        return bool(self.constants) and all(map(self._is_within, self.constants))

    def _is_within(self, constant: Constant) -> bool:
        raw = constant.raw
        if raw is None or constant.dtype != "int8":
            return False
        return not any(
            self.data[start : min(raw.end, start + _LOOKED_AT_ONCE)].translate(None, _WITHIN_7_BITS)
            for start in range(raw.start, raw.end, _LOOKED_AT_ONCE)
        )
