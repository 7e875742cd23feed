"""What pushing costs, compared with scp, OpenSSH's sftp and fabric's put, in one run over one sshd.

``python -m benchmarks.push [MEGABYTES] [ROUNDS]`` starts an OpenSSH server on the loopback and
sends it a file of MEGABYTES (default 500), ROUNDS times (default 7) by each way, in an order drawn
anew each round. Every way is timed from nothing connected to the file complete on the other side;
ours includes the check of every byte there, the others check none. Prints the median seconds of
each, and the median over the rounds of its time divided by ours. Then pushes 4 GB in 40 files
twice, and prints what the second time costs, when all of it is there.
"""

from __future__ import annotations

import hashlib
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import fabric

from orchestrator.artifacts.blob import Blob
from orchestrator.fleet.agent_archive import build_agent_archive
from orchestrator.fleet.provision import AgentPlace, ReachedDevice, push, reach
from orchestrator.fleet.ssh import SshEndpoint, SshTransport
from tests.sshd import Sshd, generate_key

MEGABYTE = 10**6
#: What a device has; a virtual environment's takes longer to start.
PYTHON = "/usr/bin/python3"
LARGE_FILES = 40
LARGE_BYTES = 100 * MEGABYTE


class Target:
    """The server, and every way to bring a file there."""

    def __init__(self, server: Sshd, folder: Path) -> None:
        self._server = server
        self._known_hosts = folder / "known_hosts"
        self._known_hosts.write_text(server.known_hosts_line())
        self._archive = build_agent_archive()
        self._place = AgentPlace(PYTHON, str(server.home / "agent"))
        self._landing = server.home / "landed"

    def ours(self, blob: Blob) -> None:
        """From nothing to the blob in the agent's store."""
        node = self.reach()
        push(node, [blob], lambda blob, sent: None)
        node.close()

    def reach(self) -> ReachedDevice:
        endpoint = SshEndpoint(
            device="target",
            host=self._server.address,
            port=self._server.port,
            user="root",
            key_file=self._server.client_key,
            known_hosts=self._known_hosts,
        )
        return reach(SshTransport(endpoint), self._place, self._archive)

    def scp(self, blob: Blob) -> None:
        place = f"root@{self._server.address}:{self._landing}"
        subprocess.run(["scp", "-q", "-P", *self._options(), str(blob.path), place], check=True)

    def sftp(self, blob: Blob) -> None:
        command = ["sftp", "-q", "-b", "-", "-P", *self._options()]
        put = f"put {blob.path} {self._landing}\n".encode()
        quiet = subprocess.DEVNULL
        host = f"root@{self._server.address}"
        subprocess.run([*command, host], check=True, input=put, stdout=quiet)

    def fabric(self, blob: Blob) -> None:
        key = {"key_filename": str(self._server.client_key)}
        with fabric.Connection(
            self._server.address, user="root", port=self._server.port, connect_kwargs=key
        ) as connection:
            connection.put(str(blob.path), str(self._landing))

    def forget(self, blob: Blob) -> None:
        """Remove what a way has brought, having seen that it is all there."""
        for path in (self._landing, self._server.home / "agent" / "blobs" / blob.sha256):
            if path.exists():
                assert path.stat().st_size == blob.size_bytes, path
                path.unlink()
        os.sync()  # what one way leaves to be written must not slow down the next

    def end(self) -> None:
        self.reach().link.request("shutdown", force=True)

    def _options(self) -> list[str]:
        known_hosts = f"UserKnownHostsFile={self._known_hosts}"
        key = str(self._server.client_key)
        return [str(self._server.port), "-i", key, "-o", known_hosts, "-o", "BatchMode=yes"]


def main(megabytes: int, rounds: int) -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        home = folder / "home"
        home.mkdir()
        # no forced command, which scp and sftp would not survive; and no start-up files of ours
        server = Sshd(
            folder / "sshd",
            generate_key(folder / "key"),
            own_home=False,
            options=[f'SetEnv "HOME={home}"'],
        )
        with server:
            target = Target(server, folder)
            _compare(target, _blob(folder / "file", megabytes * MEGABYTE), rounds)
            _already_there(target, folder)
            target.end()


def _compare(target: Target, blob: Blob, rounds: int) -> None:
    ways: dict[str, Callable[[Blob], None]] = {
        "orchestrate": target.ours,
        "scp": target.scp,
        "sftp": target.sftp,
        "fabric put": target.fabric,
    }
    taken: dict[str, list[float]] = {way: [] for way in ways}
    for number in range(rounds + 1):  # the first is a warm-up: the agent is started in it
        for way in random.sample(list(ways), len(ways)):
            start = time.perf_counter()
            ways[way](blob)
            seconds = time.perf_counter() - start
            target.forget(blob)
            if number:
                taken[way].append(seconds)
    print(f"{blob.size_bytes / MEGABYTE:.0f} MB, {rounds} rounds")
    print("way           median s     MB/s   its time / ours")
    for way, seconds_of in taken.items():
        median = statistics.median(seconds_of)
        ratios = [a / b for a, b in zip(seconds_of, taken["orchestrate"], strict=True)]
        rate = blob.size_bytes / MEGABYTE / median
        spread = f"{statistics.median(ratios):.2f}  [{min(ratios):.2f}, {max(ratios):.2f}]"
        print(f"{way:<12} {median:>9.2f} {rate:>8.0f}   {spread}")


def _already_there(target: Target, folder: Path) -> None:
    blobs = [_blob(folder / f"large-{number}", LARGE_BYTES) for number in range(LARGE_FILES)]
    for what in ("the first time", "again, all of it there"):
        node = target.reach()
        start = time.perf_counter()
        pushed = push(node, blobs, lambda blob, sent: None)
        seconds = time.perf_counter() - start
        node.close()
        print(f"4 GB in {LARGE_FILES} files, {what}: {pushed / 1e9:.1f} GB in {seconds:.3f} s")


def _blob(path: Path, size: int) -> Blob:
    digest, piece = hashlib.sha256(), random.Random(path.name).randbytes(MEGABYTE)
    with path.open("wb") as file:
        for _ in range(size // MEGABYTE):
            digest.update(piece)
            file.write(piece)
    return Blob(digest.hexdigest(), path, size)


if __name__ == "__main__":
    main(int((sys.argv[1:2] or ["500"])[0]), int((sys.argv[2:3] or ["7"])[0]))
