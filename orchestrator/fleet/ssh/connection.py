"""One SSH connection with its jump hosts: opened, watched, closed."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import fabric
import paramiko
from paramiko.config import SSHConfig
from paramiko.ssh_exception import IncompatiblePeer, SSHException

from orchestrator.errors import DeviceError
from orchestrator.fleet.exchange import Deadline
from orchestrator.fleet.ssh.auth import KeysOnly
from orchestrator.fleet.ssh.dial import Proxy, dial, run_proxy
from orchestrator.fleet.ssh.errors import NothingInCommon, is_without_greeting, translated
from orchestrator.fleet.ssh.route import Hop
from orchestrator.fleet.ssh.verify import HostKeyCheck

# paramiko logs, with tracebacks, every failure that it also raises; we raise them in our words
_paramiko_log = logging.getLogger("paramiko")
if _paramiko_log.level == logging.NOTSET:
    _paramiko_log.setLevel(logging.CRITICAL)


#: What a server opens with: random bytes, then lists of algorithms (RFC 4253, 7.1).
_COOKIE_BYTES = 16
_LISTS = 8

#: So many of us may be about to log in at one server: from 10 on, OpenSSH drops some at random
#: (MaxStartups 10:30:100), and a jump host sees every device of a fleet come at once.
_STARTUPS = 6
#: Others log in there too: before it is tried again where the server hung up without a word, in
#: seconds, half as long to half as long again.
_DROPPED_PAUSES_S = (0.5, 1.0, 2.0, 4.0)
#: What took longer is a server that is silent, not one that hung up.
_AT_ONCE_S = 5.0


class _Logins:
    """Counts who is about to log in at one server."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._under_way = 0
        self._succeeded_at = 0.0

    @contextmanager
    def turn(self, patience_s: float) -> Iterator[None]:
        """Wait for a turn; but where none has succeeded for ``patience_s``, all go ahead, so that
        a dead server is found dead by all at once."""
        with self._changed:
            since = time.monotonic()
            while self._under_way >= _STARTUPS:
                left_s = max(since, self._succeeded_at) + patience_s - time.monotonic()
                if left_s <= 0:
                    break
                self._changed.wait(left_s)
            self._under_way += 1
        succeeded = False
        try:
            yield
            succeeded = True
        finally:
            with self._changed:
                self._under_way -= 1
                if succeeded:
                    self._succeeded_at = time.monotonic()
                self._changed.notify_all()


_logins: defaultdict[tuple[str, int], _Logins] = defaultdict(_Logins)
_logins_guard = threading.Lock()


def _logins_at(hop: Hop) -> _Logins:
    with _logins_guard:
        return _logins[hop.host, hop.port]


@dataclass(frozen=True)
class Liveness:
    """Every ``interval_s`` the far end is asked for an answer, which has ``answer_s`` to come.

    paramiko's own keep-alive sends, but never looks for an answer, so a dead link would stay
    unnoticed until TCP gives up after a quarter of an hour.
    """

    interval_s: float = 10.0
    answer_s: float = 20.0


class SshConnection:
    """A connection is open from its making until :meth:`close`, or until the link breaks
    (:meth:`why_lost`)."""

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
        """The last hop's paramiko transport."""
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
        pauses = iter(_DROPPED_PAUSES_S)
        while True:
            try:
                with _logins_at(hop).turn(hop.connect_timeout_s):
                    began = time.monotonic()
                    self._log_in(hop)
            except DeviceError:
                raise
            except (SSHException, OSError, EOFError, UnicodeError) as exc:
                dropped = is_without_greeting(exc) and time.monotonic() - began < _AT_ONCE_S
                pause_s = next(pauses, None) if dropped else None
                said = self._proxy.said() if self._proxy is not None else ""
                if pause_s is None or said:
                    raise translated(exc, hop, via, said) from exc
            else:
                return
            self._opened.pop().client.close()
            if via is None and self._proxy is not None:
                self._proxy.close()
                self._proxy = None
            time.sleep(pause_s * random.uniform(0.5, 1.5))  # noqa: S311  (no secret rests on it)

    def _log_in(self, hop: Hop) -> None:
        connection = self._prepared(hop)
        self._opened.append(connection)
        connection.open()

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


class _Transport(paramiko.Transport):
    """A transport that tells what the server had offered where nothing is in common."""

    def _parse_kex_init(self, m: paramiko.Message) -> None:
        begin = m.packet.tell()
        base: Any = super()  # it is not among what paramiko documents, nor in its stubs
        try:
            base._parse_kex_init(m)
        except IncompatiblePeer as exc:
            m.packet.seek(begin)
            m.get_bytes(_COOKIE_BYTES)
            lists = [list(map(str, m.get_list())) for _ in range(_LISTS)]
            raise NothingInCommon(str(exc), lists) from exc


def _transport_maker(check: HostKeyCheck) -> Callable[..., paramiko.Transport]:
    def make(*args: Any, **kwargs: Any) -> paramiko.Transport:
        transport = _Transport(*args, **kwargs)
        security = transport.get_security_options()
        security.key_types = check.preferred(tuple(security.key_types))
        # AES-GCM needs no second pass in Python for the checksum: uploads run twice as fast
        gcm = [cipher for cipher in security.ciphers if "gcm" in cipher]
        security.ciphers = (*gcm, *(c for c in security.ciphers if c not in gcm))
        return transport

    return make
