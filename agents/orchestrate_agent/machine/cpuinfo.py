"""Reads the text of ``/proc/cpuinfo``, in its x86, 64-bit Arm and 32-bit Arm forms. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Dict, FrozenSet, List, Optional, Tuple

from orchestrate_agent.sysfs import to_float, to_int

#: The features that decide which kernel a runtime picks, by the names Linux gives them.
FEATURES = (
    "sse4_2",
    "avx",
    "f16c",
    "fma",
    "avx2",
    "avx512f",
    "avx512bw",
    "avx512_vnni",
    "avx512_vbmi2",
    "avx_vnni",
    "avx512_bf16",
    "avx512_fp16",
    "amx_tile",
    "amx_int8",
    "amx_bf16",
    "asimd",
    "asimddp",
    "asimdhp",
    "i8mm",
    "bf16",
    "sve",
    "sve2",
    "cpuid_fault",
)


@dataclass(frozen=True)
class Processor:
    """One logical CPU: its number and its lines."""

    number: int
    fields: Dict[str, str]

    def integer(self, key: str) -> Optional[int]:
        return to_int(self.fields.get(key))

    def hexadecimal(self, key: str) -> Optional[int]:
        return to_int(self.fields.get(key), 16)

    @property
    def mhz(self) -> Optional[float]:
        return to_float(self.fields.get("cpu MHz"))

    @property
    def flags(self) -> Optional[FrozenSet[str]]:
        """Every flag the kernel lists (``flags`` on x86, ``Features`` on Arm)."""
        text = self.fields.get("flags", self.fields.get("Features"))
        return None if text is None else frozenset(text.split())

    @property
    def is_x86(self) -> bool:
        return "vendor_id" in self.fields and "cpu family" in self.fields

    @property
    def is_arm(self) -> bool:
        return "CPU implementer" in self.fields


@dataclass(frozen=True)
class CpuInfo:
    """``processors`` in the order of the file; ``machine`` the lines that belong to none."""

    processors: Tuple[Processor, ...]
    machine: Dict[str, str]

    @property
    def flags(self) -> Optional[FrozenSet[str]]:
        """The flags every processor has: what a thread may use wherever it is scheduled."""
        each = [processor.flags for processor in self.processors]
        told = [flags for flags in each if flags is not None]
        return frozenset.intersection(*told) if told else None

    @property
    def features(self) -> Optional[List[str]]:
        """Return those of :data:`FEATURES` that every processor has, in that order."""
        flags = self.flags
        return None if flags is None else [name for name in FEATURES if name in flags]


def parse(text: Optional[str]) -> CpuInfo:
    """The processors ``text`` lists; none for an empty or a garbled one."""
    blocks = [_block(block) for block in (text or "").replace("\r", "").split("\n\n")]
    machine: Dict[str, str] = {}
    for fields in blocks:
        if "processor" not in fields:
            machine.update(fields)
    processors = []
    for fields in blocks:
        number = to_int(fields.get("processor"))
        if number is not None:
            # kernels before 3.8 told a 32-bit Arm's identity once, after all processors
            processors.append(Processor(number, {**_identity(machine), **fields}))
    return CpuInfo(tuple(processors), machine)


def _block(text: str) -> Dict[str, str]:
    fields = {}
    for line in text.split("\n"):
        key, colon, value = line.partition(":")
        if colon:
            fields[key.strip()] = value.strip()
    return fields


def _identity(machine: Dict[str, str]) -> Dict[str, str]:
    return {
        key: value for key, value in machine.items() if key == "Features" or key.startswith("CPU ")
    }
