"""Names of the operators, types and options in the TensorFlow Lite schema, by their number there.

From `schema.fbs` of LiteRT 2.3, which only ever appends.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

OPERATORS: tuple[str, ...] = tuple(
    """
    ADD AVERAGE_POOL_2D CONCATENATION CONV_2D DEPTHWISE_CONV_2D DEPTH_TO_SPACE DEQUANTIZE
    EMBEDDING_LOOKUP FLOOR FULLY_CONNECTED HASHTABLE_LOOKUP L2_NORMALIZATION L2_POOL_2D
    LOCAL_RESPONSE_NORMALIZATION LOGISTIC LSH_PROJECTION LSTM MAX_POOL_2D MUL RELU RELU_N1_TO_1
    RELU6 RESHAPE RESIZE_BILINEAR RNN SOFTMAX SPACE_TO_DEPTH SVDF TANH CONCAT_EMBEDDINGS
    SKIP_GRAM CALL CUSTOM EMBEDDING_LOOKUP_SPARSE PAD UNIDIRECTIONAL_SEQUENCE_RNN GATHER
    BATCH_TO_SPACE_ND SPACE_TO_BATCH_ND TRANSPOSE MEAN SUB DIV SQUEEZE
    UNIDIRECTIONAL_SEQUENCE_LSTM STRIDED_SLICE BIDIRECTIONAL_SEQUENCE_RNN EXP TOPK_V2 SPLIT
    LOG_SOFTMAX DELEGATE BIDIRECTIONAL_SEQUENCE_LSTM CAST PRELU MAXIMUM ARG_MAX MINIMUM LESS
    NEG PADV2 GREATER GREATER_EQUAL LESS_EQUAL SELECT SLICE SIN TRANSPOSE_CONV SPARSE_TO_DENSE
    TILE EXPAND_DIMS EQUAL NOT_EQUAL LOG SUM SQRT RSQRT SHAPE POW ARG_MIN FAKE_QUANT
    REDUCE_PROD REDUCE_MAX PACK LOGICAL_OR ONE_HOT LOGICAL_AND LOGICAL_NOT UNPACK REDUCE_MIN
    FLOOR_DIV REDUCE_ANY SQUARE ZEROS_LIKE FILL FLOOR_MOD RANGE RESIZE_NEAREST_NEIGHBOR
    LEAKY_RELU SQUARED_DIFFERENCE MIRROR_PAD ABS SPLIT_V UNIQUE CEIL REVERSE_V2 ADD_N GATHER_ND
    COS WHERE RANK ELU REVERSE_SEQUENCE MATRIX_DIAG QUANTIZE MATRIX_SET_DIAG ROUND HARD_SWISH
    IF WHILE NON_MAX_SUPPRESSION_V4 NON_MAX_SUPPRESSION_V5 SCATTER_ND SELECT_V2 DENSIFY
    SEGMENT_SUM BATCH_MATMUL PLACEHOLDER_FOR_GREATER_OP_CODES CUMSUM CALL_ONCE BROADCAST_TO
    RFFT2D CONV_3D IMAG REAL COMPLEX_ABS HASHTABLE HASHTABLE_FIND HASHTABLE_IMPORT
    HASHTABLE_SIZE REDUCE_ALL CONV_3D_TRANSPOSE VAR_HANDLE READ_VARIABLE ASSIGN_VARIABLE
    BROADCAST_ARGS RANDOM_STANDARD_NORMAL BUCKETIZE RANDOM_UNIFORM MULTINOMIAL GELU
    DYNAMIC_UPDATE_SLICE RELU_0_TO_1 UNSORTED_SEGMENT_PROD UNSORTED_SEGMENT_MAX
    UNSORTED_SEGMENT_SUM ATAN2 UNSORTED_SEGMENT_MIN SIGN BITCAST BITWISE_XOR RIGHT_SHIFT
    STABLEHLO_LOGISTIC STABLEHLO_ADD STABLEHLO_DIVIDE STABLEHLO_MULTIPLY STABLEHLO_MAXIMUM
    STABLEHLO_RESHAPE STABLEHLO_CLAMP STABLEHLO_CONCATENATE STABLEHLO_BROADCAST_IN_DIM
    STABLEHLO_CONVOLUTION STABLEHLO_SLICE STABLEHLO_CUSTOM_CALL STABLEHLO_REDUCE STABLEHLO_ABS
    STABLEHLO_AND STABLEHLO_COSINE STABLEHLO_EXPONENTIAL STABLEHLO_FLOOR STABLEHLO_LOG
    STABLEHLO_MINIMUM STABLEHLO_NEGATE STABLEHLO_OR STABLEHLO_POWER STABLEHLO_REMAINDER
    STABLEHLO_RSQRT STABLEHLO_SELECT STABLEHLO_SUBTRACT STABLEHLO_TANH STABLEHLO_SCATTER
    STABLEHLO_COMPARE STABLEHLO_CONVERT STABLEHLO_DYNAMIC_SLICE STABLEHLO_DYNAMIC_UPDATE_SLICE
    STABLEHLO_PAD STABLEHLO_IOTA STABLEHLO_DOT_GENERAL STABLEHLO_REDUCE_WINDOW STABLEHLO_SORT
    STABLEHLO_WHILE STABLEHLO_GATHER STABLEHLO_TRANSPOSE DILATE STABLEHLO_RNG_BIT_GENERATOR
    REDUCE_WINDOW STABLEHLO_COMPOSITE STABLEHLO_SHIFT_LEFT STABLEHLO_CBRT STABLEHLO_CASE
    """.split()  # noqa: SIM905  # a word list reads better than as many quotes
)

TYPES: tuple[str, ...] = tuple(
    """
    float32 float16 int32 uint8 int64 string bool int16 complex64 int8 float64 complex128
    uint64 resource variant uint32 uint16 int4 bfloat16 int2 uint4 float8_e4m3fn float8_e5m2
    """.split()  # noqa: SIM905  # a word list reads better than as many quotes
)

#: Types that weights and activations are quantized to.
INTEGER_WEIGHTS = frozenset(("int8", "uint8", "int4", "uint4", "int2", "int16"))
FLOATS = frozenset(("float32", "float16", "bfloat16", "float64"))


@dataclass(frozen=True)
class Option:
    """A scalar of an operator's options; ``kind`` is a struct format character."""

    name: str
    field: int
    kind: str = "b"
    default: int = 0


