"""The shapes of the tensors in an ``.onnx`` graph, as far as the file tells them.

A file need not say the shapes between its inputs and its outputs. Those of the operators that
networks are made of follow from their inputs'; of others the file has to say them. A size that is
open is -1, but for the first of an input, which is the batch and counts as 1.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

from orchestrator.frameworks.onnx.file import OPEN, Graph, Node

Shape: TypeAlias = tuple[int, ...]

_LARGEST = 1 << 48
_MOST_DIMENSIONS = 64

#: Operators whose output has the shape of their first input.
_SAME = frozenset(
    """
    Relu Clip Sigmoid HardSigmoid HardSwish Tanh LeakyRelu Elu Selu Celu Gelu Erf Exp Log Sqrt Abs
    Neg Identity Dropout Cast QuantizeLinear DequantizeLinear BatchNormalization Softmax LogSoftmax
    LayerNormalization InstanceNormalization GroupNormalization Softplus Softsign Mish Not Floor
    Ceil Round PRelu LRN Reciprocal Sign Sin Cos CumSum DynamicQuantizeLinear ThresholdedRelu
    com.microsoft.QLinearSigmoid com.microsoft.QLinearLeakyRelu com.microsoft.QLinearSoftmax
    com.microsoft.QuickGelu com.microsoft.FastGelu com.microsoft.BiasGelu com.microsoft.Gelu
    com.microsoft.QuantizeLinear com.microsoft.DequantizeLinear SimplifiedLayerNormalization
    """.split()  # noqa: SIM905  # a word list reads better than as many quotes
)
_BROADCAST = frozenset(
    """
    Add Sub Mul Div Pow Max Min Mean Sum Where And Or Xor Equal Greater Less GreaterOrEqual
    LessOrEqual Mod BitwiseAnd BitwiseOr
    """.split()  # noqa: SIM905
)
_REDUCING = frozenset(
    """
    ReduceMean ReduceSum ReduceMax ReduceMin ReduceProd ReduceL2 ReduceL1 ReduceLogSumExp
    ReduceSumSquare ArgMax ArgMin com.microsoft.QLinearReduceMean
    """.split()  # noqa: SIM905
)


class Shapes:
    """What is known of the shapes of a graph's tensors, by their names."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._found: dict[str, Shape] = {
            name: constant.shape for name, constant in graph.constants.items()
        }
        for each in graph.fed():
            if each.shape is not None:
                self._found[each.name] = _at_batch_one(each.shape)
        for node in graph.nodes:
            self._follow(node)

    def of(self, name: str) -> Shape | None:
        """Return a tensor's shape; None where it is not known."""
        return self._found.get(name)

    def _follow(self, node: Node) -> None:
        rule = _RULES.get(node.title)
        made: Shape | None = None
        if rule is not None:
            try:
                made = rule(node, self)
            except (IndexError, ValueError, ZeroDivisionError):
                made = None  # the node is not what its operator asks for
        for place, name in enumerate(node.outputs):
            told = self._graph.known.get(name)
            if place == 0 and made is not None and _is_shape(made):
                self._found[name] = made
            elif told is not None and told.shape is not None:
                self._found[name] = _at_batch_one(told.shape)

    def needed(self, node: Node, place: int) -> Shape:
        """Return the shape of an input. Raises ValueError where it is not known."""
        found = self._found.get(node.input(place))
        if found is None:
            raise ValueError("not known")
        return found

    def values(self, node: Node, place: int) -> tuple[int, ...]:
        """Return the values of an input of whole numbers. Raises ValueError where the file does not
        say them."""
        constant = self._graph.constants.get(node.input(place))
        if constant is None or constant.values is None:
            raise ValueError("not known")
        return constant.values


def _is_shape(shape: Shape) -> bool:
    if len(shape) > _MOST_DIMENSIONS or any(size < OPEN for size in shape):
        return False
    return math.prod(max(size, 1) for size in shape) < _LARGEST


def _at_batch_one(shape: Shape) -> Shape:
    return (1, *shape[1:]) if shape[:1] == (OPEN,) else shape


def weights_place(node: Node) -> int:
    """Return which input of an operator with weights they are."""
    return 3 if node.name.startswith("QLinear") or node.name == "QGemm" else 1


def _same(node: Node, shapes: Shapes) -> Shape:
    return shapes.needed(node, 0)


def _broadcast(node: Node, shapes: Shapes) -> Shape:
    return _broadcast_of([shapes.needed(node, place) for place in range(len(node.inputs))])


def _broadcast_integers(node: Node, shapes: Shapes) -> Shape:
    """Inputs are two triples: a tensor, its scale and its zero point."""
    return _broadcast_of([shapes.needed(node, 0), shapes.needed(node, 3)])


def _broadcast_of(shapes: Sequence[Shape]) -> Shape:
    rank = max(map(len, shapes))
    padded = [(1,) * (rank - len(shape)) + shape for shape in shapes]
    return tuple(
        max(sizes) if max(sizes) > 1 or OPEN not in sizes else OPEN
        for sizes in zip(*padded, strict=True)
    )


