"""The limits that control groups put on this process: CPU time and memory, version 1 or 2."""

from __future__ import annotations

from typing import Iterator, List, Optional, Tuple

from orchestrate_agent.sysfs import Tree, to_float, to_int

#: Where systemd, docker and the others mount them.
_V2_MOUNTS = ("/sys/fs/cgroup", "/sys/fs/cgroup/unified")
_V1_CPU_MOUNTS = ("/sys/fs/cgroup/cpu", "/sys/fs/cgroup/cpu,cpuacct")
_V1_MEMORY_MOUNTS = ("/sys/fs/cgroup/memory",)
#: Version 1 writes "no limit" as the largest multiple of the page size.
_NO_LIMIT_BYTES = 1 << 60


def cpu_quota(tree: Tree) -> Optional[float]:
    """How many CPUs' worth of time the group may use; None without a limit.

    A group is held by its own limit and by every ancestor's, so the smallest counts.
    """
    quotas = [_v2_quota(tree.read(group + "/cpu.max")) for group in _groups(tree, "", _V2_MOUNTS)]
    quotas += [_v1_quota(tree, group) for group in _groups(tree, "cpu", _V1_CPU_MOUNTS)]
    return min((quota for quota in quotas if quota is not None), default=None)


def held_back_s(tree: Tree) -> Optional[float]:
    """Seconds for which quotas have kept the group's processes from running, summed over CPUs.

    None without a quota, and where the kernel does not count. Version 2 counts microseconds,
    version 1 nanoseconds.
    """
    limits = [
        (group, _v2_quota(tree.read(group + "/cpu.max")), "throttled_usec", 1e6)
        for group in _groups(tree, "", _V2_MOUNTS)
    ]
    limits += [
        (group, _v1_quota(tree, group), "throttled_time", 1e9)
        for group in _groups(tree, "cpu", _V1_CPU_MOUNTS)
    ]
    counted = [
        count / a_second
        for group, quota, name, a_second in limits
        if quota is not None and (count := _counter(tree, group, name)) is not None
    ]
    return sum(counted) if counted else None


def memory_limit_bytes(tree: Tree) -> Optional[int]:
    """How much memory the group may use; None without a limit."""
    paths = [group + "/memory.max" for group in _groups(tree, "", _V2_MOUNTS)]
    paths += [
        group + "/memory.limit_in_bytes" for group in _groups(tree, "memory", _V1_MEMORY_MOUNTS)
    ]
    limits = [tree.integer(path) for path in paths]
    return min((n for n in limits if n is not None and n < _NO_LIMIT_BYTES), default=None)


def names(tree: Tree) -> List[str]:
    """The groups this process is in, whatever the controller."""
    lines = (tree.read("/proc/self/cgroup") or "").splitlines()
    return [line.split(":", 2)[2] for line in lines if line.count(":") >= 2]


def _groups(tree: Tree, controller: str, mounts: Tuple[str, ...]) -> Iterator[str]:
    """The process's group and its ancestors, as folders; some may not exist.

    In a container the path may be the host's, while the mount shows the container's own group as
    its root: then only the last of these is there.
    """
    for line in (tree.read("/proc/self/cgroup") or "").splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if controller not in controllers.split(","):
            continue
        parts = [part for part in path.split("/") if part]
        for mount in mounts:
            for depth in range(len(parts), -1, -1):
                yield "/".join([mount, *parts[:depth]])


def _counter(tree: Tree, group: str, name: str) -> Optional[int]:
    for line in (tree.read(group + "/cpu.stat") or "").splitlines():
        key, _, value = line.partition(" ")
        if key == name:
            return to_int(value)
    return None


def _v2_quota(text: Optional[str]) -> Optional[float]:
    quota, _, period = (text or "").partition(" ")
    return _ratio(to_float(quota), to_float(period))


def _v1_quota(tree: Tree, group: str) -> Optional[float]:
    quota = to_int(tree.read(group + "/cpu.cfs_quota_us"))
    period = to_int(tree.read(group + "/cpu.cfs_period_us"))
    return _ratio(quota, period)


def _ratio(quota: Optional[float], period: Optional[float]) -> Optional[float]:
    # version 1 writes "no limit" as -1, version 2 as "max"
    if quota is None or period is None or quota <= 0 or period <= 0:
        return None
    return quota / period
