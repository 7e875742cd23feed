"""Which CPU features each level of the factor ``isa`` keeps, and how to hide the others. Pure.

Sources: the bits are those of Intel's SDM, volume 2A, CPUID (leaves 1, 7 and 80000001H), with
AMD's APM volume 3, appendix E, for 80000001H; the names those of Linux
(``arch/x86/include/asm/cpufeatures.h``); the level of each is that of GCC's ``-march=`` of the same
name ("x86 Options"), where ``skylake``, ``cascadelake`` and ``icelake`` mean the servers
(``skylake-avx512``, ``icelake-server``). Broadwell's ADX counts as Skylake's, Ivy Bridge's F16C
as Haswell's, Cannon Lake's IFMA and VBMI as Ice Lake's, Cooper Lake's BF16 as Sapphire Rapids':
there is no level in between.

Only features that kernels are chosen by are here. Others, such as RDRAND, stay as they are.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

NATIVE = "native"

#: Oldest first; each has all that the ones before it have.
LEVELS = ("sandybridge", "haswell", "skylake", "cascadelake", "icelake", "sapphirerapids")

#: Leaf and subleaf of CPUID.
Leaf = tuple[int, int]

#: Leaves without subleaves: the program may have anything in ECX.
ANY = 0xFFFFFFFF
_REGISTERS = "abcd"


@dataclass(frozen=True)
class Feature:
    """One bit of CPUID. ``since`` is the first level that has it; empty: none of them."""

    name: str
    leaf: Leaf
    register: str
    bit: int
    since: str

    @property
    def index(self) -> int:
        """The index of its register among the four that CPUID answers in."""
        return _REGISTERS.index(self.register)


_LEAF_1, _LEAF_7, _LEAF_7_1, _EXTENDED = (1, ANY), (7, 0), (7, 1), (0x80000001, ANY)

FEATURES = tuple(
    Feature(name, leaf, register, bit, since)
    for since, leaf, register, bits in (
        ("sandybridge", _LEAF_1, "c", {"sse4_2": 20, "avx": 28}),
        ("haswell", _LEAF_1, "c", {"fma": 12, "movbe": 22, "f16c": 29}),
        ("haswell", _LEAF_7, "b", {"bmi1": 3, "avx2": 5, "bmi2": 8}),
        ("haswell", _EXTENDED, "c", {"abm": 5}),
        (
            "skylake",
            _LEAF_7,
            "b",
            {"avx512f": 16, "avx512dq": 17, "adx": 19, "avx512cd": 28}
            | {"avx512bw": 30, "avx512vl": 31},
        ),
        ("cascadelake", _LEAF_7, "c", {"avx512_vnni": 11}),
        ("icelake", _LEAF_7, "b", {"avx512ifma": 21}),
        (
            "icelake",
            _LEAF_7,
            "c",
            {"avx512vbmi": 1, "avx512_vbmi2": 6, "gfni": 8, "vaes": 9, "vpclmulqdq": 10}
            | {"avx512_bitalg": 12, "avx512_vpopcntdq": 14},
        ),
        (
            "sapphirerapids",
            _LEAF_7,
            "d",
            {"amx_bf16": 22, "avx512_fp16": 23, "amx_tile": 24, "amx_int8": 25},
        ),
        ("sapphirerapids", _LEAF_7_1, "a", {"avx_vnni": 4, "avx512_bf16": 5}),
        # of no level: later CPUs', Knights', Tiger Lake's and AMD's own
        ("", _LEAF_7, "b", {"avx512pf": 26, "avx512er": 27}),
        ("", _LEAF_7, "d", {"avx512_4vnniw": 2, "avx512_4fmaps": 3, "avx512_vp2intersect": 8}),
        ("", _LEAF_7_1, "a", {"amx_fp16": 21, "avx_ifma": 23}),
        (
            "",
            _LEAF_7_1,
            "d",
            {"avx_vnni_int8": 4, "avx_ne_convert": 5, "amx_complex": 8}
            | {"avx_vnni_int16": 10, "avx10": 19, "apx_f": 21},
        ),
        ("", _EXTENDED, "c", {"xop": 11, "fma4": 16, "tbm": 21}),
    )
    for name, bit in bits.items()
)

#: In the order in which the preloaded object is told of them.
LEAVES = tuple(dict.fromkeys(feature.leaf for feature in FEATURES))


def kept(level: str) -> frozenset[str]:
    """The features that ``level`` has. Raises ValueError where there is no such level."""
    known = LEVELS[: LEVELS.index(level) + 1]
    return frozenset(feature.name for feature in FEATURES if feature.since in known)


def clear_masks(level: str) -> Mapping[Leaf, tuple[int, ...]]:
    """Map each leaf to the bits to clear in EAX, EBX, ECX, EDX; a leaf of which none is cleared is
    there, too."""
    keep = kept(level)
    masks = {leaf: [0, 0, 0, 0] for leaf in LEAVES}
    for feature in FEATURES:
        if feature.name not in keep:
            masks[feature.leaf][feature.index] |= 1 << feature.bit
    return {leaf: tuple(mask) for leaf, mask in masks.items()}


def setting(level: str) -> str:
    """The masks as ``cap_cpuid.c`` reads them from its environment variable."""
    return "".join(
        f"{leaf:x}.{subleaf:x}={','.join(f'{mask:x}' for mask in masks)};"
        for (leaf, subleaf), masks in clear_masks(level).items()
    )


def visible(answers: Mapping[Leaf, tuple[int, ...]]) -> frozenset[str]:
    """The features that CPUID's answers show. Raises KeyError where a leaf is missing."""
    return frozenset(f.name for f in FEATURES if answers[f.leaf][f.index] >> f.bit & 1)


def lacking(level: str, features: Collection[str], told: Collection[str]) -> list[str]:
    """What ``level`` has and a CPU with ``features`` has not, of the names that are ``told``."""
    asked = kept(level)
    return [f.name for f in FEATURES if f.name in asked & set(told) and f.name not in features]


def capped(isa: str) -> bool:
    """Whether a result under ``isa`` is of a capped process; False where nothing is told."""
    return isa not in ("", NATIVE)


def unknown_isa(isa: str) -> bool:
    return isa != NATIVE and isa not in LEVELS
