"""`orchestrate run` on several real OpenSSH servers at once, with addresses of their own."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests import netns
from tests.cluster import DaskCluster
from tests.lab import Lab, every_planned_trial_finished_once, wait_until
from tests.netns import Network
from tests.sshd import Sshd, generate_key

SCHEMES = ["float32", "full_int8"]


@dataclass
class Fleet:
    """Three servers: two plugged in here, one behind the first."""

    lab: Lab
    servers: dict[str, Sshd]
    known_hosts: Path
    #: Which engine, as arguments of ``run``.
    engine: Sequence[str]

    def device(self, name: str, **fields: Any) -> dict[str, Any]:
        return self.servers[name].device(name, known_hosts=self.known_hosts, **fields)

    def devices(self) -> list[dict[str, Any]]:
        return [
            self.device("front"),
            self.device("side"),
            self.device("hidden", gateway="front"),
        ]


@pytest.fixture(params=["threads", "dask"])
def engine(request: pytest.FixtureRequest) -> Iterator[Sequence[str]]:
    """Every test runs with both: connections of our own, and those of a cluster's workers."""
    if request.param == "threads":
        yield ()
        return
    pytest.importorskip("distributed")
    with DaskCluster() as cluster:
        yield ("--engine", "dask", "--scheduler", cluster.address)


@pytest.fixture
def fleet(lab: Lab, tmp_path: Path, engine: Sequence[str]) -> Iterator[Fleet]:
    reason = netns.why_not()
    if reason is not None:
        pytest.skip(reason)
    key = generate_key(tmp_path / "client")
    with Network() as network:
        front, side = network.host(), network.host()
        hosts = {"front": front, "side": side, "hidden": network.hidden_host(front)}
        servers = {
            name: Sshd(tmp_path / name, key, address=host.address, namespace=host.namespace)
            for name, host in hosts.items()
        }
        known_hosts = tmp_path / "known_hosts"
        known_hosts.write_text("".join(s.known_hosts_line() for s in servers.values()))
        fleet = Fleet(lab, servers, known_hosts, engine)
        try:
            for server in servers.values():
                server.start()
            yield fleet
        finally:
            # while the servers still answer: closing the lab afterwards could not stop the agents
            lab.close()
            for server in servers.values():
                server.stop()


def prepared(lab: Lab, number: int) -> dict[str, int]:
    events = lab.events("device_prepared", lab.runs()[number])
    return {event["device"]: event["pushed_bytes"] for event in events}


def agents(servers: Sequence[Sshd]) -> list[float]:
    """When each server's agent file was written."""
    name = "[0-9a-f]" * 64 + ".pyz"  # and not its copy with compiled children
    files = [list((s.home / ".orchestrate" / "agents").glob(name)) for s in servers]
    assert all(len(found) == 1 for found in files)
    return [found[0].stat().st_mtime_ns for found in files]


def test_three_servers_one_behind_another_give_three_columns_and_push_once(fleet: Fleet) -> None:
    lab = fleet.lab
    suite, inventory = lab.suite(SCHEMES), lab.inventory(*fleet.devices())
    done = lab.run("run", *fleet.engine, "--inventory", inventory, "--suite", suite)
    assert done.code == 0, done.stderr
    assert every_planned_trial_finished_once(lab.journal())
    assert {row["device"] for row in lab.table()} == {"front", "side", "hidden"}
    assert all(row["blocks"] == "6" for row in lab.table())
    across = done.stdout[done.stdout.index("Across devices") :]
    assert all(name in across for name in ("front", "side", "hidden"))

    manifest = json.loads((lab.runs()[0] / "run.json").read_text())
    size = sum(artifact["size_bytes"] for artifact in manifest["artifacts"])
    assert prepared(lab, 0) == {"front": size, "side": size, "hidden": size}
    files = agents(list(fleet.servers.values()))

    # The second time nothing is pushed; and one server shows another host key.
    fleet.servers["side"].stop()
    fleet.servers["side"].rotate_host_key("ed25519")
    fleet.servers["side"].start()
    again = lab.run("run", *fleet.engine, "--inventory", inventory, "--suite", suite)
    assert again.code == 1
    assert prepared(lab, 1) == {"front": 0, "hidden": 0}
    assert agents(list(fleet.servers.values())) == files
    rows = {row["device"]: row for row in lab.table()}
    assert rows["front"]["verdict"] != "invalid"
    assert rows["hidden"]["verdict"] != "invalid"
    assert rows["side"]["verdict"] == "invalid"
    assert "device_lost" in rows["side"]["findings"]
    lost = lab.events("device_lost")
    assert [event["device"] for event in lost] == ["side"]
    for text in (lost[0]["reason"], again.stderr):
        assert "CHANGED" in text
        assert f"ssh-keygen -R {fleet.servers['side'].address}" in text.replace("'", "")

    # With the new key accepted, the same run goes on and is completed.
    fleet.known_hosts.write_text("".join(s.known_hosts_line() for s in fleet.servers.values()))
    resumed = lab.run("run", *fleet.engine, "--resume", "last")
    assert resumed.code == 0, resumed.stderr
    assert every_planned_trial_finished_once(lab.journal())
    assert all(row["verdict"] != "invalid" for row in lab.table())


def test_two_names_for_one_home_share_an_agent_and_mix_nothing(fleet: Fleet) -> None:
    lab = fleet.lab
    twice = [fleet.device("side"), {**fleet.device("side"), "name": "alias"}]
    done = lab.run(
        "run", *fleet.engine, "--inventory", lab.inventory(*twice), "--suite", lab.suite(SCHEMES)
    )
    assert done.code == 0, done.stderr
    assert every_planned_trial_finished_once(lab.journal())
    assert {row["device"] for row in lab.table()} == {"side", "alias"}
    status = lab.run("agents", "status", "--inventory", lab.inventory(*twice)).stdout
    pids = {line.split("pid ")[1].split(",")[0] for line in status.splitlines() if "pid " in line}
    assert len(pids) == 1


def test_a_server_that_dies_in_the_middle_is_found_again(fleet: Fleet) -> None:
    lab = fleet.lab
    inventory = lab.inventory(fleet.device("front"), fleet.device("side"))
    controller = lab.start(
        "run", *fleet.engine, "--inventory", inventory, "--suite", lab.suite(SCHEMES)
    )
    wait_until(
        lambda: sum(e["device"] == "side" for e in lab.events("finished")) >= 2, "two trials there"
    )
    fleet.servers["side"].kill()
    fleet.servers["side"].start()
    _, stderr = controller.communicate(timeout=120)
    assert controller.returncode == 0, stderr
    assert "[side] retrying" in stderr
    assert every_planned_trial_finished_once(lab.journal())
