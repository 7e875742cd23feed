"""The names for CPUID signatures and MIDR part numbers."""

from __future__ import annotations

import pytest

from orchestrate_agent.machine import microarchitecture
from orchestrate_agent.machine.microarchitecture import Identity

INTEL = "GenuineIntel"
AMD = "AuthenticAMD"
AVX512 = frozenset({"avx512f", "avx512bw"})
VNNI = AVX512 | {"avx512_vnni"}
BF16 = VNNI | {"avx512_bf16"}
GUEST = frozenset({"hypervisor"})


@pytest.mark.parametrize(
    ("model", "name"),
    [
        (42, "sandybridge"),
        (45, "sandybridge"),
        (58, "ivybridge"),
        (62, "ivybridge"),
        (60, "haswell"),
        (63, "haswell"),
        (69, "haswell"),
        (70, "haswell"),
        (61, "broadwell"),
        (71, "broadwell"),
        (79, "broadwell"),
        (86, "broadwell"),
        (78, "skylake"),
        (94, "skylake"),
        (106, "icelake"),
        (108, "icelake"),
        (125, "icelake"),
        (126, "icelake"),
        (140, "tigerlake"),
        (141, "tigerlake"),
        (143, "sapphirerapids"),
        (151, "alderlake"),
        (154, "alderlake"),
        (170, "meteorlake"),
        (173, "graniterapids"),
        (174, "graniterapids"),
        (175, "sierraforest"),
        (183, "raptorlake"),
        (207, "emeraldrapids"),
        (134, "tremont"),
        (0, None),
        (255, None),
    ],
)
def test_intel_by_model(model: int, name: str | None) -> None:
    assert microarchitecture.x86(INTEL, 6, model, 3, frozenset()) == Identity(name)


@pytest.mark.parametrize(
    ("stepping", "flags", "name", "noted"),
    [
        (3, AVX512 | GUEST, "skylake", False),
        (4, AVX512, "skylake", False),
        (5, VNNI, "cascadelake", False),
        (6, VNNI, "cascadelake", False),
        (7, VNNI, "cascadelake", False),
        (11, BF16, "cooperlake", False),
        # a guest from which features are hidden: the stepping still tells
        (7, AVX512 | GUEST, "cascadelake", True),
        (10, VNNI | GUEST, "cooperlake", True),
        # an invented stepping: a feature that is there cannot be an older CPU's
        (4, VNNI | GUEST, "cascadelake", True),
        (None, VNNI | GUEST, "cascadelake", True),
        (4, BF16 | GUEST, "cooperlake", True),
        # nothing left to tell by
        (0, AVX512 | GUEST, None, True),
        (None, AVX512, None, True),
        (8, AVX512, None, True),
        # an engineering sample on bare metal
        (0, AVX512, "skylake", False),
    ],
)
def test_model_85(
    stepping: int | None, flags: frozenset[str], name: str | None, noted: bool
) -> None:
    told = microarchitecture.x86(INTEL, 6, 85, stepping, flags)
    assert told.name == name
    assert (told.note is not None) == noted


@pytest.mark.parametrize("model", [142, 158])
def test_kabylake_and_coffeelake_share_models(model: int) -> None:
    names = [
        microarchitecture.x86(INTEL, 6, model, stepping, frozenset()).name for stepping in (9, 10)
    ]
    assert names == ["kabylake", "coffeelake"]
    assert microarchitecture.x86(INTEL, 6, model, None, frozenset()).name is None


@pytest.mark.parametrize(
    ("family", "model", "name"),
    [
        (0x17, 0x01, "zen1"),
        (0x17, 0x08, "zen+"),
        (0x17, 0x11, "zen1"),
        (0x17, 0x18, "zen+"),
        (0x17, 0x20, "zen1"),
        (0x17, 0x31, "zen2"),
        (0x17, 0x47, "zen2"),
        (0x17, 0x60, "zen2"),
        (0x17, 0x68, "zen2"),
        (0x17, 0x71, "zen2"),
        (0x17, 0x90, "zen2"),
        (0x17, 0x98, "zen2"),
        (0x17, 0xA0, "zen2"),
        (0x17, 0x80, None),
        (0x19, 0x01, "zen3"),
        (0x19, 0x08, "zen3"),
        (0x19, 0x11, "zen4"),
        (0x19, 0x18, "zen4"),
        (0x19, 0x21, "zen3"),
        (0x19, 0x44, "zen3"),
        (0x19, 0x50, "zen3"),
        (0x19, 0x61, "zen4"),
        (0x19, 0x75, "zen4"),
        (0x19, 0xA0, "zen4"),
        (0x19, 0xB0, None),
        (0x1A, 0x02, "zen5"),
        (0x1A, 0x11, "zen5"),
        (0x1A, 0x24, "zen5"),
        (0x1A, 0x44, "zen5"),
        (0x1A, 0x60, "zen5"),
        (0x1A, 0x70, "zen5"),
        (0x15, 0x02, "piledriver"),
        (0x1B, 0x00, None),
    ],
)
def test_amd(family: int, model: int, name: str | None) -> None:
    assert microarchitecture.x86(AMD, family, model, 0, frozenset()).name == name


@pytest.mark.parametrize(
    ("implementer", "part", "name"),
    [
        (0x41, 0xD03, "cortex-a53"),
        (0x41, 0xD07, "cortex-a57"),
        (0x41, 0xD08, "cortex-a72"),
        (0x41, 0xD0B, "cortex-a76"),
        (0x41, 0xD0C, "neoverse-n1"),
        (0x41, 0xD40, "neoverse-v1"),
        (0x41, 0xD41, "cortex-a78"),
        (0x41, 0xD42, "cortex-a78ae"),
        (0x41, 0xD49, "neoverse-n2"),
        (0x41, 0xD4F, "neoverse-v2"),
        (0x4E, 0x004, "carmel"),
        (0x51, 0x804, "kryo-4xx-gold"),
        # part numbers are the maker's own: 0xd08 of another is not a Cortex-A72
        (0x51, 0xD08, None),
        (0x41, 0xFFF, None),
        (0x00, 0xD08, None),
        (None, 0xD08, None),
        (0x41, None, None),
    ],
)
def test_arm(implementer: int | None, part: int | None, name: str | None) -> None:
    assert microarchitecture.arm(implementer, part) == name


def test_other_vendors_have_no_name() -> None:
    for vendor in ("VirtualApple", "CentaurHauls", "", None):
        assert microarchitecture.x86(vendor, 6, 63, 2, frozenset()) == Identity(None)
    assert microarchitecture.x86(INTEL, None, 63, 2, frozenset()) == Identity(None)
    assert microarchitecture.x86(INTEL, 15, 6, 1, frozenset()) == Identity(None)


def test_cores_of_a_chip_are_ordered() -> None:
    ranks = [microarchitecture.arm_rank(n) for n in ("cortex-a55", "cortex-a76", "cortex-x1")]
    assert ranks == [0, 1, 2]