_BUILTIN, _BUILTIN_2 = 4, 12  # the operator's fields builtin_options and builtin_options_2


def _asymmetric(field: int) -> Option:
    return Option("asymmetric", field)


#: Operator → the field that its options stand in, and those of them that are read: which subgraphs
#: it runs, and what an operator version depends on.
OPTIONS: Mapping[str, tuple[int, tuple[Option, ...]]] = {
    "ADD": (_BUILTIN, (Option("power_of_two", 1, default=1),)),
    "BATCH_MATMUL": (_BUILTIN, (Option("adj_x", 0), Option("adj_y", 1), _asymmetric(2))),
    "BIDIRECTIONAL_SEQUENCE_LSTM": (_BUILTIN, (_asymmetric(5),)),
    "BIDIRECTIONAL_SEQUENCE_RNN": (_BUILTIN, (_asymmetric(3),)),
    "CALL": (_BUILTIN, (Option("callee", 0, "I"),)),
    "CALL_ONCE": (_BUILTIN, (Option("init", 0, "i"),)),
    "CONV_2D": (_BUILTIN, (Option("bias_type", 6),)),
    "DEPTHWISE_CONV_2D": (
        _BUILTIN,
        (Option("dilation_x", 5, "i", 1), Option("dilation_y", 6, "i", 1)),
    ),
    "FAKE_QUANT": (_BUILTIN, (Option("narrow", 3),)),
    "FULLY_CONNECTED": (
        _BUILTIN,
        (Option("shuffled", 1), Option("keep_dims", 2), _asymmetric(3), Option("bias_type", 4)),
    ),
    "GATHER": (_BUILTIN, (Option("batch_dims", 1, "i"),)),
    "IF": (_BUILTIN, (Option("then", 0, "i"), Option("else", 1, "i"))),
    "LSTM": (_BUILTIN, (Option("basic", 3), _asymmetric(4))),
    "RESIZE_BILINEAR": (_BUILTIN, (Option("half_pixel", 3),)),
    "RESIZE_NEAREST_NEIGHBOR": (_BUILTIN, (Option("align", 0), Option("half_pixel", 1))),
    "RNN": (_BUILTIN, (_asymmetric(1),)),
    "STABLEHLO_COMPOSITE": (_BUILTIN_2, (Option("decomposition", 1, "i"),)),
    "STABLEHLO_WHILE": (_BUILTIN_2, (Option("cond", 0, "i"), Option("body", 1, "i"))),
    "STRIDED_SLICE": (
        _BUILTIN,
        (Option("ellipsis", 2, "i"), Option("new_axis", 3, "i"), Option("offset", 5)),
    ),
    "SUB": (_BUILTIN, (Option("power_of_two", 1, default=1),)),
    "SVDF": (_BUILTIN, (_asymmetric(2),)),
    "TRANSPOSE_CONV": (_BUILTIN, (Option("fused", 3), Option("bias_type", 4))),
    "UNIDIRECTIONAL_SEQUENCE_LSTM": (_BUILTIN, (_asymmetric(4), Option("diagonal", 5))),
    "UNIDIRECTIONAL_SEQUENCE_RNN": (_BUILTIN, (_asymmetric(2),)),
    "WHILE": (_BUILTIN, (Option("cond", 0, "i"), Option("body", 1, "i"))),
}
