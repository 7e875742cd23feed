"""One SSH connection with its jump hosts: opened, watched, closed."""

from __future__ import annotations

import logging
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import fabric
import paramiko
from paramiko.config import SSHConfig
from paramiko.ssh_exception import SSHException

from orchestrator.errors import DeviceError
from orchestrator.fleet.exchange import Deadline
from orchestrator.fleet.ssh.auth import KeysOnly
from orchestrator.fleet.ssh.dial import Proxy, dial, run_proxy
from orchestrator.fleet.ssh.errors import translated
from orchestrator.fleet.ssh.route import Hop
from orchestrator.fleet.ssh.verify import HostKeyCheck

# paramiko logs, with tracebacks, every failure that it also raises; we raise them in our words
_paramiko_log = logging.getLogger("paramiko")
if _paramiko_log.level == logging.NOTSET:
    _paramiko_log.setLevel(logging.CRITICAL)


#: So many of us may be about to log in at one server: from 10 on, OpenSSH drops some at random
#: (MaxStartups 10:30:100), and a jump host sees every device of a fleet come at once.
_STARTUPS = 6
_startups: defaultdict[tuple[str, int], threading.BoundedSemaphore] = defaultdict(
    lambda: threading.BoundedSemaphore(_STARTUPS)
)
_startups_guard = threading.Lock()


@contextmanager
def _turn_at(hop: Hop) -> Iterator[None]:
    """Wait for a turn to log in there, but not for ever: all find a dead host dead at once."""
    with _startups_guard:
        startups = _startups[hop.host, hop.port]
    taken = startups.acquire(timeout=hop.connect_timeout_s)
    try:
        yield
    finally:
        if taken:
            startups.release()


@dataclass(frozen=True)
class Liveness:
    """Every ``interval_s`` the far end is asked for an answer, which has ``answer_s`` to come.

    paramiko's own keep-alive sends, but never looks for an answer, so a dead link would stay
    unnoticed until TCP gives up after a quarter of an hour.
    """

    interval_s: float = 10.0
    answer_s: float = 20.0


class SshConnection:
    """Open from its making until :meth:`close`, or until the link breaks (:meth:`why_lost`)."""

    def __init__(self, hops: tuple[Hop, ...], liveness: Liveness) -> None:
        """Connect hop by hop. Raises DeviceError, with everything closed again."""
        self._opened: list[fabric.Connection] = []
        self._proxy: Proxy | None = None
        self._hops = hops
        self._silent = False
        self._closing = threading.Event()
        try:
            for hop in hops:
                self._open(hop)
        except BaseException:
            self.close()
            raise
        self._watch = threading.Thread(target=self._ask, args=(liveness,), daemon=True)
        self._watch.start()

    @property
    def transport(self) -> paramiko.Transport:
        """The last hop's."""
        transport: paramiko.Transport = self._opened[-1].transport
        return transport

    def why_lost(self) -> str | None:
        """Why the connection broke, in a sentence; None while it stands."""
        if self._closing.is_set():
            return "the connection was closed here"
        if self._silent:
            return f"the connection to {self._hops[-1].address} is dead: no answer comes any more"
        if not self.transport.is_active():
            return f"the connection to {self._hops[-1].address} is lost"
        return None

    def close(self) -> None:
        """Close every hop, the last first."""
        self._closing.set()
        for connection in reversed(self._opened):
            connection.client.close()
        if self._proxy is not None:
            self._proxy.close()
            self._proxy = None

    def _open(self, hop: Hop) -> None:
        via = self._hops[len(self._opened) - 1] if self._opened else None
        try:
            with _turn_at(hop):
                connection = self._prepared(hop)
                self._opened.append(connection)
                connection.open()
        except DeviceError:
            raise
        except (SSHException, OSError, EOFError, UnicodeError) as exc:
            said = self._proxy.said() if self._proxy is not None else ""
            raise translated(exc, hop, via, said) from exc

    def _prepared(self, hop: Hop) -> fabric.Connection:
        check = HostKeyCheck(hop)
        options: dict[str, Any] = {
            "auth_strategy": KeysOnly(hop),
            "transport_factory": _transport_maker(check),
            "banner_timeout": hop.connect_timeout_s,
            "auth_timeout": max(hop.connect_timeout_s, 30.0),
            "channel_timeout": hop.connect_timeout_s,
        }
        if not self._opened:
            options["sock"] = self._dial(hop)
        connection = fabric.Connection(
            hop.host,
            user=hop.user,
            port=hop.port,
            gateway=self._opened[-1] if self._opened else None,
            connect_kwargs=options,
            # everything is settled already: neither ssh's nor fabric's files are read again
            config=fabric.Config(lazy=True, ssh_config=SSHConfig()),
        )
        connection.client.set_missing_host_key_policy(check)  # fabric's own accepts any key
        return connection

    def _dial(self, hop: Hop) -> Any:
        if hop.proxy_command is None:
            return dial(hop)
        sock, self._proxy = run_proxy(hop.proxy_command)
        return sock

    def _ask(self, liveness: Liveness) -> None:
        transport = self.transport
        while transport.is_active() and not self._closing.wait(liveness.interval_s):
            with Deadline(liveness.answer_s, self._give_up):
                try:
                    transport.global_request("keepalive@openssh.com", wait=True)
                except (SSHException, OSError, EOFError):
                    return  # it is lost; whoever uses it is told

    def _give_up(self) -> None:
        # the nearest hop first: closing a far one would have to send through the dead link
        self._silent = True
        for connection in self._opened:
            connection.transport.close()


def _transport_maker(check: HostKeyCheck) -> Callable[..., paramiko.Transport]:
    def make(*args: Any, **kwargs: Any) -> paramiko.Transport:
        transport = paramiko.Transport(*args, **kwargs)
        security = transport.get_security_options()
        security.key_types = check.preferred(tuple(security.key_types))
        # AES-GCM needs no second pass in Python for the checksum: uploads run twice as fast
        gcm = [cipher for cipher in security.ciphers if "gcm" in cipher]
        security.ciphers = (*gcm, *(c for c in security.ciphers if c not in gcm))
        return transport

    return make
