"""Which figures of a process's memory can be believed. Pure."""

from __future__ import annotations

from orchestrator.measurement import Finding, Memory


def believable_memory(
    memory: Memory | None, *, inherited: bool = False
) -> tuple[Memory | None, tuple[Finding, ...]]:
    """Return ``memory``, or None and the finding that says why its figures are not a measurement.

    ``inherited``: they count from the peak of the agent (see ``Evidence.launch``).
    """
    if memory is not None and inherited:
        finding = Finding(
            "memory_inherited",
            "the kernel there, or what stands in for it, refuses PR_SET_CHILD_SUBREAPER, so the "
            "tool was started by the agent itself, and its peak of memory began with the agent's",
            "measure memory with runner: litert where /proc/self/status has VmHWM, or without "
            "that emulator or sandbox; the figures are left out",
        )
        return None, (finding,)
    if memory is None or memory.init_bytes != 0 or memory.overall_bytes != 0:
        return memory, ()
    finding = Finding(
        "memory_zero",
        "memory is reported as init=0 and overall=0: the peak was inherited from the process "
        "that started the runner, so nothing was measured",
        "start the runner from a small process (the agent does); the figures are left out",
    )
    return None, (finding,)
