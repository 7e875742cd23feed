"""Names a CPU's microarchitecture from its identification. Data and pure functions, no I/O.

Sources: Intel SDM volume 4, table 2-1 (CPUID signatures) and Linux
``arch/x86/include/asm/intel-family.h``; Linux ``arch/x86/kernel/cpu/amd.c`` for the ranges of Zen,
with AMD's revision guides for Zen+ and what came before; for Arm the MIDR part numbers of the
cores' technical reference manuals, as util-linux ``sys-utils/lscpu-arm.c`` collects them.

A signature that is not listed here has no name: None, never the nearest one.
"""

from __future__ import annotations

from typing import AbstractSet, Dict, NamedTuple, Optional, Tuple

#: Intel family 6 by model; the models that need more than that stand in ``_INTEL_BY_STEPPING``
#: and :func:`_skylake_server`.
_INTEL_6 = {
    "core2": (15, 22, 23, 29),
    "nehalem": (26, 30, 31, 46),
    "westmere": (37, 44, 47),
    "sandybridge": (42, 45),
    "ivybridge": (58, 62),
    "haswell": (60, 63, 69, 70),
    "broadwell": (61, 71, 79, 86),
    "skylake": (78, 94),
    "cannonlake": (102,),
    "cometlake": (165, 166),
    "icelake": (106, 108, 125, 126, 157),
    "rocketlake": (167,),
    "lakefield": (138,),
    "tigerlake": (140, 141),
    "alderlake": (151, 154),
    "raptorlake": (183, 186, 191),
    "meteorlake": (170, 172),
    "arrowlake": (181, 197, 198),
    "lunarlake": (189,),
    "pantherlake": (204,),
    "sapphirerapids": (143,),
    "emeraldrapids": (207,),
    "graniterapids": (173, 174),
    "sierraforest": (175,),
    "grandridge": (182,),
    "clearwaterforest": (221,),
    "bonnell": (28, 38),
    "saltwell": (39, 53, 54),
    "silvermont": (55, 74, 77),
    "airmont": (76, 90, 117),
    "goldmont": (92, 95),
    "goldmontplus": (122,),
    "tremont": (134, 150, 156),
    "gracemont": (190,),
    "knightslanding": (87,),
    "knightsmill": (133,),
}
#: (family, model) → name.
_INTEL: Dict[Tuple[int, int], str] = {
    **{(6, model): name for name, models in _INTEL_6.items() for model in models},
    (18, 1): "novalake",
    (18, 3): "novalake",
    (19, 1): "diamondrapids",
}

#: Signature → (name up to this stepping, the stepping, name above it). Model 142 from stepping 11
#: on is sold as Whiskey, Amber and Comet Lake too, with the same core.
_INTEL_BY_STEPPING: Dict[Tuple[int, int], Tuple[str, int, str]] = {
    (6, 142): ("kabylake", 9, "coffeelake"),
    (6, 158): ("kabylake", 9, "coffeelake"),
}
_SKYLAKE_SERVER = (6, 85)
#: Early QEMU machines give their Ice Lake server model number 134, which is Tremont's.
_QEMU_ICELAKE = (6, 134)

#: AMD (and Hygon) family → (first model, last model, name), the first that fits.
_AMD: Dict[int, Tuple[Tuple[int, int, str], ...]] = {
    0x10: ((0x00, 0xFF, "k10"),),
    0x12: ((0x00, 0xFF, "k10"),),
    0x14: ((0x00, 0x0F, "bobcat"),),
    0x15: (
        (0x00, 0x01, "bulldozer"),
        (0x02, 0x02, "piledriver"),
        (0x10, 0x1F, "piledriver"),
        (0x30, 0x3F, "steamroller"),
        (0x60, 0x7F, "excavator"),
    ),
    0x16: ((0x00, 0x0F, "jaguar"), (0x30, 0x3F, "puma")),
    0x17: (
        (0x08, 0x08, "zen+"),
        (0x18, 0x18, "zen+"),
        (0x00, 0x2F, "zen1"),
        (0x50, 0x5F, "zen1"),
        (0x30, 0x4F, "zen2"),
        (0x60, 0x7F, "zen2"),
        (0x90, 0x9F, "zen2"),  # 0x98 is not in the kernel's list, it is in AMD's and LLVM's
        (0xA0, 0xAF, "zen2"),
    ),
    0x19: (
        (0x00, 0x0F, "zen3"),
        (0x20, 0x5F, "zen3"),
        (0x10, 0x1F, "zen4"),
        (0x60, 0xAF, "zen4"),
    ),
    0x1A: (
        (0x00, 0x2F, "zen5"),
        (0x40, 0x4F, "zen5"),
        (0x60, 0x7F, "zen5"),
        (0x50, 0x5F, "zen6"),
        (0x80, 0xAF, "zen6"),
        (0xC0, 0xCF, "zen6"),
    ),
}
_HYGON_DHYANA_FAMILY = 0x18

