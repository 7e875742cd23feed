"""Private OpenSSH servers for tests: the real ``sshd``, as the current user, all in one folder.

Every server has host keys, a port, an ``authorized_keys`` and a home folder of its own: commands
run with ``HOME`` set to it, so that several servers on one machine pass for several machines.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

HOST_KEY_TYPES = ("rsa", "ecdsa", "ed25519")
_READY_WITHIN_S = 15.0


def sshd_path() -> str:
    """Where sshd is; it insists on being started by its full path."""
    path = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
    if path is None:
        raise RuntimeError(
            "these tests need a real SSH server: install it (Debian, Ubuntu: "
            "`apt-get install openssh-server`)"
        )
    return path


def generate_key(path: Path, kind: str = "ed25519", passphrase: str = "") -> Path:
    """A new key pair at ``path`` and ``path.pub``, replacing what is there."""
    for old in (path, path.with_name(path.name + ".pub")):
        old.unlink(missing_ok=True)
    bits = ["-b", "2048"] if kind == "rsa" else []
    subprocess.run(
        ["ssh-keygen", "-q", "-t", kind, *bits, "-N", passphrase, "-C", path.name, "-f", path],
        check=True,
        capture_output=True,
    )
    return path


def free_port(address: str = "127.0.0.1") -> int:
    with socket.socket() as probe:
        probe.bind((address, 0))
        return int(probe.getsockname()[1])


@dataclass
class Sshd:
    """A server; a context manager that starts and stops it.

    ``folder`` holds everything of it. ``client_key`` is a private key that is let in.
    ``namespace`` is the network namespace it listens in, at ``address``. ``options`` are further
    sshd_config lines, which win over the ones here.
    """

    folder: Path
    client_key: Path
    address: str = "127.0.0.1"
    port: int = 0
    namespace: str | None = None
    options: Sequence[str] = ()
    host_key_types: Sequence[str] = HOST_KEY_TYPES
    own_home: bool = True

    def __post_init__(self) -> None:
        self._sshd = sshd_path()
        self._process: subprocess.Popen[bytes] | None = None
        self.home.mkdir(parents=True, exist_ok=True)
        if not self.port:
            self.port = 22 if self.namespace else free_port(self.address)
        for kind in self.host_key_types:
            self.rotate_host_key(kind)
        self.authorize(self.client_key)

    @property
    def home(self) -> Path:
        """``HOME`` of the commands that run there."""
        return self.folder / "home"

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text(errors="replace")

    @property
    def known_hosts_name(self) -> str:
        return self.address if self.port == 22 else f"[{self.address}]:{self.port}"

    def host_key(self, kind: str) -> Path:
        return self.folder / f"ssh_host_{kind}_key"

    def rotate_host_key(self, kind: str) -> None:
        """A new host key; a running server shows it after a restart."""
        generate_key(self.host_key(kind), kind)

    def known_hosts_line(self, kind: str = "ed25519", name: str | None = None) -> str:
        public = self.host_key(kind).with_suffix(".pub").read_text().split()
        return f"{name or self.known_hosts_name} {public[0]} {public[1]}\n"

    def device(
        self, name: str, *, python: str | None = sys.executable, **fields: Any
    ) -> dict[str, Any]:
        """The server as a device of an inventory, its key in a ``known_hosts`` of its own."""
        known_hosts = self.folder / "known_hosts"
        known_hosts.write_text(self.known_hosts_line())
        return {
            "name": name,
            "transport": "ssh",
            "host": self.address,
            "port": self.port,
            "user": "root",
            "key_file": self.client_key,
            "known_hosts": known_hosts,
            # servers on one machine need not wait for each other
            "exclusive": False,
            **({} if python is None else {"python": python}),
            **fields,
        }

    def authorize(self, key: Path) -> None:
        """Let ``key`` in, besides those already let in."""
        with (self.folder / "authorized_keys").open("a") as out:
            out.write(key.with_name(key.name + ".pub").read_text())

    def start(self) -> None:
        """Start and wait until it accepts connections."""
        Path("/run/sshd").mkdir(exist_ok=True)  # its privilege separation insists on it
        (self.folder / "sshd_config").write_text(self._config())
        inside = ["ip", "netns", "exec", self.namespace] if self.namespace else []
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [*inside, self._sshd, "-D", "-e", "-f", self.folder / "sshd_config"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._wait_until_ready()

    def stop(self) -> None:
        """End the server and every connection to it."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """As if the machine's plug were pulled, as far as a process can tell."""
        self._end(signal.SIGKILL)

    def kill_connections(self) -> None:
        """End every connection; the server goes on and accepts new ones."""
        if self._process is None:
            raise RuntimeError("it is not running")
        for pid in descendants(self._process.pid):
            _signal(pid, signal.SIGKILL)

    def __enter__(self) -> Sshd:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()
        self.end_leftovers()

    def end_leftovers(self) -> None:
        """End what sessions left running: every process whose ``HOME`` is this server's."""
        mark = b"HOME=" + os.fsencode(self.home)
        for environ in Path("/proc").glob("[0-9]*/environ"):
            with contextlib.suppress(OSError):
                if mark in environ.read_bytes().split(b"\0"):
                    _signal(int(environ.parent.name), signal.SIGKILL)

    def _end(self, number: signal.Signals) -> None:
        if self._process is None:
            return
        for pid in [self._process.pid, *descendants(self._process.pid)]:
            _signal(pid, number)
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + _READY_WITHIN_S
        while True:
            try:
                with socket.create_connection((self.address, self.port), timeout=1) as probe:
                    if probe.recv(4) == b"SSH-":
                        return
            except OSError:
                if self.namespace and self._unreachable_from_here():
                    return
            ended = self._process is None or self._process.poll() is not None
            if ended or time.monotonic() > deadline:
                raise RuntimeError(f"sshd does not accept connections: {self.log}")
            time.sleep(0.02)

    def _unreachable_from_here(self) -> bool:
        """A host behind a jump host is asked from its own namespace."""
        command = [
            "ip",
            "netns",
            "exec",
            str(self.namespace),
            "ss",
            "-Hltn",
            f"sport = {self.port}",
        ]
        return bool(subprocess.run(command, capture_output=True, check=False).stdout.strip())

    def _config(self) -> str:
        lines = [
            *self.options,
            f"Port {self.port}",
            f"ListenAddress {self.address}",
            *(f"HostKey {self.host_key(kind)}" for kind in self.host_key_types),
            f"AuthorizedKeysFile {self.folder / 'authorized_keys'}",
            "PidFile none",
            "StrictModes no",
            "UsePAM no",
            "UseDNS no",
            "PasswordAuthentication no",
            "KbdInteractiveAuthentication no",
            "PermitRootLogin prohibit-password",
            "AcceptEnv none",
            "Subsystem sftp internal-sftp",
        ]
        if not any(option.startswith("MaxStartups") for option in self.options):
            lines.append("MaxStartups 100")  # of this one the last line counts, not the first
        if self.own_home:
            # set before the login shell starts, which would else run the start-up files of the
            # user's real home; a session killed in the midst of them leaves their locks behind
            lines.append(f'SetEnv "HOME={self.home}"')
            lines.append(f"ForceCommand {self._session_script()}")
        return "\n".join(lines) + "\n"

    def _session_script(self) -> Path:
        """sshd starts commands in the password file's home; this goes to ours."""
        script = self.folder / "session"
        script.write_text('#!/bin/sh\ncd\nexec /bin/sh -c "$SSH_ORIGINAL_COMMAND"\n')
        script.chmod(0o755)
        return script


