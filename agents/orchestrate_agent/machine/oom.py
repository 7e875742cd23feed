"""Whether the kernel killed a process because memory ran out, and whose, as far as it tells."""

from __future__ import annotations

import os
import re
from typing import Dict, Iterator, NamedTuple, Optional

#: Whose memory ran out: what the control group is allowed, or all there is.
CGROUP, MACHINE = "cgroup", "machine"

_V2 = ("/sys/fs/cgroup{path}/memory.events", "/sys/fs/cgroup/memory.events")
_V1 = (
    "/sys/fs/cgroup/memory{path}/memory.oom_control",
    "/sys/fs/cgroup/memory/memory.oom_control",
)
#: ``oom``, of version 2 alone, counts what the group's own limit refused.
_COUNTER = re.compile(r"^(oom|oom_kill) (\d+)$", re.MULTILINE)
_KILLED = re.compile(rb"Killed process (\d+)[ ,]")
#: Before Linux 5.1 a record of its own, ``Kill process``, comes before that.
_WHOSE = re.compile(rb"(Memory cgroup out|Out) of memory[^:\n]*: Kill(?:ed)? process (\d+)[ ,]")


class Oom(NamedTuple):
    """``killed``: None where this node does not let us know. ``memory``: ``cgroup``, ``machine``,
    or None where nothing tells."""

    killed: Optional[bool]
    memory: Optional[str] = None


class OomWatch:
    """Looks before and after: made before a process starts, asked after it died by SIGKILL."""

    def __init__(self) -> None:
        self._before = _counters()
        self._kernel_log = _open_kernel_log()

    def look(self, pid: int) -> Oom:
        """What the kernel says of ``pid``, which died by SIGKILL."""
        logged = self._logged(pid)
        after = _counters()
        if (logged is not None and logged.killed) or self._grew("oom_kill", after):
            memory = None if logged is None else logged.memory
            return Oom(True, memory or (CGROUP if self._grew("oom", after) else None))
        return Oom(None if logged is None and not after else False)

    def close(self) -> None:
        if self._kernel_log is not None:
            os.close(self._kernel_log)
            self._kernel_log = None

    def _grew(self, name: str, after: Dict[str, int]) -> bool:
        return name in self._before and self._before[name] < after.get(name, 0)

    def _logged(self, pid: int) -> Optional[Oom]:
        """What records of the kernel log since the start say of ``pid``."""
        if self._kernel_log is None:
            return None
        return told_by(b"\n".join(_records(self._kernel_log)), pid)


def told_by(records: bytes, pid: int) -> Oom:
    """What these records of the kernel log say of ``pid``."""
    whose = {int(m.group(2)): m.group(1) for m in _WHOSE.finditer(records)}.get(pid)
    killed = any(int(match.group(1)) == pid for match in _KILLED.finditer(records))
    return Oom(killed, None if whose is None else MACHINE if whose == b"Out" else CGROUP)


def _open_kernel_log() -> Optional[int]:
    try:
        fd = os.open("/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK)
    except OSError:
        return None  # usual for anyone but root
    try:
        os.lseek(fd, 0, os.SEEK_END)
    except OSError:
        os.close(fd)
        return None
    return fd


def _records(fd: int) -> Iterator[bytes]:
    while True:
        try:
            record = os.read(fd, 8192)
        except BrokenPipeError:
            continue  # records were overwritten before we read them; the next read goes on
        except OSError:
            return  # EAGAIN: no more
        if not record:
            return
        yield record


def _counters() -> Dict[str, int]:
    """How many processes of our control group the kernel has killed for memory so far, and how
    often its own limit was why; empty where neither is told."""
    for path in _counter_files():
        try:
            with open(path, encoding="ascii", errors="replace") as file:
                found = {name: int(count) for name, count in _COUNTER.findall(file.read())}
        except OSError:
            continue
        if found:
            return found
    return {}


def _counter_files() -> Iterator[str]:
    try:
        with open("/proc/self/cgroup", encoding="utf-8", errors="replace") as file:
            lines = file.read().splitlines()
    except OSError:
        return
    for line in lines:
        # hierarchy:controllers:path; the second form of each is what a container sees as its own
        _, controllers, path = line.split(":", 2)
        forms = _V1 if "memory" in controllers.split(",") else _V2 if not controllers else ()
        for form in forms:
            yield form.format(path=path.rstrip("/"))
