"""``orchestrate inventory``: what others have written down becomes an inventory that loads."""

from __future__ import annotations

import http.server
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from orchestrator.config import Inventory, load_inventory
from orchestrator.discovery.found import device_name
from orchestrator.fleet.reach import endpoint_of
from orchestrator.fleet.ssh import SshEndpoint
from tests.lab import ROOT


def ask(
    folder: Path, *arguments: str | Path, **environment: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "orchestrator", "inventory", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
    )


def loaded(folder: Path, done: subprocess.CompletedProcess[str]) -> Inventory:
    assert done.returncode == 0, done.stderr
    path = folder / "made.yaml"
    path.write_text(done.stdout)
    return load_inventory(path)


HOSTS_INI = """
[nodes]
node[1:2].example.org ansible_user=cc
box ansible_host=192.0.2.7 ansible_port=2222 ansible_ssh_private_key_file=~/.ssh/k
behind ansible_host=10.0.0.3 ansible_ssh_common_args='-o ProxyJump=cc@198.51.100.7'
open ansible_host=192.0.2.8 ansible_password=hunter2 ansible_ssh_extra_args='-o Ciphers=x'
templated ansible_host="{{ lookup('pipe', 'touch EVIL') }}"

[here]
localhost ansible_connection=local ansible_python_interpreter=/usr/bin/python3

[boxes]
pi ansible_connection=docker ansible_host=bench
win ansible_connection=winrm
"""


def test_an_ansible_inventory(tmp_path: Path) -> None:
    (tmp_path / "hosts.ini").write_text(HOSTS_INI)
    done = ask(tmp_path, "--from", "ansible", "hosts.ini")
    inventory = loaded(tmp_path, done)
    made = {device.name: device for device in inventory.devices}
    assert set(made) == {
        *("node1.example.org", "node2.example.org", "box", "behind", "open", "localhost", "pi")
    }
    assert (made["node1.example.org"].user, made["node1.example.org"].transport) == ("cc", "ssh")
    box = made["box"]
    assert (box.host, box.port, box.key_file) == (
        "192.0.2.7", 2222, Path("~/.ssh/k").expanduser(),
    )  # fmt: skip
    assert made["behind"].gateway == "cc@198.51.100.7"
    assert (made["localhost"].transport, made["localhost"].python) == ("local", "/usr/bin/python3")
    assert made["pi"].carrier == ("docker", "exec", "-i", "bench")
    assert "hunter2" not in done.stdout + done.stderr
    for told in (
        "templated: `host` was left out",
        "open: ansible_password: log in with a key",
        "open: options for ssh (-o Ciphers=x)",
        "win: nothing here speaks ansible_connection=winrm",
    ):
        assert told in done.stdout
    assert not (tmp_path / "EVIL").exists()


def test_the_ways_that_an_ansible_inventory_describes(tmp_path: Path) -> None:
    done = ask(tmp_path, "--from", "ansible", ROOT / "tests/data/ansible.ini")
    inventory = loaded(tmp_path, done)

    def way(name: str) -> list[tuple[str | None, str, int | None]]:
        at: SshEndpoint | None = endpoint_of(inventory.device(name), inventory)
        found = []
        while at is not None:
            found.append((at.user, at.host, at.port))
            at = at.gateway
        return found[::-1]

    assert way("master") == [("ec2-user", "bast.example.org", None), (None, "10.0.0.1", None)]
    assert way("w3") == [("ec2-user", "bast.example.org", None), ("pi", "w3", None)]
    assert way("d1") == [
        ("ops", "edge.example.org", None),
        ("ops", "inner.example.org", 2222),
        (None, "10.1.0.2", None),
    ]
    assert way("d2") == [("admin", "edge.example.org", None), (None, "10.1.0.3", None)]
    assert way("d3") == [(None, "bastion", None), (None, "10.1.0.4", None)]
    assert way("d4") == [(None, "fd00::12", 2222)]
    assert way("d9") == [(None, "relay.example.org", 2222), (None, "localhost", 2201)]
    assert way("d10") == [(None, "jump.example.org", None), (None, "10.1.0.10", None)]
    assert inventory.device("d2").key_file is None, "that key is its jump host's"
    assert "d2: options for its jump host (-i '~/.ssh/k')" in done.stdout
    assert inventory.device("d7").user is None and "d7: `user` was left out" in done.stdout
    names = [device.name for device in inventory.devices]
    assert len(names) == 14 and "d8" not in names
    assert "EXAMPLE" not in done.stdout + done.stderr


