"""What a run over SSH must not leave behind or open: secrets anywhere, and ports."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import netns
from tests.lab import Lab, every_planned_trial_finished_once
from tests.netns import Network
from tests.sshd import Sshd, add_to_agent, descendants, generate_key, ssh_agent

#: Recognisable wherever it turns up.
SECRET = "planted-7f3a91c2"
LISTENING = "0A"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Sshd]:
    """A server in a network of its own: whatever else listens there, the agent made it."""
    reason = netns.why_not()
    if reason is not None:
        pytest.skip(reason)
    key = generate_key(tmp_path / "client", passphrase=f"{SECRET}-passphrase")
    with Network() as network:
        host = network.host()
        with Sshd(tmp_path / "far", key, address=host.address, namespace=host.namespace) as sshd:
            yield sshd


def listening_there(server: Sshd) -> set[str]:
    """Everything that listens in the server's network, on TCP or UDP."""
    command = ["ip", "netns", "exec", str(server.namespace), "ss", "-Hltun"]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    return {" ".join((*line.split()[:1], line.split()[4])) for line in lines}


def listening_here(pids: list[int]) -> set[str]:
    """The TCP ports that these processes listen on."""
    inodes = set()
    for pid in pids:
        with contextlib.suppress(OSError):
            for fd in Path(f"/proc/{pid}/fd").iterdir():
                inodes |= set(re.findall(r"socket:\[(\d+)\]", str(fd.readlink())))
    rows = [
        line.split()
        for table in ("tcp", "tcp6")
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]
    ]
    return {row[1] for row in rows if row[3] == LISTENING and row[9] in inodes}


def command_lines() -> Iterator[bytes]:
    """What everybody on the machine sees of every process."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            yield path.read_bytes()


def places_of_the_secret(*folders: Path) -> list[Path]:
    return [
        path
        for folder in folders
        for path in folder.rglob("*")
        if path.is_file() and (SECRET in str(path) or SECRET.encode() in path.read_bytes())
    ]


def test_a_run_over_ssh_opens_no_port_and_leaves_no_secret(
    lab: Lab, server: Sshd, tmp_path: Path
) -> None:
    known_hosts = tmp_path / "known_hosts"
    known_hosts.write_text(server.known_hosts_line())
    device = {
        "name": "far", "transport": "ssh", "host": server.address, "user": "root",
        "key_file": server.client_key, "known_hosts": known_hosts, "python": sys.executable,
        "exclusive": False,
    }  # fmt: skip
    inventory = lab.inventory(device)
    suite = lab.suite(["float32", "full_int8"])
    before = listening_there(server)
    assert before
    seen_there: set[str] = set()
    seen_here: set[str] = set()
    told: set[bytes] = set()
    with ssh_agent(tmp_path) as agent:
        add_to_agent(agent, server.client_key, f"{SECRET}-passphrase")
        process = subprocess.Popen(
            lab.command("run", "--inventory", inventory, "--suite", suite),
            cwd=lab.folder,
            env={
                **lab.environment(),
                "SSH_AUTH_SOCK": str(agent),
                "KEY_PASSPHRASE": f"{SECRET}-passphrase",
                "API_TOKEN": f"{SECRET}-token",
                "HTTPS_PROXY": f"http://me:{SECRET}-proxy@127.0.0.1:9",
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        while process.poll() is None:
            seen_here |= listening_here([process.pid, *descendants(process.pid)])
            seen_there |= listening_there(server)
            told |= {line for line in command_lines() if SECRET.encode() in line}
            time.sleep(0.3)
        said, _ = process.communicate()
    assert process.returncode == 0, said
    assert every_planned_trial_finished_once(lab.journal())

    assert seen_there == before
    assert seen_here == set()
    assert told == set()
    assert SECRET not in said
    agents_home = server.home / ".orchestrate"
    assert len(list(agents_home.rglob("*"))) > 5 and len(list(lab.results.rglob("*"))) > 20
    assert places_of_the_secret(agents_home, lab.results) == []


@pytest.mark.parametrize(
    "line",
    [
        f"password: {SECRET}",
        f"key_passphrase: {SECRET}",
        f"api-key-token: {SECRET}",
        f"benchmark_model: https://me:{SECRET}@example.org/benchmark_model",
        f"benchmark_model: {{url: 'https://{SECRET}@example.org/x'}}",
        f"benchmark_model: https://example.org/x?X-Amz-Signature={SECRET}",
        f"benchmark_model: https://example.org/x?sv=1&sig={SECRET}",
        f"benchmark_model: https://example.org/x?access_token={SECRET}",
        f"benchmark_model: 'https://me:{SECRET}@[example.org/x'",
    ],
)
def test_a_secret_in_an_inventory_is_refused_and_not_repeated(tmp_path: Path, line: str) -> None:
    path = tmp_path / "inventory.yaml"
    path.write_text(f"devices:\n  - name: far\n    transport: ssh\n    {line}\n")
    done = subprocess.run(
        [sys.executable, "-m", "orchestrator", "plan", "--inventory", path],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "HOME": str(tmp_path)},
    )
    assert done.returncode == 2
    assert f"{path}:4:" in done.stderr
    assert SECRET not in done.stdout + done.stderr
