"""What this node has left, and who else is using it: asked before a run, not around each trial.

What cannot be told is None. Command lines of others are not told: they may hold secrets.
"""

from __future__ import annotations

import fcntl
import os
import pwd
import re
import time
from typing import Any, Dict, List, Optional, Tuple

from orchestrate_agent.machine import health
from orchestrate_agent.machine import lock as machine
from orchestrate_agent.sysfs import Tree, to_int

#: How long the load is watched, in seconds.
WINDOW_S = 0.5
#: A process that used less of one CPU in that time is not worth a name.
BUSY_SHARE = 0.2
MOST_NAMED = 5

_DAEMON = re.compile(rb"/agents/[0-9a-f]{64}\.pyz\0serve\0")

Json = Dict[str, Any]


def collect(folder: str, root: str = "/") -> Json:
    """The disk under ``folder``, the machine's lock, the load, what has slowed the machine down
    since it was booted, and the agents of all users."""
    tree = Tree(root)
    return {
        "disk": _disk(folder),
        "lock": lock(tree),
        **_load(tree),
        "throttle": health.throttle(tree),
        "agents": _agents(tree),
    }


def _disk(folder: str) -> Optional[Json]:
    try:
        disk = os.statvfs(folder)
    except OSError:
        return None
    return {
        "free_bytes": disk.f_bavail * disk.f_frsize,
        "total_bytes": disk.f_blocks * disk.f_frsize,
    }


# --- the machine's lock --------------------------------------------------------------------


def lock(tree: Tree) -> Json:
    """``held``, and by whom as far as the kernel tells us."""
    try:
        fd = os.open(machine.PLACE, os.O_RDONLY | os.O_DIRECTORY)
    except OSError:
        return {"held": None, "holder": None}
    try:
        # shared, for a moment: it cannot be had while a trial holds the lock, and a trial that
        # asks for the lock in that moment waits and gets it
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return {"held": True, "holder": _holder(tree, os.fstat(fd).st_ino)}
    except OSError:
        return {"held": None, "holder": None}
    finally:
        os.close(fd)
    return {"held": False, "holder": None}


def _holder(tree: Tree, inode: int) -> Optional[Json]:
    for line in (tree.read("/proc/locks") or "").splitlines():
        # "1: FLOCK  ADVISORY  WRITE 4242 fe:00:131073 0 EOF"; who waits has "->" in second place
        fields = line.split()
        if len(fields) > 5 and fields[1] == "FLOCK" and fields[3] == "WRITE":
            pid = to_int(fields[4])
            if to_int(fields[5].rpartition(":")[2]) == inode and pid:
                return _process(tree, pid)
    return None


# --- load and processes --------------------------------------------------------------------


def _load(tree: Tree) -> Json:
    """``busy_share`` of all CPUs, and the ``busiest`` processes other than this one."""
    before, start = _cpu_ticks(tree), time.monotonic()
    share = busy_share(tree)
    window = (time.monotonic() - start) * os.sysconf("SC_CLK_TCK")
    used = [
        ((ticks - before[key]) / window, key[0])
        for key, ticks in _cpu_ticks(tree).items()
        if key in before and key[0] != os.getpid()
    ]
    busiest = [
        {**_process(tree, pid), "cpus": round(cpus_used, 2)}
        for cpus_used, pid in sorted(used, reverse=True)[:MOST_NAMED]
        if cpus_used >= BUSY_SHARE
    ]
    return {"busy_share": share, "busiest": busiest}


def busy_share(tree: Tree) -> Optional[float]:
    """The share of all CPUs' time that is spent at work, watched for a moment."""
    before = health.cpu_seconds(tree)
    time.sleep(WINDOW_S)
    share = health.busy_share(before, health.cpu_seconds(tree))
    return None if share is None else round(share, 3)


def _cpu_ticks(tree: Tree) -> Dict[Tuple[int, str], int]:
    """CPU time of every process in clock ticks, by pid and start: a pid may be used again."""
    found = {}
    for folder in tree.entries("/proc", "[0-9]*"):
        # the name, in parentheses, may itself hold spaces and parentheses
        fields = (tree.read(folder + "/stat") or "").rpartition(")")[2].split()
        pid = to_int(folder.rpartition("/")[2])
        if pid is not None and len(fields) > 19:
            user, system = to_int(fields[11]), to_int(fields[12])
            if user is not None and system is not None:
                found[pid, fields[19]] = user + system
    return found


def _agents(tree: Tree) -> List[Json]:
    """The daemons of ours on this machine, whoever they belong to."""
    pids = [
        to_int(folder.rpartition("/")[2])
        for folder in tree.entries("/proc", "[0-9]*")
        if _DAEMON.search(tree.read_bytes(folder + "/cmdline", 4096) or b"")
    ]
    return [_process(tree, pid) for pid in pids if pid is not None][:100]


def _process(tree: Tree, pid: int) -> Json:
    status = tree.read(f"/proc/{pid}/status") or ""
    uid = re.search(r"^Uid:\s+(\d+)", status, re.M)
    name = re.search(r"^Name:\s+(.+)$", status, re.M)
    return {
        "pid": pid,
        "user": None if uid is None else _user(int(uid.group(1))),
        "name": None if name is None else name.group(1)[:64],
    }


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
