"""Hosts with addresses of their own, on one machine: network namespaces on a bridge.

::

    here 10.x.y.1 ── bridge ──┬── host 10.x.y.2
                              └── host 10.x.y.3 ── hidden host 10.x.y+1.2

Needs root and iproute2 (:func:`why_not`). Everything is removed at the end, after failures too.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import random
import shutil
import subprocess
from dataclasses import dataclass
from types import TracebackType


def why_not() -> str | None:
    """Why namespaces cannot be made here; None where they can."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    if shutil.which("ip") is None:
        return "network namespaces need iproute2 (`apt-get install iproute2`)"
    name = f"oqprobe{os.getpid()}"
    made = subprocess.run(["ip", "netns", "add", name], capture_output=True, check=False)
    if made.returncode:
        return f"network namespaces cannot be made here: {made.stderr.decode().strip()}"
    bridge = subprocess.run(
        ["ip", "-n", name, "link", "add", "type", "bridge"], capture_output=True, check=False
    )
    _ip("netns", "del", name)
    if bridge.returncode:
        return f"bridges cannot be made here: {bridge.stderr.decode().strip()}"
    return None


@dataclass(frozen=True)
class NetworkHost:
    """One namespace. ``link`` is our end of its cable; None where it is not plugged in here."""

    namespace: str
    address: str
    link: str | None

    def link_down(self) -> None:
        """Pull the cable: packets vanish, nothing is told to either side's programs."""
        self._set_link("down")

    def link_up(self) -> None:
        self._set_link("up")

    def _set_link(self, state: str) -> None:
        if self.link is None:
            raise ValueError(f"{self.namespace} has no cable here")
        _ip("link", "set", self.link, state)


class Network:
    """A bridge with hosts; a context manager that removes it all."""

    def __init__(self) -> None:
        self._tag = f"oq{random.randrange(16**6):06x}"
        self._subnet = _free_subnet()
        self._count = 1
        self._namespaces: list[str] = []

    def __enter__(self) -> Network:
        atexit.register(self.remove)
        _ip("link", "add", self._tag, "type", "bridge")
        _ip("addr", "add", f"{self._subnet}.1/24", "dev", self._tag)
        _ip("link", "set", self._tag, "up")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.remove()
        atexit.unregister(self.remove)

    def host(self) -> NetworkHost:
        """A host on the bridge, reachable from here."""
        namespace, number = self._namespace()
        link = f"{self._tag}v{number}"
        address = f"{self._subnet}.{number}"
        _ip("link", "add", link, "type", "veth", "peer", "name", "eth0", "netns", namespace)
        _ip("link", "set", link, "master", self._tag, "up")
        _plug(namespace, "eth0", f"{address}/24")
        return NetworkHost(namespace, address, link)

    def hidden_host(self, jump: NetworkHost) -> NetworkHost:
        """A host on a cable of its own to ``jump``; nothing routes to it from here."""
        namespace, number = self._namespace()
        first, second, third = self._subnet.split(".")
        base = f"{first}.{second}.{int(third) + 1}"
        inner = f"in{number}"
        _ip(
            *("-n", jump.namespace, "link", "add", inner, "type", "veth"),
            *("peer", "name", "eth0", "netns", namespace),
        )
        _plug(jump.namespace, inner, f"{base}.{4 * number + 1}/30")
        address = f"{base}.{4 * number + 2}"
        _plug(namespace, "eth0", f"{address}/30")
        return NetworkHost(namespace, address, None)

    def remove(self) -> None:
        """Remove everything; may be repeated, and does not mind what was never made."""
        for namespace in self._namespaces:
            for pid in _output("netns", "pids", namespace).split():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(pid), 9)
            # a namespace lives on while a socket lingers in it, and its cable with it
            _output("link", "del", f"{self._tag}v{namespace.removeprefix(self._tag + 'n')}")
            _output("netns", "del", namespace)
        self._namespaces.clear()
        _output("link", "del", self._tag)

    def _namespace(self) -> tuple[str, int]:
        self._count += 1
        namespace = f"{self._tag}n{self._count}"
        _ip("netns", "add", namespace)
        self._namespaces.append(namespace)
        _ip("-n", namespace, "link", "set", "lo", "up")
        return namespace, self._count


def _plug(namespace: str, link: str, address: str) -> None:
    _ip("-n", namespace, "addr", "add", address, "dev", link)
    _ip("-n", namespace, "link", "set", link, "up")


def _free_subnet() -> str:
    """The first three bytes of a /24 (and the next) that no address of this machine is in."""
    taken = _output("-o", "-4", "addr", "show") + _output("-4", "route", "show")
    while True:
        first, second = random.randrange(100, 250), 2 * random.randrange(1, 127)
        if not any(f"10.{first}.{third}." in taken for third in (second, second + 1)):
            return f"10.{first}.{second}"


def _ip(*arguments: str) -> None:
    done = subprocess.run(["ip", *arguments], capture_output=True, check=False)
    if done.returncode:
        raise RuntimeError(f"`ip {' '.join(arguments)}`: {done.stderr.decode().strip()}")


def _output(*arguments: str) -> str:
    return subprocess.run(["ip", *arguments], capture_output=True, check=False).stdout.decode()
