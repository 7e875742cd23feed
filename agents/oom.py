"""Whether the kernel killed a process because memory ran out, as far as the node tells."""

from __future__ import annotations

import os
import re
from typing import Iterator, Optional

_V2 = ("/sys/fs/cgroup{path}/memory.events", "/sys/fs/cgroup/memory.events")
_V1 = (
    "/sys/fs/cgroup/memory{path}/memory.oom_control",
    "/sys/fs/cgroup/memory/memory.oom_control",
)
_COUNTER = re.compile(r"^oom_kill (\d+)$", re.MULTILINE)
_KILLED = re.compile(rb"Killed process (\d+)[ ,]")


class OomWatch:
    """Looks before and after: made before a process starts, asked after it died by SIGKILL."""

    def __init__(self) -> None:
        self._before = _kills()
        self._kernel_log = _open_kernel_log()

    def killed(self, pid: int) -> Optional[bool]:
        """True where the kernel says so, None where this node does not let us know."""
        named = self._named(pid)
        after = _kills()
        if named or (self._before is not None and after is not None and after > self._before):
            return True
        return None if named is None and after is None else False

    def close(self) -> None:
        if self._kernel_log is not None:
            os.close(self._kernel_log)
            self._kernel_log = None

    def _named(self, pid: int) -> Optional[bool]:
        """Whether a record of the kernel log since the start names ``pid``."""
        if self._kernel_log is None:
            return None
        return any(
            int(match.group(1)) == pid
            for record in _records(self._kernel_log)
            for match in _KILLED.finditer(record)
        )


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


def _kills() -> Optional[int]:
    """How many processes of our control group the kernel has killed for memory so far."""
    for path in _counter_files():
        try:
            with open(path, encoding="ascii", errors="replace") as file:
                match = _COUNTER.search(file.read())
        except OSError:
            continue
        if match:
            return int(match.group(1))
    return None


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
