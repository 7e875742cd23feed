"""The files by which Android's Linux describes a device, read through adb.

One command of the device's prints all that are asked for, since each command costs some tens of
milliseconds: those that tell what the device is when it is asked for its facts, those that change
whenever they are looked at.
"""

from __future__ import annotations

import errno
import os
import time
from typing import Dict, Iterable, List, Mapping, Optional

from orchestrate_agent.android.adb import Adb
from orchestrate_agent.machine import sensors
from orchestrate_agent.machine.sensors import CPUS
from orchestrate_agent.sysfs import MAX_BYTES, Tree

#: What was read so long ago is read again. Below the gate's window, which is 0.2 s.
_FRESH_S = 0.05

#: Patterns of the device's shell.
_STILL = (
    "/proc/cpuinfo",
    "/proc/self/status",
    "/proc/sys/kernel/hostname",
    "/proc/sys/kernel/osrelease",
    "/proc/sys/kernel/ostype",
    "/sys/class/thermal/thermal_zone*/type",
    CPUS + "/cpu[0-9]*/cache/index*/level",
    CPUS + "/cpu[0-9]*/cache/index*/size",
    CPUS + "/cpu[0-9]*/cache/index*/type",
    CPUS + "/cpu[0-9]*/cpu_capacity",
    CPUS + "/cpu[0-9]*/cpufreq/cpuinfo_max_freq",
    CPUS + "/cpu[0-9]*/topology/physical_package_id",
    CPUS + "/cpu[0-9]*/topology/thread_siblings_list",
    CPUS + "/cpufreq/policy*/cpuinfo_max_freq",
    CPUS + "/cpufreq/policy*/cpuinfo_min_freq",
    CPUS + "/cpufreq/policy*/scaling_driver",
)
_PASSING = (
    "/proc/loadavg",
    "/proc/meminfo",
    "/proc/pressure/cpu",
    "/proc/pressure/memory",
    "/proc/stat",
    "/proc/sys/kernel/random/boot_id",
    "/proc/uptime",
    CPUS + "/cpufreq/policy*/scaling_cur_freq",
    CPUS + "/cpufreq/policy*/scaling_governor",
    CPUS + "/online",
)


class _Recorded(Tree):
    """Files as they were when they were read."""

    def __init__(self, files: Mapping[str, str]) -> None:
        super().__init__()
        self._recorded = files

    @property
    def is_live(self) -> bool:
        return False

    def _files(self) -> Mapping[str, str]:
        return self._recorded

    def read_bytes(self, path: str, limit: int = MAX_BYTES) -> Optional[bytes]:
        text = self._files().get(path)
        return None if text is None else text.encode("utf-8", "replace")[:limit]

    def link(self, path: str) -> Optional[str]:
        return None

    def exists(self, path: str) -> bool:
        return any(name == path or name.startswith(path + "/") for name in self._files())

    def write(self, path: str, text: str) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), path)

    def _names(self, path: str) -> List[str]:
        begin = path.rstrip("/") + "/"
        below = (name[len(begin) :] for name in self._files() if name.startswith(begin))
        return sorted({name.partition("/")[0] for name in below})


class AdbTree(_Recorded):
    """A device's files. What reads them raises DeviceLostError where it is gone."""

    def __init__(self, adb: Adb) -> None:
        super().__init__({})
        self._adb = adb
        self._still: Dict[str, str] = {}
        self._passing: List[str] = []
        self._read_at = float("-inf")

    def look(self, architecture: Optional[str] = None) -> None:
        """Read what tells what the device is, too; ``architecture`` is what ``uname -m`` says."""
        self._still = self._read(_STILL)
        if architecture is not None:
            # where kernels since 6.1 tell it
            self._still["/proc/sys/kernel/arch"] = architecture
        # a device has dozens of sensors, most of them of its radio and battery
        zones = sensors.cpu_zones(_Recorded(self._still))
        self._passing = [*_PASSING, *(zone + "/temp" for zone in zones)]
        self._read_at = float("-inf")

    def _files(self) -> Mapping[str, str]:
        if not self._still:
            self.look()
        if time.monotonic() - self._read_at > _FRESH_S:
            self._recorded = {**self._still, **self._read(self._passing)}
            self._read_at = time.monotonic()
        return self._recorded

    def _read(self, patterns: Iterable[str]) -> Dict[str, str]:
        """The text files that match; one that cannot be read is not there."""
        said = self._adb.shell(f"grep -sH '' {' '.join(patterns)} 2>/dev/null")
        found: Dict[str, List[str]] = {}
        for line in said.splitlines():
            path, colon, text = line.partition(":")
            if colon and path.startswith("/"):
                found.setdefault(path, []).append(text)
        return {path: "\n".join(lines) for path, lines in found.items()}
