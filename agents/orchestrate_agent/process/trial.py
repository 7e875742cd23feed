"""Runs one trial: a process in a group of its own, its output capped, its time bounded."""

from __future__ import annotations

import os
import resource
import select
import signal
import threading
import time
from dataclasses import dataclass
from typing import Any, Dict, Mapping, Optional, Tuple

from orchestrate_agent.machine.oom import Oom, OomWatch
from orchestrate_agent.process.capture import Capture
from orchestrate_agent.process.launch import GatedProcess, launch
from orchestrate_agent.process.procs import ProcessId, kill_marked, new_mark

#: Between SIGTERM and SIGKILL at a timeout.
GRACE_S = 2.0
#: How long output may still come once the group is dead: a process that left the group may hold
#: the pipe open for ever.
DRAIN_S = 1.0
READ_BYTES = 64 * 1024


@dataclass(frozen=True)
class Ending:
    """How a process ended and what it said; exactly one of ``exit_code`` and ``signal`` is set.

    ``launch`` is how it was started, ``forked`` or ``direct`` (see
    ``orchestrate_agent.process.launch``).
    """

    exit_code: Optional[int]
    signal: Optional[int]
    timed_out: bool
    oom_killed: Optional[bool]
    oom_memory: Optional[str]
    wall_s: float
    stdout: str
    stderr: str
    stdout_bytes: int
    stderr_bytes: int
    rusage: Mapping[str, Any]
    launch: str

    def to_json(self) -> Dict[str, Any]:
        return dict(self.__dict__)


class Process:
    """A process at its gate; :meth:`run` lets it go. Raises StartError from the constructor.

    ``argv[0]`` is a path, ``cwd`` exists. SIGTERM goes to the group after ``timeout_s`` seconds,
    SIGKILL two seconds later. ``name`` is for whoever reads the process's environment;
    ``enclosed`` has it in a control group of its own, where that is possible.
    """

    def __init__(
        self,
        argv: Tuple[str, ...],
        *,
        env: Mapping[str, str],
        cwd: str,
        timeout_s: float,
        cpus: Optional[Tuple[int, ...]] = None,
        name: str = "",
        enclosed: bool = True,
    ) -> None:
        self._timeout_s = timeout_s
        self._enclosed = enclosed
        self._oom = OomWatch()
        try:
            self._launched: GatedProcess = launch(
                argv, env, cwd, cpus, new_mark(name), enclosed=enclosed
            )
        except BaseException:
            self._oom.close()
            raise
        self._lock = threading.Lock()
        self._ended = False
        self._runaways = 0
        self._closed = False
        self._we_killed = False
        self._exited_at = 0.0
        self._exit: Optional[Tuple[int, resource.struct_rusage]] = None

    @property
    def id(self) -> ProcessId:
        """What a later daemon needs to find it."""
        return self._launched.id

    @property
    def adopts(self) -> bool:
        """Whether what it leaves behind is ours to end."""
        return self._enclosed

    @property
    def killed(self) -> bool:
        """Whether we ended it, or tried to."""
        return self._we_killed

    def kill(self) -> None:
        """End it now, from any thread. Nothing happens where it has ended."""
        self._signal_group(signal.SIGKILL)

    def close(self) -> None:
        """Kill and forget it; of no effect after :meth:`run`."""
        self._end_group()
        if not self._closed:
            self._closed = True
            self._launched.close()
            self._oom.close()

    def end_runaways(self) -> int:
        """Kill what is left of an ended process and carries its mark; returns how many left its
        group, those that were found by the control group included."""
        return self._runaways + kill_marked(self.id.mark)

    def run(self) -> Ending:
        """Open the gate, wait, kill what is left of the group, and tell how it went."""
        output = _Output(self._launched.stdout, self._launched.stderr)
        exited_r, exited_w = os.pipe()
        waiter = threading.Thread(target=self._wait, args=(exited_w,), daemon=True)
        start = time.monotonic()
        try:
            self._open_gate()
            waiter.start()
            timed_out = self._watch(output, exited_r, start + self._timeout_s)
            waiter.join()
            return self._ending(output, start, timed_out)
        finally:
            os.close(exited_r)
            self.close()

    def _open_gate(self) -> None:
        try:
            os.write(self._launched.gate, b"\n")
        except BrokenPipeError:
            return  # killed at its gate already; its status says so

    def _wait(self, exited: int) -> None:
        # not reaped: where it leads its group, it keeps the group's number until all are killed
        os.waitid(os.P_PID, self._launched.id.pid, os.WEXITED | os.WNOWAIT)
        self._exited_at = time.monotonic()
        os.close(exited)  # wakes the watcher

    def _watch(self, output: _Output, exited: int, deadline: float) -> bool:
        """Read output until the process has ended; True if it took longer than it may.

        Whoever stops this agent keeps it from noticing an end. So at the deadline the process is
        looked at once more: one that has ended did so by itself.
        """
        if not output.read_until(exited, deadline) or self._has_ended():
            return False
        self._signal_group(signal.SIGTERM)
        if output.read_until(exited, time.monotonic() + GRACE_S):
            self._signal_group(signal.SIGKILL)
            output.read_until(exited, None)
        return True

    def _has_ended(self) -> bool:
        how = os.WEXITED | os.WNOWAIT | os.WNOHANG
        return os.waitid(os.P_PID, self._launched.id.pid, how) is not None

    def _signal_group(self, number: int) -> None:
        # The lock: once the group has been reaped its number may be somebody else's.
        with self._lock:
            if not self._ended:
                self._we_killed = True
                os.killpg(self._launched.id.pgid, number)

    def _ending(self, output: _Output, start: float, timed_out: bool) -> Ending:
        self._end_group()
        assert self._exit is not None  # noqa: S101 (ending the group has set it)
        status, rusage = self._exit
        number = os.WTERMSIG(status) if os.WIFSIGNALED(status) else None
        oom = Oom(False)
        if number == signal.SIGKILL and not self._we_killed:
            oom = self._oom.look(self._launched.id.pid)
        output.read_until(None, time.monotonic() + DRAIN_S)
        return Ending(
            exit_code=os.WEXITSTATUS(status) if number is None else None,
            signal=number,
            timed_out=timed_out,
            oom_killed=oom.killed,
            oom_memory=oom.memory,
            wall_s=self._exited_at - start,
            stdout=output.stdout.text(),
            stderr=output.stderr.text(),
            stdout_bytes=output.stdout.total_bytes,
            stderr_bytes=output.stderr.total_bytes,
            rusage=_rusage(rusage, self._launched.inherited_bytes),
            launch=self._launched.how,
        )

    def _end_group(self) -> None:
        with self._lock:
            if not self._ended:
                self._ended = True
                self._exit = self._launched.end()
                if self._launched.enclosure is not None:
                    self._runaways = self._launched.enclosure.end()


