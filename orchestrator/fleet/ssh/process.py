"""A command at the far end of an SSH session, as a ``FarProcess``."""

from __future__ import annotations

from collections.abc import Callable

import paramiko
from paramiko.ssh_exception import SSHException

from orchestrator.fleet.transport import SIGNALLED

_READ_BYTES = 64 * 1024
#: What a packet of OpenSSH's usual 32 KiB carries; more in one call would be cut into two packets.
_WRITE_BYTES = 32 * 1024 - 64
# what paramiko raises from a call on a session whose connection is gone
_GONE = (OSError, EOFError, SSHException)


class SshProcess:
    """``why_lost`` tells why the connection under the session broke, None while it stands."""

    def __init__(self, session: paramiko.Channel, why_lost: Callable[[], str | None]) -> None:
        self._session = session
        self._why_lost = why_lost

    def write(self, data: memoryview) -> int:
        try:
            return self._session.send(bytes(data[:_WRITE_BYTES]))
        except _GONE:
            return 0

    def close_stdin(self) -> None:
        try:
            self._session.shutdown_write()
        except _GONE:
            return  # the reads end too, and wait() and lost() tell

    def read_stdout(self) -> bytes:
        try:
            return self._session.recv(_READ_BYTES)
        except _GONE:
            return b""

    def read_stderr(self) -> bytes:
        try:
            return self._session.recv_stderr(_READ_BYTES)
        except _GONE:
            return b""

    def wait(self, timeout_s: float | None) -> int | None:
        if not self._session.status_event.wait(timeout_s):
            return None
        status = self._session.exit_status
        if status >= 0:
            return status
        # closed without a status: the link broke, or (a signal) the server told no number
        return None if self.lost() else SIGNALLED

    def lost(self) -> str | None:
        return self._why_lost()

    def kill(self) -> None:
        try:
            self._session.close()
        except _GONE:
            return  # it is closed by that as well

    def release(self) -> None:
        """Do nothing: nothing is held once the session is closed."""
