"""A control group of a trial's own, by which whatever the trial started is found and ended.

A process can leave its group, its session and its parents, and forget its environment; it cannot
leave its control group without the right to. The group has no controllers, so that it changes
nothing of how its processes are scheduled or what their memory counts for. Where none can be made
(most users may not) there is none, and ``procs`` finds what it can.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
import uuid
from typing import List, Optional

from orchestrate_agent.sysfs import Tree

#: Version 2, where systemd mounts it and where it lies beside version 1; then the only hierarchy of
#: version 1 that neither schedules nor counts anything.
_MOUNTS = (
    ("", "/sys/fs/cgroup"),
    ("", "/sys/fs/cgroup/unified"),
    ("freezer", "/sys/fs/cgroup/freezer"),
)
_PREFIX = "orchestrate-"
#: How long killed processes may take to go.
GONE_S = 5.0
_POLL_S = 0.01


class Enclosure:
    """One such group, made by :func:`make` or found again by its folder."""

    def __init__(self, folder: str) -> None:
        self.folder = folder

    def take(self, pid: int) -> None:
        """Put a process in; what it starts from now on is in as well. Raises OSError."""
        with open(os.path.join(self.folder, "cgroup.procs"), "w", encoding="ascii") as file:
            file.write(str(pid))

    def end(self) -> int:
        """Kill all that is in it and remove it; returns how many processes that were."""
        seen = set(self._members())
        deadline = time.monotonic() + GONE_S
        while time.monotonic() < deadline:
            members = self._members()
            if not members:
                break
            seen.update(members)
            for pid in members:
                with contextlib.suppress(OSError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(_POLL_S)
        for pid in seen:
            with contextlib.suppress(OSError):
                os.waitpid(pid, os.WNOHANG)  # those that were handed to us
        with contextlib.suppress(OSError):  # not gone yet: it holds nothing up
            os.rmdir(self.folder)
        return len(seen)

    def _members(self) -> List[int]:
        try:
            with open(os.path.join(self.folder, "cgroup.procs"), encoding="ascii") as file:
                return [int(line) for line in file if int(line) > 1]
        except (OSError, ValueError):
            return []


def make() -> Optional[Enclosure]:
    """A new one below the group that this process is in; None where that is not allowed."""
    own = _own_groups(Tree("/"))
    for controller, mount in _MOUNTS:
        if controller not in own:
            continue
        parent = mount + own[controller].rstrip("/")
        folder = os.path.join(parent, _PREFIX + uuid.uuid4().hex)
        try:
            if not os.path.exists(os.path.join(parent, "cgroup.procs")) or _distributes(parent):
                continue
            os.mkdir(folder, 0o700)
        except OSError:
            continue
        return Enclosure(folder)
    return None


def find(folder: str) -> Optional[Enclosure]:
    """The one that an earlier daemon made there; None where it is gone, or never was one."""
    name = os.path.basename(folder)
    known = any(folder.startswith(mount + "/") for _, mount in _MOUNTS)
    if not known or not name.startswith(_PREFIX) or not os.path.isdir(folder):
        return None
    return Enclosure(folder)


def _distributes(parent: str) -> bool:
    """Whether a group below would be a party of its own when CPU time and memory are given out."""
    try:
        with open(os.path.join(parent, "cgroup.subtree_control"), encoding="ascii") as file:
            return bool(file.read().strip())
    except FileNotFoundError:
        return False  # version 1


def _own_groups(tree: Tree) -> "dict[str, str]":
    """Controller → the group of this process in its hierarchy; "" is version 2's."""
    found = {}
    for line in (tree.read("/proc/self/cgroup") or "").splitlines():
        fields = line.split(":", 2)
        if len(fields) == 3:
            for controller in fields[1].split(","):
                found[controller] = fields[2]
    return found