def _windows(node: Node, image: Shape, kernel: Sequence[int]) -> Shape:
    """How many places of a window there are, by dimension."""
    rank = len(kernel)
    strides = _numbers(node, "strides", (1,) * rank)
    dilations = _numbers(node, "dilations", (1,) * rank)
    pads = _numbers(node, "pads", (0,) * (2 * rank))
    how = node.words.get("auto_pad", "")
    up = _one(node, "ceil_mode", 0)
    found = []
    for place, size in enumerate(image):
        if size == OPEN:
            found.append(OPEN)
            continue
        stride = strides[place]
        if how in ("SAME_UPPER", "SAME_LOWER"):
            found.append(-(-size // stride))
            continue
        padding = 0 if how == "VALID" else pads[place] + pads[place + rank]
        free = size + padding - dilations[place] * (kernel[place] - 1) - 1
        found.append((-(-free // stride) if up else free // stride) + 1)
    return tuple(found)


def _convolution(node: Node, shapes: Shapes) -> Shape:
    """Weights are [out, in of a group, height, width]."""
    image, weights = shapes.needed(node, 0), shapes.needed(node, weights_place(node))
    return (image[0], weights[0], *_windows(node, image[2:], weights[2:]))


def _transposed(node: Node, shapes: Shapes) -> Shape:
    """Weights are [in, out of a group, height, width]."""
    image, weights = shapes.needed(node, 0), shapes.needed(node, 1)
    out = weights[1] * _one(node, "group", 1)
    told = _numbers(node, "output_shape", ())
    if told:
        return (image[0], out, *told)
    rank = len(image) - 2
    strides = _numbers(node, "strides", (1,) * rank)
    dilations = _numbers(node, "dilations", (1,) * rank)
    pads = _numbers(node, "pads", (0,) * (2 * rank))
    more = _numbers(node, "output_padding", (0,) * rank)
    same = node.words.get("auto_pad", "") in ("SAME_UPPER", "SAME_LOWER")
    sides = []
    for place, size in enumerate(image[2:]):
        if size == OPEN:
            sides.append(OPEN)
        elif same:
            sides.append(size * strides[place])
        else:
            window = (weights[2 + place] - 1) * dilations[place] + 1
            padding = pads[place] + pads[place + rank]
            sides.append(strides[place] * (size - 1) + more[place] + window - padding)
    return (image[0], out, *sides)


def _pool(node: Node, shapes: Shapes) -> Shape:
    image = shapes.needed(node, 0)
    return (*image[:2], *_windows(node, image[2:], _numbers(node, "kernel_shape", ())))


def _global_pool(node: Node, shapes: Shapes) -> Shape:
    image = shapes.needed(node, 0)
    if _one(node, "channels_last", 0):
        return (image[0], *(1 for _ in image[1:-1]), image[-1])
    return (*image[:2], *(1 for _ in image[2:]))


def _concat(node: Node, shapes: Shapes) -> Shape:
    return _concat_of(node, [shapes.needed(node, place) for place in range(len(node.inputs))])


def _concat_integers(node: Node, shapes: Shapes) -> Shape:
    """Inputs are the output's scale and zero point, then triples as of ``_broadcast_integers``."""
    return _concat_of(node, [shapes.needed(node, p) for p in range(2, len(node.inputs), 3)])


def _concat_of(node: Node, parts: Sequence[Shape]) -> Shape:
    axis = _one(node, "axis", 0) % len(parts[0])
    sizes = [part[axis] for part in parts]
    whole = OPEN if OPEN in sizes else sum(sizes)
    return (*parts[0][:axis], whole, *parts[0][axis + 1 :])


def _flatten(node: Node, shapes: Shapes) -> Shape:
    shape = shapes.needed(node, 0)
    axis = _one(node, "axis", 1)
    axis = axis + len(shape) if axis < 0 else axis
    return (_product(shape[:axis]), _product(shape[axis:]))


def _reshape(node: Node, shapes: Shapes) -> Shape:
    old, asked = shapes.needed(node, 0), list(shapes.values(node, 1))
    if not _one(node, "allowzero", 0):
        asked = [old[place] if size == 0 else size for place, size in enumerate(asked)]
    if asked.count(-1) == 1 and OPEN not in old:
        rest = math.prod(size for size in asked if size != -1)
        asked[asked.index(-1)] = math.prod(old) // rest
    return tuple(asked)


def _transpose(node: Node, shapes: Shapes) -> Shape:
    shape = shapes.needed(node, 0)
    order = _numbers(node, "perm", tuple(reversed(range(len(shape)))))
    return tuple(shape[place] for place in order)


def _axes(node: Node, shapes: Shapes) -> tuple[int, ...] | None:
    """Which dimensions it is about: by an attribute, or an input of newer operators."""
    if "axes" in node.attributes:
        return node.attributes["axes"]
    return shapes.values(node, 1) if node.input(1) else None


def _squeeze(node: Node, shapes: Shapes) -> Shape:
    shape = shapes.needed(node, 0)
    axes = _axes(node, shapes)
    if axes is None:
        return tuple(size for size in shape if size != 1)
    gone = {axis % len(shape) for axis in axes}
    return tuple(size for place, size in enumerate(shape) if place not in gone)


def _unsqueeze(node: Node, shapes: Shapes) -> Shape:
    shape, axes = shapes.needed(node, 0), _axes(node, shapes) or ()
    rank = len(shape) + len(axes)
    new, old = {axis % rank for axis in axes}, iter(shape)
    return tuple(1 if place in new else next(old, OPEN) for place in range(rank))


def _reduce(node: Node, shapes: Shapes) -> Shape:
    shape = shapes.needed(node, 0)
    if node.name.startswith("Arg"):
        axes: tuple[int, ...] | None = (_one(node, "axis", 0),)
    else:
        axes = _axes(node, shapes)
    gone = {axis % len(shape) for axis in (range(len(shape)) if axes is None else axes)}
    if _one(node, "keepdims", 1):
        return tuple(1 if place in gone else size for place, size in enumerate(shape))
    return tuple(size for place, size in enumerate(shape) if place not in gone)


def _gemm(node: Node, shapes: Shapes) -> Shape:
    first, second = shapes.needed(node, 0), shapes.needed(node, weights_place(node))
    rows = first[1] if _one(node, "transA", 0) else first[0]
    columns = second[0] if _one(node, "transB", 0) else second[1]
    return (rows, columns)


def _matmul(node: Node, shapes: Shapes) -> Shape:
    first, second = shapes.needed(node, 0), shapes.needed(node, weights_place(node))
    rows = first[-2:-1] if len(first) > 1 else ()
    columns = second[-1:] if len(second) > 1 else ()
    return (*_broadcast_of([first[:-2], second[:-2]]), *rows, *columns)


def _matmul_of_bits(node: Node, shapes: Shapes) -> Shape:
    return (*shapes.needed(node, 0)[:-1], _one(node, "N", OPEN))


def _pad(node: Node, shapes: Shapes) -> Shape:
    shape = shapes.needed(node, 0)
    pads = node.attributes.get("pads") or shapes.values(node, 1)
    rank = len(shape)
    return tuple(
        OPEN if size == OPEN else size + pads[place] + pads[place + rank]
        for place, size in enumerate(shape)
    )


def _split(node: Node, shapes: Shapes) -> Shape:
    """The first part, which an equal split makes as large as the others."""
    shape = shapes.needed(node, 0)
    axis = _one(node, "axis", 0) % len(shape)
    sizes = node.attributes.get("split") or (shapes.values(node, 1) if node.input(1) else ())
    first = sizes[0] if sizes else -(-shape[axis] // len(node.outputs))
    return (*shape[:axis], first, *shape[axis + 1 :])


def _product(sizes: Sequence[int]) -> int:
    return OPEN if OPEN in sizes else math.prod(sizes)


def _numbers(node: Node, name: str, default: tuple[int, ...]) -> tuple[int, ...]:
    return node.attributes.get(name) or default


def _one(node: Node, name: str, default: int) -> int:
    return (node.attributes.get(name) or (default,))[0]


Rule: TypeAlias = Callable[[Node, Shapes], Shape]

_RULES: Mapping[str, Rule] = {
    **dict.fromkeys(_SAME, _same),
    **dict.fromkeys(_BROADCAST, _broadcast),
    **dict.fromkeys(_REDUCING, _reduce),
    **dict.fromkeys(("com.microsoft.QLinearAdd", "com.microsoft.QLinearMul"), _broadcast_integers),
    **dict.fromkeys(
        (
            "Conv", "ConvInteger", "QLinearConv", "com.microsoft.QLinearConv",
            "com.microsoft.FusedConv",
        ),
        _convolution,
    ),
    "ConvTranspose": _transposed,
    **dict.fromkeys(
        ("MaxPool", "AveragePool", "LpPool", "com.microsoft.QLinearAveragePool"), _pool
    ),
    **dict.fromkeys(
        ("GlobalAveragePool", "GlobalMaxPool", "com.microsoft.QLinearGlobalAveragePool"),
        _global_pool,
    ),
    "Concat": _concat,
    "com.microsoft.QLinearConcat": _concat_integers,
    "Flatten": _flatten,
    "Reshape": _reshape,
    "Transpose": _transpose,
    "Squeeze": _squeeze,
    "Unsqueeze": _unsqueeze,
    **dict.fromkeys(("Gemm", "com.microsoft.QGemm", "com.microsoft.FusedGemm"), _gemm),
    **dict.fromkeys(
        (
            "MatMul", "MatMulInteger", "QLinearMatMul", "com.microsoft.FusedMatMul",
            "com.microsoft.MatMulIntegerToFloat", "com.microsoft.DynamicQuantizeMatMul",
        ),
        _matmul,
    ),
    "com.microsoft.MatMulNBits": _matmul_of_bits,
    "Pad": _pad,
    "Split": _split,
}  # fmt: skip