_ARM_LTD = 0x41
#: MIDR implementer → its name and its parts.
_ARM: Dict[int, Tuple[str, Dict[int, str]]] = {
    _ARM_LTD: (
        "ARM",
        {
            0xB76: "arm1176",
            0xC05: "cortex-a5",
            0xC07: "cortex-a7",
            0xC08: "cortex-a8",
            0xC09: "cortex-a9",
            0xC0D: "cortex-a17",
            0xC0E: "cortex-a17",
            0xC0F: "cortex-a15",
            0xD01: "cortex-a32",
            0xD02: "cortex-a34",
            0xD03: "cortex-a53",
            0xD04: "cortex-a35",
            0xD05: "cortex-a55",
            0xD06: "cortex-a65",
            0xD07: "cortex-a57",
            0xD08: "cortex-a72",
            0xD09: "cortex-a73",
            0xD0A: "cortex-a75",
            0xD0B: "cortex-a76",
            0xD0C: "neoverse-n1",
            0xD0D: "cortex-a77",
            0xD0E: "cortex-a76ae",
            0xD40: "neoverse-v1",
            0xD41: "cortex-a78",
            0xD42: "cortex-a78ae",
            0xD43: "cortex-a65ae",
            0xD44: "cortex-x1",
            0xD46: "cortex-a510",
            0xD47: "cortex-a710",
            0xD48: "cortex-x2",
            0xD49: "neoverse-n2",
            0xD4A: "neoverse-e1",
            0xD4B: "cortex-a78c",
            0xD4C: "cortex-x1c",
            0xD4D: "cortex-a715",
            0xD4E: "cortex-x3",
            0xD4F: "neoverse-v2",
            0xD80: "cortex-a520",
            0xD81: "cortex-a720",
            0xD82: "cortex-x4",
            0xD83: "neoverse-v3ae",
            0xD84: "neoverse-v3",
            0xD85: "cortex-x925",
            0xD87: "cortex-a725",
            0xD88: "cortex-a520ae",
            0xD89: "cortex-a720ae",
            0xD8E: "neoverse-n3",
        },
    ),
    0x42: ("Broadcom", {0x100: "brahma-b53", 0x516: "thunderx2"}),
    0x43: ("Cavium", {0x0A1: "thunderx", 0x0AF: "thunderx2"}),
    0x46: ("Fujitsu", {0x001: "a64fx"}),
    0x48: ("HiSilicon", {0xD01: "taishan-v110", 0xD02: "taishan-v120", 0xD40: "cortex-a76"}),
    0x4E: ("NVIDIA", {0x000: "denver", 0x003: "denver2", 0x004: "carmel"}),
    0x50: ("APM", {0x000: "x-gene"}),
    0x51: (
        "Qualcomm",
        {
            0x001: "oryon",
            0x201: "kryo",
            0x205: "kryo",
            0x211: "kryo",
            0x800: "kryo-2xx-gold",
            0x801: "kryo-2xx-silver",
            0x802: "kryo-3xx-gold",
            0x803: "kryo-3xx-silver",
            0x804: "kryo-4xx-gold",
            0x805: "kryo-4xx-silver",
            0xC00: "falkor",
        },
    ),
    0x53: ("Samsung", {0x001: "exynos-m1", 0x002: "exynos-m3", 0x003: "exynos-m4"}),
    0x61: (
        "Apple",
        {
            0x022: "icestorm",
            0x023: "firestorm",
            0x024: "icestorm",
            0x025: "firestorm",
            0x028: "icestorm",
            0x029: "firestorm",
            0x032: "blizzard",
            0x033: "avalanche",
            0x034: "blizzard",
            0x035: "avalanche",
            0x038: "blizzard",
            0x039: "avalanche",
        },
    ),
    0x6D: ("Microsoft", {0xD49: "neoverse-n2"}),  # Azure Cobalt 100 carries its maker's number
    0x70: ("Phytium", {0x662: "ftc662", 0x663: "ftc663", 0x664: "ftc664"}),
    0xC0: ("Ampere", {0xAC3: "ampere-1", 0xAC4: "ampere-1a"}),
}

