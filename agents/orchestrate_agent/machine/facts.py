"""DeviceFacts: what a node is, as the node itself tells it.

What a node cannot tell is None, never a guess. Units are in the names; sizes are bytes, clocks
megahertz. Nothing here raises: a file that cannot be read is a fact that is not told.
"""

from __future__ import annotations

import datetime
import hashlib
import os
import platform
import re
import struct
import subprocess
import sys
import sysconfig
from typing import Any, Dict, Optional

from orchestrate_agent.machine import cgroup, cpu, cpuinfo, jetson, sensors, surroundings
from orchestrate_agent.machine.cpuinfo import CpuInfo
from orchestrate_agent.sysfs import Tree, to_float, to_int

_MACHINE_IDS = ("/etc/machine-id", "/var/lib/dbus/machine-id")
_OS_RELEASES = ("/etc/os-release", "/usr/lib/os-release")
_ELF_BITS = {1: 32, 2: 64}

Json = Dict[str, Any]


def collect(root: str = "/") -> Json:
    """Collect everything that the machine tells whose files are below ``root``; plain JSON values.

    With another root than ``/`` what only a system call tells of the running machine is taken
    from files there, or is None; ``time`` and ``python`` are always those of this process.
    """
    return of_machine(Tree(root))


def of_machine(tree: Tree) -> Json:
    """What :func:`collect` tells of the machine that ``tree`` has the files of."""
    cpus = cpuinfo.parse(tree.read("/proc/cpuinfo"))
    architecture = _architecture(tree)
    virtualization = surroundings.virtualization(tree, cpus, architecture)
    return {
        "hostname": tree.read("/proc/sys/kernel/hostname"),
        "system": _system(tree, architecture),
        "cpu": _cpu(tree, cpus, virtualization),
        "memory": _memory(tree),
        "temperature_c": sensors.temperature_c(tree),
        "board": surroundings.board(tree, cpus),
        "jetson": jetson.describe(tree),
        "container": surroundings.container(tree),
        "virtualization": virtualization,
        "boot_id": tree.read("/proc/sys/kernel/random/boot_id"),
        "machine_id": _machine_id(tree),
        "time": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="milliseconds"),
        "uptime_s": to_float((tree.read("/proc/uptime") or "").partition(" ")[0]),
        "python": {
            "version": platform.python_version(),
            "executable": sys.executable or None,
            "bits": struct.calcsize("P") * 8,
            "implementation": platform.python_implementation(),
            "free_threaded": bool(sysconfig.get_config_var("Py_GIL_DISABLED")),
        },
    }


def _cpu(tree: Tree, cpus: CpuInfo, virtualization: Optional[str]) -> Json:
    if virtualization != surroundings.QEMU_USER:
        return cpu.describe(tree, cpus)
    note = "the CPU that is told of here is the emulator's host's, or made up"
    return {**cpu.describe(tree, CpuInfo((), {})), "microarchitecture_note": note}


def _architecture(tree: Tree) -> Optional[str]:
    """The machine name of uname, such as ``x86_64``, ``aarch64`` or ``armv7l``."""
    if tree.is_live:
        return os.uname().machine or None
    return tree.read("/proc/sys/kernel/arch")


def _system(tree: Tree, architecture: Optional[str]) -> Json:
    return {
        "os": tree.read("/proc/sys/kernel/ostype"),
        "distribution": _distribution(tree),
        "kernel": tree.read("/proc/sys/kernel/osrelease"),
        "libc": _libc(tree),
        "architecture": architecture,
        "userland_bits": userland_bits(tree),
    }


def _distribution(tree: Tree) -> Optional[str]:
    for path in _OS_RELEASES:
        match = re.search(r"^PRETTY_NAME=(.*)$", tree.read(path) or "", re.M)
        if match:
            return match.group(1).strip().strip("\"'") or None
    return None


def _libc(tree: Tree) -> Optional[str]:
    """``glibc 2.36``, ``musl 1.2.4``: decides which prebuilt binaries run here."""
    loaders = tree.entries("/lib", "ld-musl-*.so.1")
    if loaders:
        return _musl(loaders[0]) if tree.is_live else "musl"
    if not tree.is_live:
        return None
    try:
        return os.confstr("CS_GNU_LIBC_VERSION")
    except (OSError, ValueError):  # the C library has no such name
        return None


def _musl(loader: str) -> str:
    """Called without arguments, musl's loader says who it is on stderr."""
    try:
        done = subprocess.run(
            [loader], stdin=subprocess.DEVNULL, capture_output=True, timeout=5, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return "musl"
    match = re.search(rb"Version ([0-9.]+)", done.stderr)
    return "musl %s" % match.group(1).decode() if match else "musl"


def userland_bits(tree: Tree) -> Optional[int]:
    """Return 32 or 64, of the programs installed: a 64-bit kernel may carry a 32-bit user land."""
    header = tree.read_bytes("/bin/sh", 5) or b""
    return _ELF_BITS.get(header[4]) if header[:4] == b"\x7fELF" and len(header) > 4 else None


def _memory(tree: Tree) -> Json:
    lines = tree.read("/proc/meminfo")
    return {
        "total_bytes": meminfo_bytes(lines, "MemTotal"),
        "available_bytes": meminfo_bytes(lines, "MemAvailable"),
        "swap_bytes": meminfo_bytes(lines, "SwapTotal"),
        "cgroup_limit_bytes": cgroup.memory_limit_bytes(tree),
    }


def meminfo_bytes(text: Optional[str], key: str) -> Optional[int]:
    """Read one line of ``/proc/meminfo``, whose kB are 1024 bytes."""
    match = re.search(rf"^{key}:\s*(\d+) kB$", text or "", re.M)
    kib = to_int(match.group(1)) if match else None
    return None if kib is None else kib * 1024


def _machine_id(tree: Tree) -> Optional[str]:
    """16 hexadecimal digits that tell machines apart and do not disclose the id itself."""
    for path in _MACHINE_IDS:
        text = tree.read(path)
        # while a system has not booted for the first time the file says "uninitialized"
        if text and re.match(r"\A[0-9a-f]{32}\Z", text):
            return hashlib.sha256(b"orchestrate machine-id " + text.encode()).hexdigest()[:16]
    return None