def test_a_host_whose_way_is_lost_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "hosts.ini").write_text(
        "a ansible_host=localhost ansible_ssh_common_args='-o ProxyCommand=\"nc -x p:1 %h %p\"'\n"
        "b ansible_host=localhost ansible_port='{{ base + 1 }}'\n"
        "c ansible_host=localhost ansible_ssh_common_args='-J {{ jump }}'\n"
        "d ansible_host=localhost\n"
    )
    done = ask(tmp_path, "--from", "ansible", "hosts.ini")
    assert [device.name for device in loaded(tmp_path, done).devices] == ["d"]
    assert "a: was left out, since it is reached through a command (nc -x p:1 %h %p)" in done.stdout
    assert "b: `port` was left out" in done.stdout and "c: `gateway` was left out" in done.stdout


def test_an_ansible_inventory_as_yaml_and_one_that_is_a_script(tmp_path: Path) -> None:
    (tmp_path / "hosts.yml").write_text(
        "all:\n  vars: {ansible_user: cc}\n  children:\n    uc:\n      hosts:\n        a: {}\n"
    )
    inventory = loaded(tmp_path, ask(tmp_path, "--from", "ansible", "hosts.yml"))
    assert [(d.name, d.user) for d in inventory.devices] == [("a", "cc")]
    script = tmp_path / "script"
    script.write_text("#!/bin/sh\ntouch EVIL\necho '{}'\n")
    script.chmod(0o755)
    done = ask(tmp_path, "--from", "ansible", "script")
    assert done.returncode == 2
    assert not (tmp_path / "EVIL").exists()


def test_the_hosts_of_an_ssh_config(tmp_path: Path) -> None:
    (tmp_path / "more").write_text("Host included\n  User x\n")
    (tmp_path / "config").write_text(
        f"Include {tmp_path}/more\nHost icelake ice*\n  HostName 192.0.2.1\nHost * !x\n"
        "Host 'pi 4'\n  Port 2200\n"
    )
    done = ask(tmp_path, "--from", "ssh-config", "config")
    inventory = loaded(tmp_path, done)
    assert [(d.name, d.host) for d in inventory.devices] == [
        ("included", "included"),
        ("icelake", "icelake"),
    ]
    assert all(d.ssh_config == tmp_path / "config" for d in inventory.devices)
    assert "pi 4: `host` was left out" in done.stdout
    (tmp_path / "none").write_text("Host *\n")
    empty = ask(tmp_path, "--from", "ssh-config", "none")
    assert (empty.returncode, "names no host" in empty.stderr) == (2, True)


def test_it_never_writes_over_a_file(tmp_path: Path) -> None:
    (tmp_path / "config").write_text("Host a\n")
    made = tmp_path / "inventory.yaml"
    arguments = ("--from", "ssh-config", "config", "--output", made)
    assert ask(tmp_path, *arguments).returncode == 0
    assert load_inventory(made).devices[0].name == "a"
    again = ask(tmp_path, *arguments)
    assert (again.returncode, "is there already" in again.stderr) == (2, True)


def test_names_become_file_names_and_stay_apart() -> None:
    assert device_name("my node/1", ()) == "my-node-1"
    assert device_name("a", ("a", "a-2")) == "a-3"
    assert device_name("../..", ()) == "device"
    assert len(device_name("x" * 200, ())) <= 63


# -- OpenStack, by its own library against a server that answers as one ----------------------------

ADDRESSES = {
    "sharednet1": [
        {"version": 4, "addr": "10.52.0.9", "OS-EXT-IPS:type": "fixed"},
        {"version": 4, "addr": "192.0.2.50", "OS-EXT-IPS:type": "floating"},
    ]
}
FIXED = {"sharednet1": [{"version": 4, "addr": "10.52.0.10", "OS-EXT-IPS:type": "fixed"}]}
SERVERS = [
    {"id": "1", "name": "icelake node", "status": "ACTIVE", "addresses": ADDRESSES},
    {"id": "2", "name": "inner", "status": "ACTIVE", "addresses": FIXED},
    {"id": "3", "name": "off", "status": "SHUTOFF", "addresses": FIXED},
]
LEASES = [
    {"id": "l1", "status": "ACTIVE", "end_date": "2026-12-01T12:00:00.000000"},
    {"id": "l2", "status": "TERMINATED", "end_date": "2026-10-01T12:00:00.000000"},
]