_EFFICIENCY_CORES = frozenset(
    {
        "cortex-a5",
        "cortex-a7",
        "cortex-a35",
        "cortex-a53",
        "cortex-a55",
        "cortex-a510",
        "cortex-a520",
        "kryo-2xx-silver",
        "kryo-3xx-silver",
        "kryo-4xx-silver",
        "icestorm",
        "blizzard",
    }
)


class Identity(NamedTuple):
    """A microarchitecture's name, and in one sentence what speaks against or forbids one."""

    name: Optional[str]
    note: Optional[str] = None


def x86(
    vendor: Optional[str],
    family: Optional[int],
    model: Optional[int],
    stepping: Optional[int],
    flags: AbstractSet[str],
) -> Identity:
    """The name for a CPUID signature; ``flags`` are those of ``/proc/cpuinfo``."""
    if family is None or model is None:
        return Identity(None)
    if vendor == "GenuineIntel":
        return _intel(family, model, stepping, flags)
    if vendor == "AuthenticAMD":
        return Identity(_amd(family, model))
    if vendor == "HygonGenuine" and family == _HYGON_DHYANA_FAMILY:
        return Identity("dhyana")
    return Identity(None)


def _intel(family: int, model: int, stepping: Optional[int], flags: AbstractSet[str]) -> Identity:
    signature = (family, model)
    if signature == _SKYLAKE_SERVER:
        return _skylake_server(stepping, flags)
    if signature == _QEMU_ICELAKE and "avx512f" in flags:
        return Identity("icelake", "model 134 with AVX-512: QEMU's early Ice Lake, not a Tremont")
    if signature in _INTEL_BY_STEPPING:
        older, last, newer = _INTEL_BY_STEPPING[signature]
        if stepping is None:
            return Identity(None, f"model {model} is {older} or {newer}; the stepping is hidden")
        return Identity(older if stepping <= last else newer)
    return Identity(_INTEL.get(signature))


def _skylake_server(stepping: Optional[int], flags: AbstractSet[str]) -> Identity:
    """Skylake, Cascade Lake and Cooper Lake servers share model 85.

    A hypervisor may hide features and the stepping; it cannot add an instruction. So a feature
    that is there outweighs the stepping, and one that is missing does not.
    """
    if stepping is not None and stepping >= 10:
        return Identity("cooperlake", _hidden("avx512_bf16", flags))
    if "avx512_bf16" in flags:
        return Identity("cooperlake", f"stepping {stepping} contradicts avx512_bf16")
    if stepping in (5, 6, 7):
        return Identity("cascadelake", _hidden("avx512_vnni", flags))
    if "avx512_vnni" in flags:
        return Identity("cascadelake", f"stepping {stepping} contradicts avx512_vnni")
    if stepping in (3, 4) or (stepping in (0, 1, 2) and "hypervisor" not in flags):
        return Identity("skylake")
    # steppings 0 to 2 were engineering samples; in a guest such a number is a made-up one
    return Identity(
        None,
        "model 85 is skylake, cascadelake or cooperlake; "
        f"stepping {stepping} and features do not tell which",
    )


def _hidden(feature: str, flags: AbstractSet[str]) -> Optional[str]:
    return None if feature in flags else f"the CPU has {feature}, but it is hidden here"


def _amd(family: int, model: int) -> Optional[str]:
    for first, last, name in _AMD.get(family, ()):
        if first <= model <= last:
            return name
    return None


def arm(implementer: Optional[int], part: Optional[int]) -> Optional[str]:
    """The core's name for two fields of its MIDR."""
    if implementer is None or part is None or implementer not in _ARM:
        return None
    return _ARM[implementer][1].get(part)


def arm_vendor(implementer: Optional[int]) -> Optional[str]:
    """Name who made the core, for the implementer field of its MIDR."""
    return _ARM[implementer][0] if implementer in _ARM else None


def arm_rank(name: Optional[str]) -> int:
    """Rank the cores of one chip: 0 is a small core, 1 a big one, 2 a prime one."""
    if name in _EFFICIENCY_CORES:
        return 0
    return 2 if (name or "").startswith("cortex-x") else 1
