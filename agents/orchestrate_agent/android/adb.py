"""Runs commands on an Android device, through the ``adb`` of this machine.

The protocol ``shell_v2`` is asked for, which Android has since 7: without it a device's two streams
come as one, and so no output of a tool could be told from its errors.
"""

from __future__ import annotations

import re
import shlex
import subprocess
from typing import NamedTuple, Optional, Tuple

from orchestrate_agent.errors import EXIT_FAILED, EXIT_PASSING, AgentError

PROGRAM = "adb"
#: Where Android's shell may write and execute. Everything of ours on a device is below it.
FOLDER = "/data/local/tmp/orchestrate"
BLOBS = FOLDER + "/blobs"

#: Small commands; a device that sleeps on Wi-Fi takes seconds to answer.
SHORT_S = 60.0
#: A push over USB 2 is a thousand times as fast.
_SLOWEST_BYTES_PER_S = 50_000
#: What the scripts need besides a POSIX shell. Android 8's toybox has all of them.
_TOOLS = ("chmod", "find", "flock", "grep", "mkdir", "mv", "sha256sum", "stat", "taskset", "uname")
_LONGEST_SAID = 800
_MISSING = re.compile(r"^missing (\w+)$", re.M)

#: What ``adb devices`` says of a device → what to do about it.
_REMEDIES = {
    "unauthorized": "unlock its screen and accept this machine's key there",
    "authorizing": "wait a moment; if it stays so, unlock its screen and accept this machine's key",
    "connecting": "wait a moment; if it stays so, run `adb kill-server`",
    "offline": "plug it in again, or run `adb reconnect`",
    "no permissions": "let your user open its USB device (a udev rule), then run `adb kill-server`",
}
_NOT_BOOTED = "it is not in Android; start it with `adb reboot`"
_ABSENT = (
    "plug it in with USB debugging on, or run `adb connect HOST:PORT`; `adb devices` lists the "
    "serials there are, and the inventory's `serial:` has to be one of them"
)


class DeviceLostError(AgentError):
    """The device does not answer. What was running there has ended, or ends by itself."""

    def __init__(self, message: str) -> None:
        super().__init__(message, EXIT_PASSING)


class Said(NamedTuple):
    """How a command on the device ended, and what it said."""

    exit_code: int
    stdout: str
    stderr: str


class Adb:
    """One device, by the serial that ``adb devices`` has for it."""

    def __init__(self, serial: str) -> None:
        self.serial = serial

    def shell_argv(self, script: str) -> Tuple[str, ...]:
        """The command line here that has the device's ``sh`` run ``script``."""
        return (PROGRAM, "-s", self.serial, "shell", "-T", script)

    def open_shell(self, script: str) -> "subprocess.Popen[bytes]":
        """Have it run while we hold its stdin. Raises AgentError."""
        return _started(self.shell_argv(script), stdin=subprocess.PIPE)

    def shell(self, script: str, timeout_s: float = SHORT_S) -> str:
        """What ``script`` prints there. Raises DeviceLostError where it does not come to its end.

        That is told by a last line of its own: where a connection breaks, some releases of adb
        end with 0.
        """
        end = "@orchestrate-end"
        said = self._run(self.shell_argv(f"{script}\necho {end}"), timeout_s)
        text, found, _ = said.stdout.rpartition(end)
        if not found:
            raise self._lost(said)
        return text

    def prepare(self) -> None:
        """See that the device is there and has what trials need; make our folder on it.

        Raises DeviceLostError with the remedy where it may come back, AgentError where it cannot
        be measured on.
        """
        state = self.state()
        if state != "device":
            raise DeviceLostError(_in_state(self.serial, state))
        features = self._run((PROGRAM, "-s", self.serial, "features"), SHORT_S)
        if "shell_v2" not in features.stdout.split():
            raise AgentError(
                f"device {self.serial} and this machine's adb have no `shell_v2`, without which "
                f"output and errors of a tool come as one; it needs Android 7 or later, and the "
                f"adb of platform-tools 24 or later"
            )
        said = self.shell(_PREPARE)
        missing = _MISSING.findall(said)
        if missing:
            raise AgentError(
                f"device {self.serial} has no {', '.join(missing)}; its Android must be 8 or later"
            )
        if "ready" not in said.split():
            raise AgentError(f"{FOLDER} cannot be made on device {self.serial}: {said.strip()}")

    def state(self) -> Optional[str]:
        """What ``adb devices`` says of it; None where it is not listed. Raises AgentError."""
        listed = self._run((PROGRAM, "devices"), SHORT_S)
        if listed.exit_code != 0:
            raise AgentError(
                f"`adb devices` ended with {listed.exit_code}: {_brief(listed)}; see what it says "
                f"when you run it",
                EXIT_PASSING,
            )
        for line in listed.stdout.splitlines():
            serial, tab, state = line.partition("\t")
            if tab and serial == self.serial:
                return state.strip()
        return None

    def push(self, local: str, remote: str, size_bytes: int) -> Said:
        """Copy a file there. Raises DeviceLostError where the device went."""
        argv = (PROGRAM, "-s", self.serial, "push", local, remote)
        said = self._run(argv, SHORT_S + size_bytes / _SLOWEST_BYTES_PER_S)
        if said.exit_code != 0 and self.state() != "device":
            raise self._lost(said)
        return said

    def _run(self, argv: Tuple[str, ...], timeout_s: float) -> Said:
        with _started(argv, stdin=subprocess.DEVNULL) as process:
            try:
                out, err = process.communicate(timeout=timeout_s)
            except subprocess.TimeoutExpired:
                process.kill()
                process.communicate()
                raise DeviceLostError(
                    f"device {self.serial} did not answer in {timeout_s:g} s; "
                    f"{_REMEDIES['offline']}"
                ) from None
            return Said(process.returncode, _text(out), _text(err))

    def _lost(self, said: Said) -> DeviceLostError:
        state = self.state()
        if state != "device":
            return DeviceLostError(_in_state(self.serial, state))
        return DeviceLostError(
            f"the connection to device {self.serial} broke: {_brief(said) or 'no word why'}"
        )


_PREPARE = f"""
for tool in {" ".join(_TOOLS)}; do
  command -v $tool >/dev/null || echo missing $tool
done
umask 077
mkdir -p {BLOBS} 2>&1 && chmod 700 {FOLDER} 2>&1 && echo ready
find {BLOBS} -name '.put-*' -mmin +60 -delete 2>/dev/null
"""


def quoted(words: Tuple[str, ...]) -> str:
    """A command line for the device's shell."""
    return " ".join(shlex.quote(word) for word in words)


def _started(argv: Tuple[str, ...], stdin: int) -> "subprocess.Popen[bytes]":
    try:
        return subprocess.Popen(
            argv, stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0
        )
    except OSError as exc:
        raise AgentError(
            f"cannot start `{PROGRAM}` on this machine ({exc.strerror}); install Android's "
            f"platform-tools here, and put them into PATH",
            EXIT_FAILED,
        ) from exc


def _in_state(serial: str, state: Optional[str]) -> str:
    if state is None:
        return f"`adb devices` does not list device {serial}; {_ABSENT}"
    # "no permissions" goes on with an explanation of its own
    known = [remedy for word, remedy in _REMEDIES.items() if state.startswith(word)]
    return f"device {serial} is `{state[:100]}`; {(known or [_NOT_BOOTED])[0]}"


def _brief(said: Said) -> str:
    return (said.stderr.strip() or said.stdout.strip())[-_LONGEST_SAID:]


def _text(data: Optional[bytes]) -> str:
    return (data or b"").decode("utf-8", "replace")