class Cloud(http.server.BaseHTTPRequestHandler):
    """Keystone, Nova and Blazar, as far as they are asked."""

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        password = body["auth"]["identity"]["password"]["user"]["password"]
        if password != "right":
            self.answer(
                401, {"error": {"code": 401, "message": "not you", "title": "Unauthorized"}}
            )
            return
        catalog = [
            {
                "type": kind, "name": kind, "id": kind,
                "endpoints": [
                    {"interface": "public", "region": "CHI@UC", "region_id": "CHI@UC", "id": kind,
                     "url": f"{self.base}{path}"}
                ],
            }
            for kind, path in (("compute", "/v2.1"), ("reservation", "/v1"), ("identity", "/v3"))
        ]  # fmt: skip
        token = {
            "methods": ["password"], "user": {"id": "u", "name": "u", "domain": {"id": "default"}},
            "expires_at": "2099-01-01T00:00:00.000000Z", "issued_at": "2026-01-01T00:00:00.000000Z",
            "project": {"id": "p", "name": "p", "domain": {"id": "default", "name": "Default"}},
            "catalog": catalog, "roles": [],
        }  # fmt: skip
        self.answer(201, {"token": token}, {"X-Subject-Token": "t"})

    def do_GET(self) -> None:
        path = self.path.partition("?")[0].rstrip("/")
        v3 = {
            "id": "v3.14",
            "status": "stable",
            "links": [{"rel": "self", "href": f"{self.base}/v3"}],
        }
        compute = {"id": "v2.1", "status": "CURRENT", "version": "2.90", "min_version": "2.1",
                   "links": [{"rel": "self", "href": f"{self.base}/v2.1/"}]}  # fmt: skip
        known: Mapping[str, Any] = {
            "": {"versions": {"values": [v3]}},
            "/v3": {"version": v3},
            "/v2.1": {"version": compute},
            "/v2.1/servers/detail": {"servers": SERVERS},
            "/v1/leases": {"leases": LEASES},
        }
        if path in known:
            self.answer(200, known[path])
        else:
            self.answer(404, {"error": path})

    @property
    def base(self) -> str:
        return f"http://{self.headers['Host']}"

    def answer(self, code: int, data: object, headers: Mapping[str, str] | None = None) -> None:
        body = json.dumps(data).encode()
        self.send_response(code)
        for name, value in {"Content-Type": "application/json", **(headers or {})}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (its base's name)
        """Say nothing."""


@pytest.fixture
def openrc() -> Iterator[dict[str, str]]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Cloud)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield {
        "OS_AUTH_URL": f"http://127.0.0.1:{server.server_port}/v3",
        "OS_USERNAME": "u",
        "OS_PASSWORD": "right",
        "OS_PROJECT_NAME": "p",
        "OS_USER_DOMAIN_ID": "default",
        "OS_PROJECT_DOMAIN_ID": "default",
        "OS_REGION_NAME": "CHI@UC",
        "OS_IDENTITY_API_VERSION": "3",
    }
    server.shutdown()
    server.server_close()


def test_the_servers_of_a_chameleon_project(tmp_path: Path, openrc: dict[str, str]) -> None:
    done = ask(tmp_path, "--from", "chameleon", **openrc)
    inventory = loaded(tmp_path, done)
    assert [(d.name, d.host, d.user, d.site) for d in inventory.devices] == [
        ("icelake-node", "192.0.2.50", "cc", "CHI@UC"),
        ("inner", "10.52.0.10", "cc", "CHI@UC"),
    ]
    assert done.stdout.count("lease_ends: '2026-12-01T12:00:00Z'") == 2
    assert "inner: no floating IP" in done.stdout
    assert "off: its status is SHUTOFF" in done.stdout


def test_the_servers_of_another_openstack(tmp_path: Path, openrc: dict[str, str]) -> None:
    done = ask(tmp_path, "--from", "openstack", **openrc)
    inventory = loaded(tmp_path, done)
    assert [(d.name, d.user) for d in inventory.devices] == [
        ("icelake-node", None),
        ("inner", None),
    ]
    assert "lease_ends" not in done.stdout


def test_a_login_that_fails_says_what_to_do(tmp_path: Path, openrc: dict[str, str]) -> None:
    wrong = ask(tmp_path, "--from", "openstack", **{**openrc, "OS_PASSWORD": "wrong"})
    assert wrong.returncode == 2
    assert "source your openrc file" in wrong.stderr
    assert "Traceback" not in wrong.stderr
    nothing = ask(tmp_path, "--from", "openstack", OS_AUTH_URL="", OS_CLOUD="")
    assert (nothing.returncode, "openrc" in nothing.stderr) == (2, True)
