"""Starts a process as the forked child of a small shell, held at a gate until told to go.

Why a shell. Linux keeps the peak resident set (``ru_maxrss``) of whatever called ``exec``: a tool
started straight from this Python process would begin with Python's peak, and report a growth of
memory that is too small. Forked by a shell, it begins at the shell's megabyte.

Why the shell does not wait. A shell folds "killed by signal n" and "exit code 128+n" into one
number. So it forks the tool and goes; the tool is handed to the nearest subreaper, which is this
process, and ``wait4`` here tells signal and exit code apart and gives the tool's own resource
usage. Until it is reaped, the dead shell keeps the number of the process group from being used
again, so the group can be killed at any time without hitting anybody else.

Why a gate. Between fork and exec the tool waits for a line. Meanwhile its identity is recorded on
disk (a later daemon can find and kill it) and its CPUs are set, without code of ours in the child.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import signal
import subprocess
from dataclasses import dataclass
from typing import Dict, Mapping, Optional, Tuple

from agents import procs
from agents.procs import ProcessId

PR_SET_CHILD_SUBREAPER = 36

# A background job of a shell has /dev/null as its stdin and ignores SIGINT and SIGQUIT; nobody
# sends those here. The gate is the shell's stdin, moved to 3. Exit 125: the gate was never opened.
# What is preloaded is the tool's alone: in the shell it would speak before the tool, and count in
# the peak that the tool inherits.
_SCRIPT = (
    "preload=$1; shift; { { IFS= read -r go <&3 || exit 125; "
    '[ -z "$preload" ] || export LD_PRELOAD="$preload"; exec "$@" 3<&-; exit 125; } & } '
    '3<&0 </dev/null; echo "$!"'
)


class StartError(Exception):
    """The process could not be started; the message says why."""


@dataclass(frozen=True)
class Launched:
    """A process at its gate: the shell that made it is dead, but not reaped yet."""

    shell: subprocess.Popen[bytes]
    id: ProcessId
    gate: int
    stdout: int
    stderr: int

    def close(self) -> None:
        """Close our ends. A process still at its gate ends by itself then."""
        for fd in (self.gate, self.stdout, self.stderr):
            os.close(fd)


def become_subreaper() -> None:
    """Have orphaned descendants handed to this process. Raises StartError."""
    libc = ctypes.CDLL(None, use_errno=True)
    none = ctypes.c_ulong(0)
    if libc.prctl(PR_SET_CHILD_SUBREAPER, ctypes.c_ulong(1), none, none, none) != 0:
        raise StartError(f"prctl(PR_SET_CHILD_SUBREAPER): {os.strerror(ctypes.get_errno())}")


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
) -> Launched:
    """Bring ``argv`` to its gate, in a session and process group of its own, marked.

    Raises StartError, nothing left behind.
    """
    become_subreaper()
    shell, gate, stdout, stderr = _start_shell(argv, {**env, procs.MARK: mark}, cwd)
    try:
        pid = _read_pid(stdout)
        # Waits until the shell is dead, and so the tool is ours, without reaping the shell.
        os.waitid(os.P_PID, shell.pid, os.WEXITED | os.WNOWAIT)
        if cpus is not None:
            _pin(pid, cpus)
        identity = procs.identify(pid, shell.pid, mark)
    except (OSError, StartError) as exc:
        for fd in (gate, stdout, stderr):
            os.close(fd)
        end_group(shell)
        raise exc if isinstance(exc, StartError) else StartError(f"cannot start: {exc}") from exc
    return Launched(shell, identity, gate, stdout, stderr)


def end_group(shell: subprocess.Popen[bytes]) -> None:
    """Kill what is left of the shell's group and reap it all, the shell included."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(shell.pid, signal.SIGKILL)
    with contextlib.suppress(ChildProcessError):
        while True:
            os.waitpid(-shell.pid, 0)
    shell.wait()


def _start_shell(
    argv: Tuple[str, ...], env: Dict[str, str], cwd: str
) -> Tuple[subprocess.Popen[bytes], int, int, int]:
    preload = env.pop("LD_PRELOAD", "")
    gate_r, gate_w = os.pipe()
    stdout_r, stdout_w = os.pipe()
    stderr_r, stderr_w = os.pipe()
    try:
        shell = subprocess.Popen(
            ["/bin/sh", "-c", _SCRIPT, "sh", preload, *argv],
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
