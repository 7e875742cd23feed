"""A device behind a command of the user's that gives stdin and stdout: ``docker exec -i NAME``."""

from __future__ import annotations

import os
import secrets
import shlex
from collections.abc import Sequence

from orchestrator.config.values import COMMAND_PLACE
from orchestrator.errors import PermanentDeviceError, TransientDeviceError
from orchestrator.fleet.local import LocalProcess, LocalTransport
from orchestrator.fleet.marked import Mark, MarkedProcess, marked_line
from orchestrator.fleet.transport import SIGNAL_CODES, SIGNALLED, shell_command

#: How long a carrier may take to start a shell there, in seconds.
_START_TIMEOUT_S = 60.0


class CarriedTransport(LocalTransport):
    """Starts the carrier once for every command and channel; nothing is kept open in between.

    ``carrier`` is its command line. Where a word of it is ``{command}``, a command line for a login
    shell takes its place; else ``sh -c`` and such a line are added.
    """

    def __init__(self, device: str, carrier: Sequence[str]) -> None:
        super().__init__(device)
        words = tuple(carrier)
        self._carrier = words if COMMAND_PLACE in words else (*words, "sh", "-c", COMMAND_PLACE)

    def connect(self) -> None:
        """See whether a command arrives there and its output comes back."""
        token = secrets.token_hex(8)
        done = self.run(("echo", token), timeout_s=_START_TIMEOUT_S)
        if done.exit_code == 0 and token.encode() in done.stdout.split():
            return
        said = done.stderr.decode(errors="replace").strip()[-800:]
        what = f"`{self.describe()}` started no command there (exit code {done.exit_code})"
        message = f"{what}: {said or 'no word why'}"
        if done.exit_code in (126, 127):
            raise PermanentDeviceError(
                f"{message}; install what is missing, or correct `exec:`", device=self.device
            )
        raise TransientDeviceError(message, device=self.device)

    def describe(self) -> str:
        return f"exec {shlex.join(self._carrier)}"

    def _start(self, argv: Sequence[str]) -> MarkedProcess:
        mark = Mark.drawn()
        # Not every carrier begins in the home folder, as a login does; `cd` alone goes there.
        command = os.fsencode(f"cd 2>/dev/null; {shell_command(argv)}")
        line = os.fsdecode(marked_line(command, mark))
        words = [line if word == COMMAND_PLACE else word for word in self._carrier]
        return MarkedProcess(self._started(words), mark)

    def _process(self, command: Sequence[str]) -> LocalProcess:
        return _Carrier(command)


class _Carrier(LocalProcess):
    """The carrier's own end is the command's end."""

    def wait(self, timeout_s: float | None) -> int | None:
        code = super().wait(timeout_s)
        return SIGNALLED if code in SIGNAL_CODES else code
