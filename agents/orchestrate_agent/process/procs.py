"""Finds the processes of a trial again: those that left its group, or outlived their daemon."""

from __future__ import annotations

import contextlib
import os
import signal
import time
import uuid
from dataclasses import asdict, dataclass
from typing import Any, Callable, Dict, List, Optional

from orchestrate_agent.errors import AgentError
from orchestrate_agent.process import enclosure

#: Names the trial in the environment of each of its processes.
MARK = "ORCHESTRATE_TRIAL"
#: How long a killed process may take to go.
GONE_S = 5.0


@dataclass(frozen=True)
class ProcessId:
    """A process that no other can be mistaken for: pids are used again, these are not.

    ``start_ticks`` is field 22 of ``/proc/<pid>/stat``; ``boot_id`` names the node's boot;
    ``mark`` stands in its environment and that of its descendants, unless they clear it.
    """

    pid: int
    pgid: int
    start_ticks: int
    boot_id: str
    mark: str
    #: The folder of its control group, where it has one of its own (see ``enclosure``).
    enclosure: str = ""

    def to_json(self) -> Dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: Any) -> Optional[ProcessId]:
        """Read what :meth:`to_json` wrote; None for anything else."""
        if not isinstance(data, dict):
            return None
        numbers = [data.get(name) for name in ("pid", "pgid", "start_ticks")]
        boot, mark = data.get("boot_id"), data.get("mark")
        if not all(type(n) is int and n > 1 for n in numbers):
            return None
        if not isinstance(boot, str) or not isinstance(mark, str):
            return None
        enclosed = data.get("enclosure", "")
        if not isinstance(enclosed, str):
            return None
        return cls(data["pid"], data["pgid"], data["start_ticks"], boot, mark, enclosed)


def require_own_proc() -> None:
    """Raise AgentError where /proc does not show us: what it says would be of other processes."""
    try:
        shown = os.readlink("/proc/self")
    except OSError:
        shown = "nobody"
    if shown != str(os.getpid()):
        raise AgentError(
            f"/proc shows this process as {shown}, and it is {os.getpid()}: what is mounted there "
            f"is nothing, or of another PID namespace, and no trial's process could be found. "
            f"Mount it: `mount -t proc proc /proc`, or with unshare --mount-proc=ROOT/proc"
        )


def new_mark(name: str) -> str:
    """A mark that no other process on any node was ever given; ``name`` is for human readers."""
    return f"{name}/{uuid.uuid4().hex}"


def identify(pid: int, pgid: int, mark: str, enclosed: str = "") -> ProcessId:
    """The identity of a living process. Raises OSError where there is none."""
    return ProcessId(pid, pgid, _stat(pid).start_ticks, boot_id(), mark, enclosed)


def boot_id() -> str:
    """Return the name of the node's present boot."""
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        return file.read().strip()


def kill_survivors(identity: ProcessId) -> int:
    """Kill what is left of a trial; returns how many processes that were.

    Its group is killed if its first process is still there, told by its start time; else the
    group's number may be somebody else's by now. Whatever carries its mark, or is in its control
    group, is killed anyway.
    """
    count = 0
    if identity.boot_id == boot_id() and _is_there(identity):
        count = kill_group(identity.pgid)
    enclosed = enclosure.find(identity.enclosure)
    if enclosed is not None:
        count += enclosed.end()
    return count + kill_marked(identity.mark)


def kill_group(pgid: int) -> int:
    """Kill a process group and wait until it is gone; returns how many processes that were.

    The caller knows that the number is still the group's. Nothing is reaped.
    """
    members = _pids(lambda pid: _stat(pid).pgid == pgid)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pgid, signal.SIGKILL)
    wait_until_gone(members)
    return len(members)


def kill_marked(mark: str) -> int:
    """Kill every process that was given ``mark``, also one that left its group."""
    wanted = f"{MARK}={mark}".encode()
    found = _pids(lambda pid: wanted in _environment(pid))
    for pid in found:
        with contextlib.suppress(OSError):
            os.kill(pid, signal.SIGKILL)
    wait_until_gone(found)
    for pid in found:
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)  # those that were handed to us
    return len(found)


def kill_adopted() -> int:
    """Kill what trials left behind and the kernel handed to us, a subreaper; returns how many.

    For a moment at which no trial runs. Programs that we ask ourselves are in our own session, and
    no process of a trial can enter that.
    """
    count, deadline = 0, time.monotonic() + GONE_S
    while time.monotonic() < deadline:  # what one of them had started is handed to us then
        found = _pids(
            lambda pid: _stat(pid).parent == os.getpid() and os.getsid(pid) != os.getsid(0)
        )
        if not found:
            break
        count += len(found)
        for pid in found:
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        wait_until_gone(found)
        for pid in found:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)
    return count


def state(pid: int) -> Optional[str]:
    """The process's state as one letter, ``T`` where it is stopped; None where it is gone."""
    try:
        return _stat(pid).state
    except (OSError, IndexError):
        return None


@dataclass(frozen=True)
class _Stat:
    state: str
    parent: int
    pgid: int
    start_ticks: int


def _stat(pid: int) -> _Stat:
    with open(f"/proc/{pid}/stat", "rb") as file:
        # the name, in parentheses, may itself hold spaces and parentheses
        fields = file.read().rpartition(b")")[2].split()
    return _Stat(fields[0].decode("ascii"), int(fields[1]), int(fields[2]), int(fields[19]))


def _environment(pid: int) -> List[bytes]:
    with open(f"/proc/{pid}/environ", "rb") as file:
        return file.read().split(b"\0")


def _pids(wanted: Callable[[int], bool]) -> List[int]:
    """The living processes that ``wanted`` holds for."""
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            # it ended while we looked, or is somebody else's
            with contextlib.suppress(OSError, IndexError):
                if wanted(int(name)) and _lives(int(name)):
                    found.append(int(name))
    return found


def _lives(pid: int) -> bool:
    try:
        return _stat(pid).state not in "ZX"
    except (OSError, IndexError):
        return False


def _is_there(identity: ProcessId) -> bool:
    try:
        return _stat(identity.pid).start_ticks == identity.start_ticks
    except (OSError, IndexError):
        return False


def wait_until_gone(pids: List[int]) -> None:
    """Wait for killed processes to go, for some seconds at most."""
    # Not all are children of ours, so there is nothing to block on; no trial runs meanwhile.
    deadline = time.monotonic() + GONE_S
    while any(_lives(pid) for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.01)
