"""Devices behind SSH: fabric, one connection a device, its jump hosts as fabric gateways.

``config`` and ``route`` settle what ~/.ssh/config and the inventory say, ``host_keys`` and
``verify`` check who answers, ``auth`` offers keys, ``connection`` opens and watches the hops.
This package is the only place that imports fabric and paramiko.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

from paramiko.ssh_exception import ChannelException, SSHException

from orchestrate_agent import protocol
from orchestrator.errors import DeviceError, PermanentDeviceError, TransientDeviceError
from orchestrator.fleet.exchange import Deadline, LineChannel, complete
from orchestrator.fleet.marked import Mark, MarkedProcess, marked_line
from orchestrator.fleet.ssh.config import SshConfigError, configured_hosts
from orchestrator.fleet.ssh.connection import Liveness, SshConnection
from orchestrator.fleet.ssh.process import SshProcess
from orchestrator.fleet.ssh.route import Hop, SshEndpoint, route
from orchestrator.fleet.transport import (
    SIGNAL_CODES,
    SIGNALLED,
    ChannelTimeout,
    CommandEnd,
    Readable,
    shell_command,
)
from orchestrator.printable import printable

__all__ = ["Liveness", "SshConfigError", "SshEndpoint", "SshTransport", "configured_hosts"]

#: How long the server may take to open a session and to start a command, in seconds.
_START_TIMEOUT_S = 30.0
#: Of what a login shell printed, in a message.
_LONGEST_SAID = 400


class SshTransport:
    """One device over SSH. See ``Transport`` for what may be called from which thread."""

    def __init__(self, endpoint: SshEndpoint, *, liveness: Liveness | None = None) -> None:
        self.device = endpoint.device
        self._endpoint = endpoint
        self._liveness = liveness or Liveness()
        self._connection: SshConnection | None = None
        self._hops: tuple[Hop, ...] = ()
        self._channels: list[LineChannel] = []
        #: Whether a command of ours has ever begun there, and the form of the line that it takes.
        self._begun = False
        self._replaces_shell = True

    def connect(self) -> None:
        if self._connection is not None and self._connection.why_lost() is None:
            return
        self.close()
        self._hops = route(self._endpoint)
        self._connection = SshConnection(self._hops, self._liveness)

    def run(
        self,
        argv: Sequence[str],
        *,
        stdin: Readable | bytes | None = None,
        timeout_s: float,
        on_sent: Callable[[int], None] | None = None,
    ) -> CommandEnd:
        if stdin is not None and not isinstance(stdin, bytes):
            self._settle()  # a stream cannot be read twice
        process = self._start(argv)
        try:
            done = complete(
                process,
                self._name(argv),
                device=self.device,
                stdin=stdin,
                timeout_s=timeout_s,
                on_sent=on_sent,
            )
        except ChannelTimeout as exc:
            if process.began:
                raise
            raise self._not_begun(f"within {timeout_s:g} s", process, ChannelTimeout) from exc
        if process.began or done.exit_code == SIGNALLED or done.exit_code in SIGNAL_CODES:
            self._begun = self._begun or process.began
            return done
        if self._replaces_shell and not self._begun:  # a restricted shell has no `exec`
            self._replaces_shell = False
            try:
                return self.run(argv, stdin=stdin, timeout_s=timeout_s, on_sent=on_sent)
            finally:
                self._replaces_shell = not self._begun
        kind = TransientDeviceError if self._begun else PermanentDeviceError
        raise self._not_begun(f"and ended with exit code {done.exit_code}", process, kind)

    def open(
        self, argv: Sequence[str], *, max_line_bytes: int = protocol.MAX_LINE_BYTES
    ) -> LineChannel:
        self._settle()
        channel = LineChannel(
            self._start(argv), self._name(argv), device=self.device, max_line_bytes=max_line_bytes
        )
        self._channels = [c for c in self._channels if not c.closed] + [channel]
        return channel

    def close(self) -> None:
        while self._channels:
            self._channels.pop().close()
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def describe(self) -> str:
        """Name it as the inventory says it before the first ``connect``, then with all that is
        settled."""
        if not self._hops:
            return f"ssh {self._endpoint.host}"
        return "ssh " + " via ".join(hop.address for hop in reversed(self._hops))

    def _name(self, argv: Sequence[str]) -> str:
        return f"`{argv[0]}` on {self._hops[-1].address}"

    def _settle(self) -> None:
        """Have one command begin there, so that the form of the line is known."""
        if not self._begun:
            self.run(("true",), timeout_s=_START_TIMEOUT_S)

    def _not_begun(self, how: str, process: MarkedProcess, kind: type[DeviceError]) -> DeviceError:
        said = printable(process.said_before)[-_LONGEST_SAID:] or "nothing"
        return kind(
            f"the login shell on {self._hops[-1].address} did not start our command {how}; it "
            f"said: {said}; give that user a shell such as /bin/sh (`chsh`) and its key no forced "
            f"command, and let start files end nothing and ask nothing where no terminal is",
            device=self.device,
        )

    def _start(self, argv: Sequence[str]) -> MarkedProcess:
        mark = Mark.drawn()
        command = marked_line(
            os.fsencode(shell_command(argv)), mark, replaces_shell=self._replaces_shell
        )
        connection = self._connection
        if connection is None:
            raise TransientDeviceError("not connected; connect first", device=self.device)
        try:
            session = connection.transport.open_session(timeout=_START_TIMEOUT_S)
            with Deadline(_START_TIMEOUT_S, session.close):
                # bytes, which paramiko takes as they are, because a path need not be UTF-8
                session.exec_command(command)
        except (SSHException, OSError, EOFError) as exc:
            raise self._not_started(exc, connection) from exc
        return MarkedProcess(SshProcess(session, connection.why_lost), mark)

    def _not_started(self, exc: Exception, connection: SshConnection) -> DeviceError:
        where = self._hops[-1].address
        lost = connection.why_lost()
        if lost is not None:
            return TransientDeviceError(lost, device=self.device)
        if isinstance(exc, ChannelException):
            return TransientDeviceError(
                f"{where} opens no further session ({exc.text}); is MaxSessions in its "
                "sshd_config below 10?",
                device=self.device,
            )
        if "timeout" in str(exc).lower():
            return TransientDeviceError(
                f"{where} did not start a command within {_START_TIMEOUT_S:g} s", device=self.device
            )
        return PermanentDeviceError(
            f"{where} does not run commands for us ({exc}); try "
            f"`{self._hops[-1].ssh_command} true`",
            device=self.device,
        )
