"""The socket under the first hop: TCP, or a ProxyCommand's two ends."""

from __future__ import annotations

import shutil
import socket
import subprocess
import tempfile
from dataclasses import dataclass
from typing import IO

from orchestrator.fleet.ssh.route import Hop

_FAMILIES = {"inet": socket.AF_INET, "inet6": socket.AF_INET6}
_STDERR_TAIL_BYTES = 2000
_TERM_GRACE_S = 2.0


@dataclass(frozen=True)
class Proxy:
    """A running ProxyCommand; its stderr is kept for messages."""

    process: subprocess.Popen[bytes]
    stderr: IO[bytes]

    def said(self) -> str:
        self.stderr.seek(0)
        return self.stderr.read()[-_STDERR_TAIL_BYTES:].decode(errors="replace").strip()

    def close(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(_TERM_GRACE_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.stderr.close()


def dial(hop: Hop) -> socket.socket:
    """Connect to the hop by TCP. Raises OSError: gaierror, TimeoutError, ConnectionRefusedError and
    others.

    Every address of the name is tried, each for the hop's connect timeout.
    """
    family = _FAMILIES.get(hop.address_family, socket.AF_UNSPEC)
    trouble: OSError = OSError(f"{hop.host} has no address")
    for found in socket.getaddrinfo(hop.host, hop.port, family, socket.SOCK_STREAM):
        sock = socket.socket(*found[:3])
        try:
            sock.settimeout(hop.connect_timeout_s)
            sock.connect(found[4])
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except OSError as exc:
            sock.close()
            trouble = exc
        else:
            return sock
    raise trouble


def run_proxy(command: str) -> tuple[socket.socket, Proxy]:
    """Start a ProxyCommand with one end of a socket pair as its stdin and stdout.

    A real socket, unlike paramiko's ProxyCommand, tells when the command has ended.
    """
    ours, theirs = socket.socketpair()
    stderr = tempfile.TemporaryFile()  # noqa: SIM115  (closed with the proxy)
    with theirs:
        process = subprocess.Popen(
            [shutil.which("sh") or "/bin/sh", "-c", f"exec {command}"],
            stdin=theirs.fileno(),
            stdout=theirs.fileno(),
            stderr=stderr,
            start_new_session=True,  # so that Ctrl-C in our terminal stays ours
        )
    return ours, Proxy(process, stderr)
