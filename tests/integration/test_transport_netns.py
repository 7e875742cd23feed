"""``ssh`` to hosts with addresses of their own, one of them only behind a jump host."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from orchestrator.errors import TransientDeviceError
from orchestrator.fleet.ssh import Liveness, SshEndpoint, SshTransport
from tests.netns import Network, NetworkHost, why_not
from tests.sshd import Sshd, generate_key

_WHY_NOT = why_not()
pytestmark = pytest.mark.skipif(_WHY_NOT is not None, reason=str(_WHY_NOT))


@dataclass(frozen=True)
class Lab:
    near: NetworkHost
    jump: NetworkHost
    near_server: Sshd
    jump_server: Sshd
    hidden_server: Sshd
    known_hosts: Path

    def endpoint(self, server: Sshd, gateway: Sshd | None = None) -> SshEndpoint:
        return SshEndpoint(
            device=server.folder.name,
            host=server.address,
            key_file=server.client_key,
            known_hosts=self.known_hosts,
            gateway=self.endpoint(gateway) if gateway else None,
            connect_timeout_s=3.0,
        )


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    folder = tmp_path_factory.mktemp("lab")
    key = generate_key(folder / "id")
    with Network() as network:
        near, jump = network.host(), network.host()
        hidden = network.hidden_host(jump)

        def server(name: str, host: NetworkHost) -> Sshd:
            return Sshd(folder / name, key, address=host.address, namespace=host.namespace)

        with (
            server("near", near) as at_near,
            server("jump", jump) as at_jump,
            server("hidden", hidden) as at_hidden,
        ):
            known = folder / "known_hosts"
            lines = [at.known_hosts_line() for at in (at_near, at_jump, at_hidden)]
            known.write_text("".join(lines))
            yield Lab(near, jump, at_near, at_jump, at_hidden, known)


def test_three_addresses_one_behind_another(lab: Lab) -> None:
    endpoints = [
        lab.endpoint(lab.near_server),
        lab.endpoint(lab.jump_server),
        lab.endpoint(lab.hidden_server, lab.jump_server),
    ]
    for endpoint in endpoints:
        transport = SshTransport(endpoint)
        transport.connect()
        server_side = transport.run(["sh", "-c", "echo $SSH_CONNECTION"], timeout_s=10).stdout
        assert server_side.decode().split()[2:] == [endpoint.host, "22"]
        transport.close()


def test_the_hidden_host_is_reached_by_nothing_else(lab: Lab) -> None:
    with pytest.raises(TransientDeviceError, match="cannot reach"):
        SshTransport(lab.endpoint(lab.hidden_server)).connect()


def test_a_cut_cable_before_connecting(lab: Lab) -> None:
    lab.near.link_down()
    try:
        with pytest.raises(TransientDeviceError, match=r"no answer within 3 s|No route to host"):
            SshTransport(lab.endpoint(lab.near_server)).connect()
    finally:
        lab.near.link_up()


@pytest.mark.parametrize("hidden", [False, True], ids=["direct", "through a jump host"])
def test_a_cut_cable_is_noticed_though_nobody_says_so(lab: Lab, hidden: bool) -> None:
    endpoint = lab.endpoint(lab.near_server)
    host = lab.near
    if hidden:
        endpoint, host = lab.endpoint(lab.hidden_server, lab.jump_server), lab.jump
    transport = SshTransport(endpoint, liveness=Liveness(interval_s=0.2, answer_s=1.0))
    transport.connect()
    channel = transport.open(["sleep", "600"])
    host.link_down()
    try:
        with pytest.raises(TransientDeviceError, match="is dead: no answer comes any more"):
            channel.readline(15)
        with pytest.raises(TransientDeviceError, match="is dead"):
            transport.run(["true"], timeout_s=5)
    finally:
        host.link_up()
    deadline = time.monotonic() + 10
    while True:  # the bridge takes a moment to forward again
        try:
            transport.connect()
            break
        except TransientDeviceError:
            if time.monotonic() > deadline:
                raise
    assert transport.run(["echo", "back"], timeout_s=10).stdout == b"back\n"
    transport.close()


def test_a_cut_cable_in_mid_transfer_ends_the_transfer(lab: Lab, tmp_path: Path) -> None:
    transport = SshTransport(
        lab.endpoint(lab.near_server), liveness=Liveness(interval_s=0.2, answer_s=1.0)
    )
    transport.connect()
    big = tmp_path / "big"
    with big.open("wb") as out:
        out.truncate(500_000_000)  # a hole: it takes no room on the disk

    def cut(sent: int) -> None:
        if sent > 20_000_000:
            lab.near.link_down()

    try:
        with big.open("rb") as stdin, pytest.raises(TransientDeviceError, match="is dead"):
            transport.run(["sha256sum"], stdin=stdin, timeout_s=60, on_sent=cut)
    finally:
        lab.near.link_up()
        transport.close()


def test_a_short_cut_is_survived(lab: Lab) -> None:
    transport = SshTransport(
        lab.endpoint(lab.near_server), liveness=Liveness(interval_s=0.2, answer_s=10.0)
    )
    transport.connect()
    channel = transport.open(["cat"])
    lab.near.link_down()
    channel.send(b"sent while it was down\n")
    lab.near.link_up()
    assert channel.readline(15) == b"sent while it was down"
    transport.close()
