"""``adb-trial``: the process here that stands for a trial's process on an Android device.

It ends as that one does, with its exit code or by its signal, so that whoever runs it needs to know
nothing of adb. It holds the device's shell by its stdin: where that breaks off, because this
process was killed, the daemon died or the cable was pulled, the shell there kills the tool.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import resource
import secrets
import shlex
import signal
import subprocess
import sys
from typing import IO, List, Optional, Tuple

from orchestrate_agent.android.adb import FOLDER, Adb, quoted
from orchestrate_agent.errors import EXIT_PASSING
from orchestrate_agent.process.procs import MARK

#: In the environment of what runs under the device's lock.
EXCLUSIVE = "ORCHESTRATE_EXCLUSIVE"
#: In the trial's folder: how the tool ended there. Not there where nobody told.
RECORD = "ended.json"

#: The last line of the device's shell, with the times it has counted, is shorter than this.
_HELD_BACK = 512
_READ_BYTES = 64 * 1024
_SECONDS = re.compile(r"(\d+)m([\d.]+)s")

# No `exec` of the tool: the shell waits for it, to tell how it ended by a line that no broken
# connection can be taken for, and how long it computed. The tool's stdin is not the shell's.
_SCRIPT = """\
cd {folder} || exit
export {mark} TMPDIR={folder}
exec 3<&0
{command} </dev/null 3<&- &
tool=$!
{{ while read -r _; do :; done; kill -9 $tool; }} <&3 >/dev/null 2>&1 &
watch=$!
exec 3<&-
{{ wait $tool; code=$?; kill $watch; }} 2>/dev/null
{{ printf '\\n{end} %s\\n' $code; times; }} >&2
"""


def main(argv: List[str]) -> int:
    """Run the command there; its words follow ``--``."""
    parser = argparse.ArgumentParser(prog="adb-trial", description="Run a trial through adb.")
    parser.add_argument("--adb", required=True, metavar="SERIAL")
    parser.add_argument("--exclusive", action="store_true", help="the device's lock is ours")
    parser.add_argument("command", nargs="+")
    options = parser.parse_args(argv)
    end = f"@orchestrate-ended {secrets.token_hex(8)}"
    # not in adb's own environment: a server that it starts must outlive the trial
    mark = f"{MARK}={shlex.quote(os.environ.pop(MARK, ''))}"
    script = _SCRIPT.format(
        folder=FOLDER,
        mark=f"{mark} {EXCLUSIVE}=1" if options.exclusive else mark,
        command=quoted(tuple(options.command)),
        end=end,
    )
    with subprocess.Popen(
        Adb(options.adb).shell_argv(script), stdin=subprocess.PIPE, stderr=subprocess.PIPE
    ) as adb:
        assert adb.stderr is not None  # noqa: S101 (it was asked for)
        last = _pass_on(adb.stderr)
    text, found, told = last.decode("utf-8", "replace").rpartition(f"\n{end} ")
    sys.stderr.write(text if found else told)
    sys.stderr.flush()
    if not found:
        return EXIT_PASSING
    code, user_s, system_s = _ended(told)
    with open(RECORD, "w", encoding="ascii") as file:
        json.dump({"user_s": user_s, "sys_s": system_s}, file)
    return _end_alike(code)


def _pass_on(stderr: IO[bytes]) -> bytes:
    """Write what comes to our stderr, but for the last of it, which is returned."""
    held = b""
    for data in iter(lambda: os.read(stderr.fileno(), _READ_BYTES), b""):
        held += data
        ready, held = held[:-_HELD_BACK], held[-_HELD_BACK:]
        sys.stderr.buffer.write(ready)
        sys.stderr.buffer.flush()
    return held


def _ended(told: str) -> Tuple[int, Optional[float], Optional[float]]:
    """The exit code, then the CPU time of the tool in user and system mode, in seconds."""
    code, _, times = told.partition("\n")
    seconds = [int(minutes) * 60 + float(rest) for minutes, rest in _SECONDS.findall(times)]
    # of the shell itself, then of its children
    user_s, system_s = seconds[2:4] if len(seconds) == 4 else (None, None)
    return int(code), user_s, system_s


def _end_alike(code: int) -> int:
    """A shell tells a signal's end as 128 and the signal's number."""
    number = code - 128
    if number in (signal.SIGSTOP, signal.SIGCONT, signal.SIGCHLD) or not 0 < number < 32:
        return code
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if number != signal.SIGKILL:
        signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
    return code
