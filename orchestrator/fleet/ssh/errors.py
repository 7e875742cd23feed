"""What socket, fabric and paramiko raise while connecting, in our words."""

from __future__ import annotations

import re
import socket
from dataclasses import dataclass

import paramiko
from paramiko.ssh_exception import ChannelException, IncompatiblePeer

from orchestrator.errors import DeviceError, PermanentDeviceError, TransientDeviceError
from orchestrator.fleet.ssh.route import Hop


@dataclass(frozen=True)
class Algorithms:
    """One kind of algorithm that two ends agree on: ``of`` is paramiko's word for it, ``place`` its
    place among the lists that a server opens with (RFC 4253, 7.1), ``option`` sshd_config's
    word."""

    name: str
    of: str
    place: int
    option: str


ALGORITHMS = (
    Algorithms("key exchanges", "kex", 0, "KexAlgorithms"),
    Algorithms("host keys", "host key", 1, "HostKeyAlgorithms"),
    Algorithms("ciphers", "cipher", 2, "Ciphers"),
    Algorithms("checksums", "macs", 4, "MACs"),
)
#: What newer software refuses: SHA-1, MD5, DSA, small groups, ciphers with CBC and RC4.
_OUTDATED = re.compile(r"sha1\b|md5|ssh-dss|\Assh-rsa\Z|-cbc|arcfour")

#: What stands among key exchanges and is not one.
_NO_ALGORITHM = ("ext-info-", "kex-strict-")


class NothingInCommon(IncompatiblePeer):
    """An IncompatiblePeer that tells the lists which the server had opened with."""

    def __init__(self, message: str, offered: list[list[str]]) -> None:
        super().__init__(message)
        self.offered = offered


_Explanation = tuple[type[DeviceError], str, str]

_PROHIBITED = 1  # RFC 4254, 5.1: SSH_OPEN_ADMINISTRATIVELY_PROHIBITED
_BANNER = "Error reading SSH protocol banner"


def translated(exc: Exception, hop: Hop, via: Hop | None, proxy_said: str) -> DeviceError:
    """Return the error of ours for ``exc``, raised while reaching ``hop`` (through ``via``)."""
    kind, reason, remedy = _explained(exc, hop, via)
    where = f"{hop.address}, via {via.address}" if via else hop.address
    if proxy_said:
        reason += f"; its ProxyCommand said: {proxy_said}"
    return kind(f"cannot reach {where}: {reason}; {remedy}", device=hop.endpoint.device)


def is_without_greeting(exc: Exception) -> bool:
    """Whether the server said nothing: it hung up, as one that is asked too much, or is mute."""
    return str(exc).startswith(_BANNER)


def _explained(exc: Exception, hop: Hop, via: Hop | None) -> _Explanation:
    """The kind of error, the reason, and what to do about it."""
    if isinstance(exc, ChannelException):
        return _refused_forward(exc, hop, via)
    if isinstance(exc, (socket.gaierror, TimeoutError, ConnectionRefusedError, UnicodeError)):
        return _in_the_network(exc, hop)
    return _in_the_protocol(exc, hop)


def _in_the_network(exc: Exception, hop: Hop) -> _Explanation:
    if isinstance(exc, UnicodeError):
        return PermanentDeviceError, f"`{hop.host}` is not a host name", "correct it"
    if isinstance(exc, socket.gaierror):
        reason = f"the name does not resolve ({exc.strerror})"
        return TransientDeviceError, reason, "check the spelling, the DNS and the network"
    if isinstance(exc, TimeoutError):
        reason = f"no answer within {hop.connect_timeout_s:g} s"
        return TransientDeviceError, reason, "check that it is up and that no firewall drops us"
    reason = "the connection is refused"
    return TransientDeviceError, reason, "check the port and that an SSH server runs there"


def _in_the_protocol(exc: Exception, hop: Hop) -> _Explanation:
    if isinstance(exc, IncompatiblePeer):
        return _nothing_in_common(exc)
    text = str(exc).strip()
    try_it = f"try `{hop.ssh_command}`"
    if text.startswith(_BANNER):
        detail = text.removeprefix(_BANNER).strip() or "it hung up"
        reason = f"no SSH greeting came ({detail})"
        return TransientDeviceError, reason, f"is this an SSH server, is it overloaded? {try_it}"
    if text.startswith("Indecipherable protocol version"):
        return PermanentDeviceError, "what answers is not an SSH server", "check the port"
    if isinstance(exc, OSError):
        return TransientDeviceError, exc.strerror or text or repr(exc), "check the network"
    if isinstance(exc, EOFError) or not text:
        return TransientDeviceError, "it hung up during the handshake", try_it
    return TransientDeviceError, text, try_it


def _nothing_in_common(exc: IncompatiblePeer) -> _Explanation:
    """Say of which kind of algorithm the two have none in common, and which of them is behind."""
    kind = next((kind for kind in ALGORITHMS if kind.of in str(exc)), None)
    lists = exc.offered if isinstance(exc, NothingInCommon) else None
    offered = [] if kind is None or lists is None else lists[kind.place]
    offered = [name for name in offered if not name.startswith(_NO_ALGORITHM)]
    if kind is None or not offered:
        remedy = "update whichever is older, the SSH server there or paramiko here"
        return PermanentDeviceError, f"no algorithm in common ({exc})", remedy
    reason = f"no algorithm in common: of {kind.name} it offers only {', '.join(offered)}"
    if all(_OUTDATED.search(name) for name in offered):
        return PermanentDeviceError, reason, "which is outdated; update the SSH server there"
    return (
        PermanentDeviceError,
        reason[:500],
        f"which paramiko {paramiko.__version__} here does not speak; add another to {kind.option} "
        f"in its sshd_config, update paramiko, or let OpenSSH's client carry: `transport: exec` "
        f"with `exec: ssh HOST {{command}}`",
    )


def _refused_forward(exc: ChannelException, hop: Hop, via: Hop | None) -> _Explanation:
    """A jump host that would not open the way to the next hop."""
    jump = via.address if via else "the jump host"
    if exc.code == _PROHIBITED:
        reason = f"{jump} does not forward connections ({exc.text})"
        return PermanentDeviceError, reason, "AllowTcpForwarding has to be set in its sshd_config"
    reason = f"{jump} cannot connect to {hop.host} port {hop.port} ({exc.text})"
    return TransientDeviceError, reason, "check that it is up and reachable from there"