class _Output:
    """Both streams of a process, read as they come so that it never blocks on a full pipe."""

    def __init__(self, stdout: int, stderr: int) -> None:
        self.stdout, self.stderr = Capture(), Capture()
        self._open = {stdout: self.stdout, stderr: self.stderr}

    def read_until(self, exited: Optional[int], deadline: Optional[float]) -> bool:
        """Read until ``exited`` closes (None: until both streams end); True at the deadline."""
        poller = select.poll()
        for fd in self._open:
            poller.register(fd, select.POLLIN)
        if exited is not None:
            poller.register(exited, 0)  # its end is all that is of interest
        while self._open or exited is not None:
            left_s = None if deadline is None else deadline - time.monotonic()
            if left_s is not None and left_s <= 0:
                return True
            # rounded up: waking just before the deadline would mean to spin until it
            for fd, _ in poller.poll(None if left_s is None else int(left_s * 1000) + 1):
                if fd == exited:
                    return False
                self._read(fd, poller)
        return False

    def _read(self, fd: int, poller: select.poll) -> None:
        data = os.read(fd, READ_BYTES)
        if data:
            self._open[fd].feed(data)
        else:
            poller.unregister(fd)
            del self._open[fd]


def _rusage(usage: resource.struct_rusage, inherited_bytes: int) -> Dict[str, Any]:
    """Return what the process and the children it waited for used; bytes and seconds.

    ``maxrss_bytes`` is None where the peak may be the one that it began with.
    """
    maxrss_bytes = usage.ru_maxrss * 1024
    return {
        "maxrss_bytes": maxrss_bytes if maxrss_bytes > inherited_bytes else None,
        "user_s": usage.ru_utime,
        "sys_s": usage.ru_stime,
        "nvcsw": usage.ru_nvcsw,
        "nivcsw": usage.ru_nivcsw,
        "minflt": usage.ru_minflt,
        "majflt": usage.ru_majflt,
    }
