"""`run --engine dask`: what only a cluster can do, or suffer. The rest is in ``test_fleet``."""

from __future__ import annotations

import hashlib
import os
import re
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("distributed")

from orchestrator.artifacts.blob import Blob
from orchestrator.errors import TransientDeviceError, UsageError
from orchestrator.fleet.cluster import Cluster
from orchestrator.fleet.provision import BlobStream
from orchestrator.fleet.ssh import SshEndpoint
from tests.cluster import DaskCluster
from tests.lab import Lab, every_planned_trial_finished_once, wait_until
from tests.sshd import Sshd, generate_key

SCHEMES = ["float32", "full_int8"]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Sshd]:
    with Sshd(tmp_path / "sshd", generate_key(tmp_path / "client")) as server:
        (tmp_path / "known_hosts").write_text(server.known_hosts_line())
        yield server


@pytest.fixture
def devices(server: Sshd, lab: Lab, tmp_path: Path) -> Iterator[list[dict[str, Any]]]:
    """Four names for one server, each with an agent of its own."""
    devices = [
        {
            "name": f"d{number}",
            "transport": "ssh",
            "host": server.address,
            "port": server.port,
            "user": "root",
            "key_file": server.client_key,
            "known_hosts": tmp_path / "known_hosts",
            "workdir": f"~/agent-{number}",
            "python": sys.executable,
            "exclusive": False,
        }
        for number in range(4)
    ]
    yield devices
    lab.close()  # while the server still answers


def endpoint(server: Sshd, tmp_path: Path) -> SshEndpoint:
    return SshEndpoint(
        device="here",
        host=server.address,
        port=server.port,
        user="root",
        key_file=server.client_key,
        known_hosts=tmp_path / "known_hosts",
    )


def test_the_death_of_workers_loses_and_doubles_nothing(
    lab: Lab, devices: list[dict[str, Any]]
) -> None:
    with DaskCluster() as cluster:
        inventory = lab.inventory(*devices, lab.here())  # this machine is reached from here
        engine = ("--engine", "dask", "--scheduler", cluster.address)
        run = lab.start("run", *engine, "--inventory", inventory, "--suite", lab.suite(SCHEMES))
        for deaths in (1, 2, 3):
            wait_until(lambda: len(lab.events("finished")) >= 15 * deaths, "trials")  # noqa: B023
            wait_until(lambda: len(cluster.pids()) == 2, "both workers")
            os.kill(cluster.pids()[deaths % 2], signal.SIGKILL)
        _, stderr = run.communicate(timeout=120)
    assert run.returncode == 0, stderr
    assert re.search(r"retrying [0-9/]+: Dask worker", stderr)
    assert every_planned_trial_finished_once(lab.journal())
    for device in devices:
        mine = [e for e in lab.journal() if e["device"] == device["name"]]
        assert [e["seq"] for e in mine] == list(range(1, len(mine) + 1))
        told = [e["agent_seq"] for e in mine if "agent_seq" in e]
        assert told == list(range(1, len(told) + 1))
        logs = [e["log"] for e in mine if e["event"] == "finished"]
        assert all((lab.runs()[0] / log).stat().st_size for log in logs)


def test_a_blob_travels_to_a_worker_once_and_from_there_to_every_device(
    server: Sshd, tmp_path: Path
) -> None:
    path = tmp_path / "blob"
    path.write_bytes(b"0123456789" * 2_000_000)  # more than two pieces
    blob = Blob(hashlib.sha256(path.read_bytes()).hexdigest(), path, path.stat().st_size)
    with DaskCluster([None]) as dask:
        cluster = Cluster(dask.address)
        sent: list[int] = []
        for number in range(2):
            way = cluster.transport(endpoint(server, tmp_path), None)
            way.connect()
            done = way.run(
                ["sha256sum"], stdin=BlobStream([blob]), timeout_s=60, on_sent=sent.append
            )
            assert done.stdout.split()[0].decode() == blob.sha256
            way.close()
            if number == 0:
                path.write_bytes(b"never sent: the worker has the bytes of that hash")
        liar = Blob("ab" * 32, path, path.stat().st_size)
        way = cluster.transport(endpoint(server, tmp_path), None)
        way.connect()
        with pytest.raises(TransientDeviceError, match="arrived there with SHA-256"):
            way.run(["sha256sum"], stdin=BlobStream([liar]), timeout_s=60)
        way.close()
        cluster.close()


def test_a_device_is_reached_from_a_worker_at_its_site(server: Sshd, tmp_path: Path) -> None:
    with DaskCluster(["uc", "tacc"]) as dask:
        cluster = Cluster(dask.address)
        places = {a: set(told["resources"]) for a, told in dask.workers().items()}
        for site in ("uc", "tacc", "uc"):
            way = cluster.transport(endpoint(server, tmp_path), site)
            way.connect()
            worker = way.describe().rpartition(" ")[2]
            assert places[worker] == {f"site:{site}"}
            way.close()
        with pytest.raises(TransientDeviceError, match='--resources "site:moon=1"'):
            cluster.transport(endpoint(server, tmp_path), "moon").connect()
        cluster.close()


def test_a_worker_that_hangs_is_left_for_another(
    server: Sshd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.fleet.cluster.ANSWER_S", 1.0)
    with DaskCluster() as dask:
        cluster = Cluster(dask.address)
        stuck = cluster.transport(endpoint(server, tmp_path), None)
        stuck.connect()
        pid = next(p for p, address in dask.workers_by_pid().items() if address in stuck.describe())
        os.kill(pid, signal.SIGSTOP)
        try:
            with pytest.raises(TransientDeviceError, match="does not answer"):
                stuck.run(["true"], timeout_s=1.0)
            stuck.close()
            stuck.connect()
            assert stuck.run(["true"], timeout_s=10.0).exit_code == 0
        finally:
            os.kill(pid, signal.SIGCONT)
        stuck.close()
        cluster.close()


def test_an_unknown_host_key_stops_the_device_at_a_worker_too(
    lab: Lab, devices: list[dict[str, Any]], tmp_path: Path
) -> None:
    (tmp_path / "known_hosts").write_text("")
    with DaskCluster([None]) as dask:
        engine = ("--engine", "dask", "--scheduler", dask.address)
        inventory = lab.inventory(devices[0])
        done = lab.run("run", *engine, "--inventory", inventory, "--suite", lab.suite(SCHEMES))
    assert done.code == 3
    assert "is unknown" in done.stderr and "ssh-keyscan" in done.stderr


def test_a_cluster_that_is_not_there_is_a_mistake_of_the_command_line(lab: Lab) -> None:
    run = ("run", "--inventory", lab.inventory(lab.here()), "--suite", lab.suite(SCHEMES))
    for more, said in (
        (("--engine", "dask"), "--scheduler tcp://"),
        (("--scheduler", "tcp://127.0.0.1:1"), "--engine dask"),
    ):
        done = lab.run(*run, *more)
        assert done.code == 2 and said in done.stderr
    with DaskCluster([]) as dask, pytest.raises(UsageError, match="dask worker"):
        Cluster(dask.address)
