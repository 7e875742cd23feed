"""Which machine an executable file is for, from its ELF header."""

from __future__ import annotations

import struct
from collections.abc import Mapping

from orchestrator.errors import ArtifactError

#: ``e_machine`` of the platforms that the official tool is published for, and of Android's
#: emulator.
MACHINES: Mapping[str, int] = {
    "linux_x86-64": 62,
    "linux_aarch64": 183,
    "linux_arm": 40,
    "android_x86-64": 62,
    "android_aarch64": 183,
    "android_arm": 40,
}

_EXECUTABLE_TYPES = (2, 3)  # ET_EXEC, and ET_DYN for a position-independent one
_LITTLE_ENDIAN = 1
HEADER_BYTES = 20


def check_executable(header: bytes, platform: str, name: str) -> None:
    """Raise ArtifactError unless ``header`` begins an ELF executable for ``platform``.

    ``header`` is the file's first ``HEADER_BYTES`` bytes, ``name`` what to call it.
    """
    if not header.startswith(b"\x7fELF"):
        raise ArtifactError(f"{name}: is not a Linux executable (it begins with {header[:16]!r})")
    if len(header) < HEADER_BYTES or header[5] != _LITTLE_ENDIAN:
        raise ArtifactError(f"{name}: its ELF header is cut off or not little-endian")
    kind, machine = struct.unpack_from("<HH", header, 16)
    if kind not in _EXECUTABLE_TYPES:
        raise ArtifactError(f"{name}: is an ELF file, but no executable (type {kind})")
    if machine != MACHINES[platform]:
        raise ArtifactError(f"{name}: is for {_machine_name(machine)}, the device is {platform}")


def _machine_name(number: int) -> str:
    names = [name.partition("_")[2] for name, code in MACHINES.items() if code == number]
    return names[0] if names else f"ELF machine {number}"
