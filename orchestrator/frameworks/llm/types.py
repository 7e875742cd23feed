"""The types that tensors of a GGUF file have, and the mixes of them that llama.cpp has names for.

As in ggml's ``ggml.h`` and ``ggml-common.h``, and llama.cpp's ``llama.h``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class TensorType:
    """So many values of a row are stored together in so many bytes.

    ``name`` is that of the scheme of a file of it; ``quantized``: the values of a block share what
    they are scaled with.
    """

    name: str
    values: int
    size_bytes: int

    @property
    def quantized(self) -> bool:
        return self.values > 1

    @property
    def bits(self) -> float:
        """Bits a value, scales included."""
        return 8 * self.size_bytes / self.values


#: By their numbers in a file.
TYPES: Mapping[int, TensorType] = {
    number: TensorType(name, values, size_bytes)
    for number, name, values, size_bytes in (
        (0, "float32", 1, 4),
        (1, "float16", 1, 2),
        (2, "q4_0", 32, 18),
        (3, "q4_1", 32, 20),
        (6, "q5_0", 32, 22),
        (7, "q5_1", 32, 24),
        (8, "q8_0", 32, 34),
        (10, "q2_k", 256, 84),
        (11, "q3_k", 256, 110),
        (12, "q4_k", 256, 144),
        (13, "q5_k", 256, 176),
        (14, "q6_k", 256, 210),
        (16, "iq2_xxs", 256, 66),
        (17, "iq2_xs", 256, 74),
        (18, "iq3_xxs", 256, 98),
        (19, "iq1_s", 256, 50),
        (20, "iq4_nl", 32, 18),
        (21, "iq3_s", 256, 110),
        (22, "iq2_s", 256, 82),
        (23, "iq4_xs", 256, 136),
        (24, "int8", 1, 1),
        (25, "int16", 1, 2),
        (26, "int32", 1, 4),
        (27, "int64", 1, 8),
        (28, "float64", 1, 8),
        (29, "iq1_m", 256, 56),
        (30, "bfloat16", 1, 2),
        (34, "tq1_0", 256, 54),
        (35, "tq2_0", 256, 66),
        (39, "mxfp4", 32, 17),
    )
}

#: What ``general.file_type`` stands for: the words that llama.cpp's quantizer calls a file by. A
#: mix (``q4_k_m``) keeps some tensors in other types, and rows that its blocks do not divide get a
#: fallback.
MIXES: Mapping[int, str] = {
    0: "float32",
    1: "float16",
    2: "q4_0",
    3: "q4_1",
    7: "q8_0",
    8: "q5_0",
    9: "q5_1",
    10: "q2_k",
    11: "q3_k_s",
    12: "q3_k_m",
    13: "q3_k_l",
    14: "q4_k_s",
    15: "q4_k_m",
    16: "q5_k_s",
    17: "q5_k_m",
    18: "q6_k",
    19: "iq2_xxs",
    20: "iq2_xs",
    21: "q2_k_s",
    22: "iq3_xs",
    23: "iq3_xxs",
    24: "iq1_s",
    25: "iq4_nl",
    26: "iq3_s",
    27: "iq3_m",
    28: "iq2_s",
    29: "iq2_m",
    30: "iq4_xs",
    31: "iq1_m",
    32: "bfloat16",
    36: "tq1_0",
    37: "tq2_0",
    38: "mxfp4",
}


#: Mixes that are named for no type: the one that most of such a file is.
_MOSTLY = {"iq3_xs": "iq3_s", "iq3_m": "iq3_s", "iq2_m": "iq2_s"}


def type_of_mix(mix: str) -> str:
    """Return the type that a mix is named for: ``q4_k`` of ``q4_k_m``."""
    names = {each.name for each in TYPES.values()}
    return mix if mix in names else _MOSTLY.get(mix, mix.rpartition("_")[0])