def descendants(pid: int) -> list[int]:
    """Every process below ``pid``."""
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            parent = int(stat.read_text().rpartition(")")[2].split()[1])
            children.setdefault(parent, []).append(int(stat.parent.name))
    found: list[int] = []
    pending = [pid]
    while pending:
        below = children.get(pending.pop(), [])
        found += below
        pending += below
    return found


def _signal(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


@contextlib.contextmanager
def ssh_agent(folder: Path) -> Iterator[Path]:
    """A real ssh-agent; yields its socket."""
    path = folder / "agent.sock"
    process = subprocess.Popen(["ssh-agent", "-D", "-a", path], stdout=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + _READY_WITHIN_S
        while not path.exists():
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError("ssh-agent does not start")
            time.sleep(0.01)
        yield path
    finally:
        process.terminate()
        process.wait()


def add_to_agent(agent: Path, key: Path, passphrase: str = "") -> None:
    """Load a key, typing its passphrase through SSH_ASKPASS."""
    askpass = key.parent / "askpass"
    askpass.write_text(f"#!/bin/sh\necho '{passphrase}'\n")
    askpass.chmod(0o700)
    environment = {
        **os.environ,
        "SSH_AUTH_SOCK": str(agent),
        "SSH_ASKPASS": str(askpass),
        "SSH_ASKPASS_REQUIRE": "force",
    }
    subprocess.run(["ssh-add", "-q", key], check=True, env=environment, stdin=subprocess.DEVNULL)
