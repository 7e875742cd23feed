"""Starts a process as the forked child of a small shell, held at a gate until told to go.

Why a shell. Linux keeps the peak resident set (``ru_maxrss``) of whatever called ``exec``: a tool
started straight from this Python process would begin with Python's peak, and report a growth of
memory that is too small. Forked by a shell, it begins at the shell's megabyte.

Why the shell does not wait. A shell folds "killed by signal n" and "exit code 128+n" into one
number. So it forks the tool and goes; the tool is handed to the nearest subreaper, which is this
process, and ``wait4`` here tells signal and exit code apart and gives the tool's own resource
usage. Until it is reaped, the dead shell keeps the number of the process group from being used
again, so the group can be killed at any time without hitting anybody else.

Where there is no subreaper (qemu-user 7 and some sandboxes refuse ``PR_SET_CHILD_SUBREAPER``) the
shell forks nothing and becomes the tool, which then leads the group and is reaped last. All the
rest holds, but the tool begins with our peak: ``GatedProcess.inherited_bytes``.

Why a gate. Between fork and exec the tool waits for a line. Meanwhile its identity is recorded on
disk (a later daemon can find and kill it) and its CPUs are set, without code of ours in the child.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import shutil
import signal
import subprocess
from dataclasses import dataclass
from typing import Dict, Mapping, Optional, Tuple

from orchestrate_agent.process import procs
from orchestrate_agent.process.enclosure import Enclosure
from orchestrate_agent.process.enclosure import make as make_enclosure
from orchestrate_agent.process.procs import ProcessId

PR_SET_CHILD_SUBREAPER = 36

# The gate is the shell's stdin, moved to 3. Exit 125: the gate was never opened. What is preloaded
# is the tool's alone: in the shell it would speak before the tool, and count in the peak that the
# tool inherits.
_WAIT_AND_BECOME_IT = (
    "IFS= read -r go <&3 || exit 125; "
    '[ -z "$preload" ] || export LD_PRELOAD="$preload"; exec "$@" 3<&-; exit 125'
)
# A background job of a shell has /dev/null as its stdin and ignores SIGINT and SIGQUIT; nobody
# sends those here.
_FORKED = f'preload=$1; shift; {{ {{ {_WAIT_AND_BECOME_IT}; }} & }} 3<&0 </dev/null; echo "$!"'
_DIRECT = f'preload=$1; shift; exec 3<&0 </dev/null; echo "$$"; {_WAIT_AND_BECOME_IT}'

#: ``GatedProcess.how``.
FORKED, DIRECT = "forked", "direct"


class StartError(Exception):
    """The process could not be started; the message says why."""


@dataclass(frozen=True)
class GatedProcess:
    """A process at its gate.

    ``leader`` is the child of ours that leads its group, and keeps the group's number while it is
    not reaped: the dead shell (``how`` is ``forked``), or the process itself (``direct``).
    ``inherited_bytes`` is the peak it began with: a ``ru_maxrss`` up to that says nothing of it.
    ``enclosure`` is the control group that it is in, where it has one of its own.
    """

    leader: subprocess.Popen[bytes]
    id: ProcessId
    how: str
    inherited_bytes: int
    gate: int
    stdout: int
    stderr: int
    enclosure: Optional[Enclosure]

    def close(self) -> None:
        """Close our ends. A process still at its gate ends by itself then."""
        for fd in (self.gate, self.stdout, self.stderr):
            os.close(fd)

    def end(self) -> Tuple[int, resource.struct_rusage]:
        """Kill what is left of the group and reap it all; the process's wait status and usage."""
        _kill_group(self.leader, self.how)
        _, status, usage = os.wait4(self.id.pid, 0)
        _reap_group(self.leader)
        return status, usage


def become_subreaper() -> bool:
    """Have orphaned descendants handed to this process; False where the kernel will not."""
    libc = ctypes.CDLL(None, use_errno=True)
    none = ctypes.c_ulong(0)
    done: int = libc.prctl(PR_SET_CHILD_SUBREAPER, ctypes.c_ulong(1), none, none, none)
    return done == 0


def base_environment() -> Dict[str, str]:
    """What a child inherits of ours: not PYTHON*, not LD_PRELOAD, nothing of the login."""
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": os.path.expanduser("~"),
        "LANG": "C.UTF-8",
    }


def find_executable(name: str, path: str) -> str:
    """The absolute path of a program; ``~`` is expanded. Raises StartError."""
    expanded = os.path.expanduser(name)
    if "/" in expanded:
        if not os.path.isfile(expanded):
            raise StartError(f"there is no {expanded} on this node")
        if not os.access(expanded, os.X_OK):
            raise StartError(f"{expanded} on this node cannot be executed")
        return os.path.abspath(expanded)
    found = shutil.which(expanded, path=path)
    if found is None:
        raise StartError(f"there is no {expanded} on this node (PATH is {path})")
    return found


def launch(
    argv: Tuple[str, ...],
    env: Mapping[str, str],
    cwd: str,
    cpus: Optional[Tuple[int, ...]],
    mark: str,
    *,
    enclosed: bool = True,
) -> GatedProcess:
    """Bring ``argv`` to its gate, in a session and process group of its own, marked; where that is
    possible, and it is to be ``enclosed``, in a control group of its own.

    Raises StartError, nothing left behind.
    """
    how = FORKED if become_subreaper() else DIRECT
    shell, gate, stdout, stderr = _start_shell(how, argv, {**env, procs.MARK: mark}, cwd)
    inherited_bytes = 0
    own: Optional[Enclosure] = None
    try:
        pid = _read_pid(stdout)
        if how == FORKED:
            # Waits until the shell is dead, and so the tool is ours, without reaping the shell.
            os.waitid(os.P_PID, shell.pid, os.WEXITED | os.WNOWAIT)
        else:
            inherited_bytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        if cpus is not None:
            _pin(pid, cpus)
        own = _enclose(pid) if enclosed else None
        identity = procs.identify(pid, shell.pid, mark, "" if own is None else own.folder)
    except (OSError, StartError) as exc:
        for fd in (gate, stdout, stderr):
            os.close(fd)
        _kill_group(shell, how)
        _reap_group(shell)
        if own is not None:
            own.end()
        raise exc if isinstance(exc, StartError) else StartError(f"cannot start: {exc}") from exc
    return GatedProcess(shell, identity, how, inherited_bytes, gate, stdout, stderr, own)


def _enclose(pid: int) -> Optional[Enclosure]:
    """Put the process into a control group of its own; None where that cannot be: the trial runs
    all the same."""
    own = make_enclosure()
    if own is None:
        return None
    try:
        own.take(pid)
    except OSError:
        own.end()
        return None
    return own


def _kill_group(leader: subprocess.Popen[bytes], how: str) -> None:
    if how == DIRECT:
        procs.kill_group(leader.pid)  # orphans are not ours to reap: seen to be gone instead
        return
    with contextlib.suppress(ProcessLookupError):
        os.killpg(leader.pid, signal.SIGKILL)


def _reap_group(leader: subprocess.Popen[bytes]) -> None:
    """Wait for all children of ours in the leader's group, the leader included."""
    with contextlib.suppress(ChildProcessError):
        while True:
            os.waitpid(-leader.pid, 0)
    leader.wait()


def _start_shell(
    how: str, argv: Tuple[str, ...], env: Dict[str, str], cwd: str
) -> Tuple[subprocess.Popen[bytes], int, int, int]:
    preload = env.pop("LD_PRELOAD", "")
    gate_r, gate_w = os.pipe()
    stdout_r, stdout_w = os.pipe()
    stderr_r, stderr_w = os.pipe()
    try:
        shell = subprocess.Popen(
            ["/bin/sh", "-c", _FORKED if how == FORKED else _DIRECT, "sh", preload, *argv],
            env=env,
            cwd=cwd,
            stdin=gate_r,
            stdout=stdout_w,
            stderr=stderr_w,
            start_new_session=True,
        )
    except (OSError, ValueError) as exc:
        for fd in (gate_w, stdout_r, stderr_r):
            os.close(fd)
        raise StartError(f"cannot start: {exc}") from exc
    finally:
        for fd in (gate_r, stdout_w, stderr_w):
            os.close(fd)
    return shell, gate_w, stdout_r, stderr_r


def _read_pid(stdout: int) -> int:
    """The shell's only line. The tool is at its gate, so nothing else can be in the pipe."""
    line = b""
    while not line.endswith(b"\n"):
        piece = os.read(stdout, 64)
        if not piece:
            raise StartError("/bin/sh did not start it; can this user start another process?")
        line += piece
    if not line.strip().isdigit():
        raise StartError(f"/bin/sh said {line!r} instead of a pid")
    return int(line)


def _pin(pid: int, cpus: Tuple[int, ...]) -> None:
    try:
        os.sched_setaffinity(pid, cpus)
        got = os.sched_getaffinity(pid)
    except OSError as exc:
        raise StartError(f"cannot run on CPUs {sorted(cpus)}: {exc.strerror}") from exc
    if got != set(cpus):  # the kernel drops those it does not have without a word
        raise StartError(f"this node lets us use CPUs {sorted(got)} of {sorted(cpus)} only")
