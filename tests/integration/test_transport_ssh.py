"""What only ``ssh`` does: configuration, keys, host keys, jump hosts, and how each of it fails."""

from __future__ import annotations

import contextlib
import shlex
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from orchestrator.errors import (
    AuthenticationError,
    HostKeyError,
    PermanentDeviceError,
    TransientDeviceError,
)
from orchestrator.fleet.ssh import SshEndpoint, SshTransport
from tests.sshd import Sshd, add_to_agent, free_port, generate_key, ssh_agent


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the key ``id`` that the servers let in, and ``other`` that they do not."""
    folder = tmp_path_factory.mktemp("keys")
    for name in ("id", "other"):
        generate_key(folder / name)
    generate_key(folder / "locked", passphrase="secret")
    return folder


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, keys: Path) -> Iterator[Sshd]:
    with Sshd(tmp_path_factory.mktemp("sshd") / "far", keys / "id") as sshd:
        sshd.authorize(keys / "locked")
        yield sshd


@pytest.fixture(autouse=True)
def ssh_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty ~/.ssh of our own, and no agent."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    folder = tmp_path / ".ssh"
    folder.mkdir(mode=0o700)
    return folder


def endpoint(server: Sshd, **given: object) -> SshEndpoint:
    fields: dict[str, object] = {
        "device": "far",
        "host": server.address,
        "port": server.port,
        "key_file": server.client_key,
        "connect_timeout_s": 10.0,
        **given,
    }
    return SshEndpoint(**fields)  # type: ignore[arg-type]


def says_hello(where: SshEndpoint) -> str:
    """Connect, run a command, and return how the transport describes itself."""
    transport = SshTransport(where)
    transport.connect()
    try:
        assert transport.run(["echo", "hello"], timeout_s=10).stdout == b"hello\n"
        return transport.describe()
    finally:
        transport.close()


def follow(message: object) -> None:
    """Run the command that a message tells to accept the key with."""
    command = str(message).rpartition("then accept it with: ")[2]
    subprocess.run(["sh", "-c", command], check=True, capture_output=True, timeout=20)


# --- configuration ---------------------------------------------------------------------------


def test_an_alias_of_the_configuration(server: Sshd, keys: Path, ssh_folder: Path) -> None:
    (ssh_folder / "kh").write_text(server.known_hosts_line())
    (ssh_folder / "inc").write_text(f"Host la*\n  Port {server.port} # where it listens\n")
    (ssh_folder / "config").write_text(
        "Include inc\n"
        f"Host lab\n  HostName {server.address}\n  IdentityFile {keys}/other\n"
        f"  IdentityFile {keys}/id\n  UserKnownHostsFile ~/.ssh/none {ssh_folder}/kh\n"
    )
    described = says_hello(SshEndpoint("far", "lab"))
    assert described.endswith(f"@{server.address}:{server.port}")


def test_the_devices_own_ssh_config_replaces_the_users(
    server: Sshd, ssh_folder: Path, tmp_path: Path
) -> None:
    (ssh_folder / "known_hosts").write_text(server.known_hosts_line())
    (ssh_folder / "config").write_text("Host lab\n  HostName 192.0.2.1\n")
    own = tmp_path / "own config"
    own.write_text(
        f"Host lab\n  HostName {server.address}\n  Port {server.port}\n"
        f"  IdentityFile {server.client_key}\n"
    )
    says_hello(SshEndpoint("far", "lab", ssh_config=own))


def test_what_the_device_gives_wins_over_the_configuration(
    server: Sshd, ssh_folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "kh").write_text(server.known_hosts_line())
    (ssh_folder / "config").write_text(
        "Host *\n  Port 1\n  User nobody-here\n  ProxyCommand false\n"
        "  UserKnownHostsFile /dev/null\n"
    )
    where = endpoint(server, user="root", known_hosts=tmp_path / "kh")
    with pytest.raises(TransientDeviceError):  # the ProxyCommand holds, nothing replaces it
        says_hello(where)
    (ssh_folder / "config").write_text("Host *\n  Port 1\n  User nobody-here\n")
    says_hello(where)


def test_a_proxy_command(server: Sshd, ssh_folder: Path) -> None:
    relay = (
        "import socket,sys,threading,os,shutil\n"
        "s=socket.create_connection((sys.argv[1],int(sys.argv[2])))\n"
        "threading.Thread(target=lambda:[s.sendall(d) for d in iter(lambda:os.read(0,65536),b'')],"
        "daemon=True).start()\n"
        "[os.write(1,d) for d in iter(lambda:s.recv(65536),b'')]\n"
    )
    (ssh_folder / "relay.py").write_text(relay)
    (ssh_folder / "known_hosts").write_text(server.known_hosts_line())
    (ssh_folder / "config").write_text(
        f"Host *\n  ProxyCommand python3 {ssh_folder}/relay.py %h %p\n"
    )
    says_hello(endpoint(server))


def test_a_proxy_command_that_fails_is_quoted(server: Sshd, ssh_folder: Path) -> None:
    (ssh_folder / "config").write_text("Host *\n  ProxyCommand sh -c 'echo no way >&2; exit 1'\n")
    with pytest.raises(TransientDeviceError, match="ProxyCommand said: no way"):
        says_hello(endpoint(server))


# --- keys ------------------------------------------------------------------------------------


@pytest.fixture
def known(server: Sshd, ssh_folder: Path) -> None:
    (ssh_folder / "known_hosts").write_text(server.known_hosts_line())


def test_the_default_keys_are_tried(
    server: Sshd, keys: Path, ssh_folder: Path, known: None
) -> None:
    (ssh_folder / "id_ed25519").write_bytes((keys / "id").read_bytes())
    says_hello(endpoint(server, key_file=None))


@pytest.mark.parametrize("kind", ["rsa", "ecdsa"])
def test_keys_of_other_types(server: Sshd, tmp_path: Path, known: None, kind: str) -> None:
    key = generate_key(tmp_path / "key", kind)
    server.authorize(key)
    says_hello(endpoint(server, key_file=key))


def test_a_wrong_key_is_named_with_the_way_to_test(
    server: Sshd, keys: Path, tmp_path: Path, known: None
) -> None:
    where = endpoint(server, key_file=keys / "other", user="root")
    with pytest.raises(AuthenticationError) as raised:
        says_hello(where)
    message = str(raised.value)
    assert f"root@{server.address}:{server.port}" in message
    assert f"tried {keys}/other (SHA256:" in message
    assert f"ssh -v -o BatchMode=yes -i {keys}/other -p {server.port} -l root" in message


def test_no_key_at_all(server: Sshd, known: None) -> None:
    with pytest.raises(AuthenticationError, match="there is none in the agent"):
        says_hello(endpoint(server, key_file=None))


def test_a_key_file_that_is_missing(server: Sshd, tmp_path: Path, known: None) -> None:
    with pytest.raises(AuthenticationError, match="nowhere: there is no such file"):
        says_hello(endpoint(server, key_file=tmp_path / "nowhere"))


def test_a_key_file_that_is_none(server: Sshd, tmp_path: Path, known: None) -> None:
    (tmp_path / "odd").write_text("this is not a key")
    with pytest.raises(AuthenticationError, match="odd: is not a private key we can use"):
        says_hello(endpoint(server, key_file=tmp_path / "odd"))


def test_an_encrypted_key_without_agent_asks_for_ssh_add(
    server: Sshd, keys: Path, known: None
) -> None:
    with pytest.raises(AuthenticationError, match=f"run `ssh-add {keys}/locked` first"):
        says_hello(endpoint(server, key_file=keys / "locked"))


def test_the_agent(
    server: Sshd, keys: Path, tmp_path: Path, known: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ssh_agent(tmp_path) as agent:
        monkeypatch.setenv("SSH_AUTH_SOCK", str(agent))
        add_to_agent(agent, keys / "locked", "secret")
        says_hello(endpoint(server, key_file=None))
        says_hello(endpoint(server, key_file=keys / "locked"))


def test_an_agent_of_the_hosts_own(
    server: Sshd, keys: Path, tmp_path: Path, known: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """IdentityAgent wins over SSH_AUTH_SOCK, as with OpenSSH."""
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    (tmp_path / "a b").mkdir()
    configuration = tmp_path / ".ssh/config"
    configuration.write_text(f'Host *\n  IdentityAgent "{tmp_path}/a b/agent.sock"\n')
    with pytest.raises(AuthenticationError) as raised:
        says_hello(endpoint(server, key_file=None))
    assert f"the agent at {tmp_path}/a b/agent.sock: No such file or directory" in str(raised.value)
    with ssh_agent(tmp_path / "a b") as own, ssh_agent(tmp_path) as other:
        add_to_agent(own, keys / "locked", "secret")
        says_hello(endpoint(server, key_file=None))
        monkeypatch.setenv("SSH_AUTH_SOCK", str(other))
        says_hello(endpoint(server, key_file=None))
        configuration.write_text("")
        with pytest.raises(AuthenticationError):
            says_hello(endpoint(server, key_file=None))
        add_to_agent(other, keys / "locked", "secret")
        says_hello(endpoint(server, key_file=None))


def test_the_given_key_comes_before_a_crowd_in_the_agent(
    server: Sshd, tmp_path: Path, known: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ssh_agent(tmp_path) as agent:
        monkeypatch.setenv("SSH_AUTH_SOCK", str(agent))
        for i in range(8):
            add_to_agent(agent, generate_key(tmp_path / f"crowd{i}"))
        says_hello(endpoint(server))  # OpenSSH's order would run into MaxAuthTries
        with pytest.raises(AuthenticationError, match="after too many keys"):
            says_hello(endpoint(server, key_file=None))


def test_identities_only_keeps_the_agents_other_keys_back(
    server: Sshd, keys: Path, tmp_path: Path, known: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".ssh/config").write_text("Host *\n  IdentitiesOnly yes\n")
    with ssh_agent(tmp_path) as agent:
        monkeypatch.setenv("SSH_AUTH_SOCK", str(agent))
        add_to_agent(agent, keys / "id")
        with pytest.raises(AuthenticationError) as raised:
            says_hello(endpoint(server, key_file=keys / "other"))
        assert "a key of the agent" not in str(raised.value)
        # a public key alone names one of the agent's
        says_hello(endpoint(server, key_file=keys / "id.pub"))


def test_a_server_that_wants_a_password(tmp_path: Path, keys: Path, ssh_folder: Path) -> None:
    options = ["AuthenticationMethods password", "PasswordAuthentication yes"]
    with Sshd(tmp_path / "far", keys / "id", options=options) as server:
        (ssh_folder / "known_hosts").write_text(server.known_hosts_line())
        with pytest.raises(AuthenticationError, match="accepts only password, not keys"):
            says_hello(endpoint(server))


def test_a_second_factor_and_what_to_do_about_it(
    tmp_path: Path, keys: Path, ssh_folder: Path
) -> None:
    options = ["AuthenticationMethods publickey,password", "PasswordAuthentication yes"]
    with Sshd(tmp_path / "far", keys / "id", options=options) as server:
        (ssh_folder / "known_hosts").write_text(server.known_hosts_line())
        with pytest.raises(AuthenticationError) as raised:
            says_hello(endpoint(server))
    message = str(raised.value)
    assert f"{keys}/id (SHA256:" in message
    assert "is accepted, but the server wants password as well" in message
    assert "AuthenticationMethods publickey" in message and "no key" not in message


# --- certificates of users -------------------------------------------------------------------


@pytest.fixture
def user_certificates(tmp_path: Path, keys: Path, ssh_folder: Path) -> Iterator[tuple[Sshd, Path]]:
    """A server that lets in only whom its authority signed, and a key so signed; its certificate
    lies elsewhere."""
    authority = generate_key(tmp_path / "authority")
    key = generate_key(tmp_path / "mine")
    sign_user(authority, key, tmp_path / "certificates" / "mine")
    public = authority.with_suffix(".pub")
    with Sshd(tmp_path / "far", keys / "other", options=[f"TrustedUserCAKeys {public}"]) as server:
        (ssh_folder / "known_hosts").write_text(server.known_hosts_line())
        yield server, key


def sign_user(authority: Path, key: Path, certificate: Path) -> None:
    public = key.with_name(f"{key.name}.pub")
    command = ["ssh-keygen", "-q", "-s", str(authority), "-I", "id", "-n", "root", str(public)]
    subprocess.run(command, check=True, capture_output=True)
    certificate.parent.mkdir(exist_ok=True)
    key.with_name(f"{key.name}-cert.pub").rename(certificate)


@pytest.mark.parametrize("kind", ["ed25519", "ecdsa", "rsa"])
def test_a_certificate_file_of_the_configuration(
    user_certificates: tuple[Sshd, Path], tmp_path: Path, ssh_folder: Path, kind: str
) -> None:
    server, _ = user_certificates
    key = generate_key(tmp_path / "another", kind)
    sign_user(tmp_path / "authority", key, tmp_path / "certificates" / "an other")
    with pytest.raises(AuthenticationError, match="none of the keys is accepted"):
        says_hello(endpoint(server, key_file=key))
    (ssh_folder / "config").write_text(
        f"Host *\n  CertificateFile {tmp_path}/certificates/mine\n"
        '  CertificateFile "~/certificates/an other"\n'
    )
    says_hello(endpoint(server, key_file=key))


def test_a_certificate_for_a_key_of_the_agent(
    user_certificates: tuple[Sshd, Path],
    tmp_path: Path,
    ssh_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    server, key = user_certificates
    certificate = tmp_path / "certificates" / "mine"
    (ssh_folder / "config").write_text(f"Host *\n  CertificateFile {certificate}\n")
    with ssh_agent(tmp_path) as agent:
        monkeypatch.setenv("SSH_AUTH_SOCK", str(agent))
        add_to_agent(agent, key)
        says_hello(endpoint(server, key_file=None))
        says_hello(endpoint(server, key_file=key.with_name("mine.pub")))


def test_a_certificate_that_the_agent_holds(
    user_certificates: tuple[Sshd, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server, key = user_certificates
    (tmp_path / "certificates" / "mine").rename(tmp_path / "mine-cert.pub")
    with ssh_agent(tmp_path) as agent:
        monkeypatch.setenv("SSH_AUTH_SOCK", str(agent))
        add_to_agent(agent, key)
        (tmp_path / "mine-cert.pub").unlink()
        says_hello(endpoint(server, key_file=None))


def test_a_key_whose_certificate_is_not_accepted_is_tried_by_itself(
    server: Sshd, keys: Path, tmp_path: Path, known: None
) -> None:
    key = tmp_path / "own"
    for suffix in ("", ".pub"):
        shutil.copy(keys / f"id{suffix}", f"{key}{suffix}")
    sign_user(generate_key(tmp_path / "impostor"), key, tmp_path / "own-cert.pub")
    says_hello(endpoint(server, key_file=key))


def test_certificate_files_that_are_none_are_named(
    server: Sshd, keys: Path, ssh_folder: Path, known: None
) -> None:
    (ssh_folder / "config").write_text(
        f"Host *\n  CertificateFile {ssh_folder}/none\n  CertificateFile {keys}/id.pub\n"
    )
    says_hello(endpoint(server))
    with pytest.raises(AuthenticationError) as raised:
        says_hello(endpoint(server, key_file=keys / "other"))
    assert f"tried certificate {ssh_folder}/none: No such file" in str(raised.value)
    assert f"tried certificate {keys}/id.pub: it is not a certificate" in str(raised.value)


# --- host keys -------------------------------------------------------------------------------


def test_an_unknown_host_key_and_its_remedy(server: Sshd, ssh_folder: Path) -> None:
    with pytest.raises(HostKeyError) as raised:
        says_hello(endpoint(server))
    message = str(raised.value)
    printed = subprocess.run(
        ["ssh-keygen", "-lf", server.host_key("ed25519")],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()[1]
    assert printed in message
    assert f"{server.address}:{server.port} is unknown: ssh-ed25519" in message
    assert f"looked in: {ssh_folder}/known_hosts" in message
    assert (
        f"ssh-keyscan -p {server.port} -t ed25519 {server.address} >> {ssh_folder}/known_hosts"
        in message
    )
    follow(raised.value)
    says_hello(endpoint(server))


def test_the_remedy_makes_a_folder_that_is_missing(server: Sshd, tmp_path: Path) -> None:
    where = endpoint(server, known_hosts=tmp_path / "new folder" / "known hosts")
    with pytest.raises(HostKeyError) as raised:
        says_hello(where)
    follow(raised.value)
    says_hello(where)


@pytest.mark.parametrize("kind", ["rsa", "ecdsa", "ed25519"])
def test_the_key_type_that_is_known_is_negotiated(
    server: Sshd, ssh_folder: Path, kind: str
) -> None:
    (ssh_folder / "known_hosts").write_text(server.known_hosts_line(kind))
    says_hello(endpoint(server))


def test_hashed_names(server: Sshd, ssh_folder: Path) -> None:
    file = ssh_folder / "known_hosts"
    file.write_text(server.known_hosts_line())
    subprocess.run(["ssh-keygen", "-H", "-f", file], check=True, capture_output=True)
    assert server.address not in file.read_text()
    says_hello(endpoint(server))


def test_a_host_key_alias_and_its_remedy(server: Sshd, ssh_folder: Path) -> None:
    (ssh_folder / "config").write_text("Host *\n  HostKeyAlias the-lab\n")
    (ssh_folder / "known_hosts").write_text(server.known_hosts_line())
    with pytest.raises(HostKeyError) as raised:
        says_hello(endpoint(server))
    follow(raised.value)
    says_hello(endpoint(server))
    assert "the-lab ssh-ed25519" in (ssh_folder / "known_hosts").read_text()


def test_the_global_file_counts(server: Sshd, ssh_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "global").write_text(server.known_hosts_line())
    (ssh_folder / "config").write_text(f"Host *\n  GlobalKnownHostsFile {tmp_path}/global\n")
    says_hello(endpoint(server))


def test_a_broken_line_hides_nothing(server: Sshd, ssh_folder: Path) -> None:
    (ssh_folder / "known_hosts").write_bytes(
        b"garbage\n[x ssh-ed25519 !!!!\n\xff\xfe\n@what a b c\n"
        + server.known_hosts_line().encode()
    )
    says_hello(endpoint(server))


def test_a_changed_host_key_and_its_remedy(tmp_path: Path, keys: Path, ssh_folder: Path) -> None:
    server = Sshd(tmp_path / "far", keys / "id")
    file = ssh_folder / "known_hosts"
    with server:
        file.write_text("# mine\n" + server.known_hosts_line())
        says_hello(endpoint(server))
    server.rotate_host_key("ed25519")
    with server:
        with pytest.raises(HostKeyError, match="has CHANGED") as raised:
            says_hello(endpoint(server))
        message = str(raised.value)
        assert message.count("SHA256:") == 2
        assert f"{file}:2" in message
        assert f"ssh-keygen -R '[127.0.0.1]:{server.port}' -f {file}" in message
        follow(raised.value)
        says_hello(endpoint(server))


def test_a_changed_key_under_a_wildcard_has_a_remedy_too(server: Sshd, ssh_folder: Path) -> None:
    wrong = generate_key(ssh_folder / "wrong").with_suffix(".pub").read_text()
    (ssh_folder / "known_hosts").write_text(f"[127.0.0.*]:* {wrong}\n")
    with pytest.raises(HostKeyError, match="has CHANGED") as raised:
        says_hello(endpoint(server))
    follow(raised.value)
    says_hello(endpoint(server))


def test_a_revoked_key_has_no_remedy(server: Sshd, ssh_folder: Path) -> None:
    line = server.known_hosts_line()
    (ssh_folder / "known_hosts").write_text(line + "@revoked " + line)
    with pytest.raises(HostKeyError, match=r"marked @revoked in .*known_hosts:2") as raised:
        says_hello(endpoint(server))
    assert "accept it" not in str(raised.value)


# --- host certificates -----------------------------------------------------------------------


def signed(
    server: Sshd, authority: Path, kind: str, *options: str, names: str | None = None
) -> None:
    """Give ``server`` a certificate of its ``kind`` key, signed by ``authority``."""
    command = ["ssh-keygen", "-q", "-s", str(authority), "-I", "id", "-h", "-n"]
    command += [names or server.address, *options, str(server.host_key(kind).with_suffix(".pub"))]
    subprocess.run(command, check=True, capture_output=True)


@pytest.fixture
def certified(tmp_path: Path, keys: Path) -> Iterator[Callable[[str], Sshd]]:
    """Makes a server that shows a certificate of one type beside its plain keys."""
    made: list[Sshd] = []

    def make(kind: str) -> Sshd:
        folder = tmp_path / "certified"
        certificate = folder / f"ssh_host_{kind}_key-cert.pub"
        server = Sshd(folder, keys / "id", options=[f"HostCertificate {certificate}"])
        made.append(server)
        return server

    yield make
    for server in made:
        server.stop()


def trust(folder: Path, authority: Path, name: str, mark: str = "@cert-authority") -> None:
    with (folder / "known_hosts").open("a") as file:
        file.write(f"{mark} {name} {authority.with_suffix('.pub').read_text()}")


def openssh_agrees(server: Sshd, folder: Path) -> bool:
    """Whether OpenSSH's own client takes the host for the one that is meant."""
    options = ["-F", "none", "-i", str(server.client_key), "-p", str(server.port)]
    options += ["-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=yes"]
    options += ["-o", f"UserKnownHostsFile={folder / 'known_hosts'}"]
    done = subprocess.run(
        ["ssh", *options, f"root@{server.address}", "true"], capture_output=True, check=False
    )
    return done.returncode == 0


@pytest.mark.parametrize("kind", ["ed25519", "ecdsa", "rsa"])
def test_a_certificate_of_a_trusted_authority_is_enough(
    certified: Callable[[str], Sshd], ssh_folder: Path, tmp_path: Path, kind: str
) -> None:
    server = certified(kind)
    authority = generate_key(tmp_path / "authority", kind)
    signed(server, authority, kind)
    trust(ssh_folder, authority, "[127.0.0.*]:*")
    with server:
        says_hello(endpoint(server))
        assert openssh_agrees(server, ssh_folder)


@pytest.mark.parametrize(
    ("options", "names", "why"),
    [
        (("-V", "20200101:20210101"), None, "it has expired"),
        (("-V", "20900101:20910101"), None, "it is not valid yet"),
        ((), "elsewhere.example,*.example", r"it is for elsewhere.example,\s\*.example"),
    ],
)
def test_a_certificate_that_does_not_vouch_for_the_host(
    certified: Callable[[str], Sshd],
    ssh_folder: Path,
    tmp_path: Path,
    options: tuple[str, ...],
    names: str | None,
    why: str,
) -> None:
    server = certified("ed25519")
    authority = generate_key(tmp_path / "authority")
    signed(server, authority, "ed25519", *options, names=names)
    trust(ssh_folder, authority, server.known_hosts_name)
    with server:
        assert not openssh_agrees(server, ssh_folder)
        with pytest.raises(HostKeyError, match=f"certificate is not accepted: {why}") as raised:
            says_hello(endpoint(server))
        # as with OpenSSH the plain key in it may be known all the same
        follow(raised.value)
        says_hello(endpoint(server))
        assert openssh_agrees(server, ssh_folder)


def test_a_certificate_of_another_authority(
    certified: Callable[[str], Sshd], ssh_folder: Path, tmp_path: Path
) -> None:
    server = certified("ed25519")
    signed(server, generate_key(tmp_path / "impostor"), "ed25519")
    trust(ssh_folder, generate_key(tmp_path / "authority"), server.known_hosts_name)
    with server:
        with pytest.raises(HostKeyError, match="an authority that is not trusted"):
            says_hello(endpoint(server))
        assert not openssh_agrees(server, ssh_folder)
        # trusted, but for another host
        trust(ssh_folder, tmp_path / "impostor", "elsewhere")
        with pytest.raises(HostKeyError, match="an authority that is not trusted"):
            says_hello(endpoint(server))


def test_a_users_certificate_is_none_of_a_host(
    certified: Callable[[str], Sshd], ssh_folder: Path, tmp_path: Path
) -> None:
    server = certified("ed25519")
    authority = generate_key(tmp_path / "authority")
    command = ["ssh-keygen", "-q", "-s", str(authority), "-I", "id", "-n", server.address]
    public = server.host_key("ed25519").with_suffix(".pub")
    subprocess.run([*command, str(public)], check=True, capture_output=True)
    trust(ssh_folder, authority, server.known_hosts_name)
    with server, pytest.raises(HostKeyError, match="is unknown"):
        says_hello(endpoint(server))


def test_a_revoked_authority_vouches_for_nobody(
    certified: Callable[[str], Sshd], ssh_folder: Path, tmp_path: Path
) -> None:
    server = certified("ed25519")
    authority = generate_key(tmp_path / "authority")
    signed(server, authority, "ed25519")
    trust(ssh_folder, authority, server.known_hosts_name)
    with server:
        says_hello(endpoint(server))
        trust(ssh_folder, authority, "*", mark="@revoked")
        assert not openssh_agrees(server, ssh_folder)
        with pytest.raises(HostKeyError, match="known_hosts:1 is marked @revoked"):
            says_hello(endpoint(server))


def test_a_host_without_a_certificate_is_told_so(server: Sshd, ssh_folder: Path) -> None:
    trust(ssh_folder, server.host_key("ecdsa"), server.known_hosts_name)
    with pytest.raises(HostKeyError, match="certificate is not accepted: it showed none"):
        says_hello(endpoint(server))


def test_accept_new_stores_the_key_once(server: Sshd, ssh_folder: Path) -> None:
    (ssh_folder / "config").write_text(
        "Host *\n  StrictHostKeyChecking accept-new\n  HashKnownHosts no\n"
    )
    file = ssh_folder / "known_hosts"
    file.write_text("# no newline at the end")
    says_hello(endpoint(server))
    says_hello(endpoint(server))
    assert file.read_text() == "# no newline at the end\n" + server.known_hosts_line()


def test_accept_new_hashes_names_where_asked(server: Sshd, ssh_folder: Path) -> None:
    (ssh_folder / "config").write_text(
        "Host *\n  StrictHostKeyChecking accept-new\n  HashKnownHosts yes\n"
    )
    says_hello(endpoint(server))
    says_hello(endpoint(server))
    file = ssh_folder / "known_hosts"
    assert file.read_text().count("\n") == 1
    assert server.address not in file.read_text()
    found = subprocess.run(
        ["ssh-keygen", "-F", server.known_hosts_name, "-f", file], capture_output=True, check=True
    )
    assert b"ssh-ed25519" in found.stdout


def test_accept_new_accepts_no_other_key(server: Sshd, ssh_folder: Path) -> None:
    (ssh_folder / "config").write_text("Host *\n  StrictHostKeyChecking accept-new\n")
    wrong = generate_key(ssh_folder / "wrong").with_suffix(".pub").read_text()
    (ssh_folder / "known_hosts").write_text(f"{server.known_hosts_name} {wrong}\n")
    with pytest.raises(HostKeyError, match="has CHANGED"):
        says_hello(endpoint(server))


def test_checking_cannot_be_switched_off(server: Sshd, ssh_folder: Path) -> None:
    (ssh_folder / "config").write_text("Host *\n  StrictHostKeyChecking no\n")
    with pytest.raises(HostKeyError, match="StrictHostKeyChecking no is not followed here"):
        says_hello(endpoint(server))


# --- jump hosts ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def jumps(tmp_path_factory: pytest.TempPathFactory, keys: Path) -> Iterator[tuple[Sshd, Sshd]]:
    """Two jump hosts; the second lets in only the key ``other``."""
    folder = tmp_path_factory.mktemp("jumps")
    with Sshd(folder / "one", keys / "id") as one, Sshd(folder / "two", keys / "other") as two:
        yield one, two


def write_chain_config(folder: Path, server: Sshd, one: Sshd, two: Sshd) -> None:
    (folder / "config").write_text(
        f"Host one\n  HostName {one.address}\n  Port {one.port}\n  IdentityFile {one.client_key}\n"
        f"Host second\n  HostName {two.address}\n  IdentityFile {two.client_key}\n"
        f"Host lab\n  HostName {server.address}\n  Port {server.port}\n"
        f"  IdentityFile {server.client_key}\n  ProxyJump one,root@second:{two.port}\n"
    )


def test_two_jump_hosts_of_the_configuration(
    server: Sshd, jumps: tuple[Sshd, Sshd], ssh_folder: Path
) -> None:
    write_chain_config(ssh_folder, server, *jumps)
    lines = [host.known_hosts_line() for host in (server, *jumps)]
    (ssh_folder / "known_hosts").write_text("".join(lines))
    described = says_hello(SshEndpoint("far", "lab", connect_timeout_s=10))
    ports = [part.rpartition(":")[2] for part in described.split(" via ")]
    assert ports == [str(host.port) for host in (server, jumps[1], jumps[0])]
    assert jumps[0].log.count("Accepted publickey") >= 1
    assert jumps[1].log.count("Accepted publickey") >= 1


def test_jump_hosts_at_other_ports_of_the_targets_address(
    server: Sshd, jumps: tuple[Sshd, Sshd], ssh_folder: Path
) -> None:
    one, two = jumps
    assert one.address == two.address == server.address
    (ssh_folder / "config").write_text(
        f"Host lab\n  HostName {server.address}\n  Port {server.port}\n"
        f"  ProxyJump {one.address}:{one.port},{two.address}:{two.port}\n"
        f"Host *\n  IdentityFile {server.client_key}\n  IdentityFile {two.client_key}\n"
    )
    lines = [host.known_hosts_line() for host in (server, one, two)]
    (ssh_folder / "known_hosts").write_text("".join(lines))
    described = says_hello(SshEndpoint("far", "lab", connect_timeout_s=10))
    ports = [part.rpartition(":")[2] for part in described.split(" via ")]
    assert ports == [str(host.port) for host in (server, two, one)]


def test_gateways_of_the_inventory(
    server: Sshd, jumps: tuple[Sshd, Sshd], ssh_folder: Path
) -> None:
    first = endpoint(jumps[0], device="one")
    second = endpoint(jumps[1], device="two", gateway=first)
    lines = [host.known_hosts_line() for host in (server, *jumps)]
    (ssh_folder / "known_hosts").write_text("".join(lines))
    (ssh_folder / "config").write_text("Host *\n  ProxyJump nowhere.invalid\n")
    with pytest.raises(TransientDeviceError, match="does not resolve"):
        says_hello(endpoint(server, gateway=second))  # the first hop still follows the config
    (ssh_folder / "config").unlink()
    says_hello(endpoint(server, gateway=second))


def test_every_hop_of_a_chain_is_verified_with_a_remedy_that_works(
    server: Sshd, jumps: tuple[Sshd, Sshd], ssh_folder: Path
) -> None:
    write_chain_config(ssh_folder, server, *jumps)
    for host in (jumps[0], jumps[1], server):
        with pytest.raises(HostKeyError, match=f":{host.port} is unknown") as raised:
            says_hello(SshEndpoint("far", "lab", connect_timeout_s=10))
        assert ("ssh-keyscan" in str(raised.value)) == (host is jumps[0])
        follow(raised.value)
    says_hello(SshEndpoint("far", "lab", connect_timeout_s=10))


def test_a_jump_host_that_does_not_forward(
    server: Sshd, tmp_path: Path, keys: Path, ssh_folder: Path
) -> None:
    with Sshd(tmp_path / "jump", keys / "id", options=["AllowTcpForwarding no"]) as jump:
        (ssh_folder / "known_hosts").write_text(jump.known_hosts_line())
        with pytest.raises(PermanentDeviceError, match="AllowTcpForwarding"):
            says_hello(endpoint(server, gateway=endpoint(jump, device="jump")))


def test_a_target_that_refuses_the_jump_host(
    jumps: tuple[Sshd, Sshd], server: Sshd, ssh_folder: Path
) -> None:
    (ssh_folder / "known_hosts").write_text(jumps[0].known_hosts_line())
    where = endpoint(server, port=free_port(), gateway=endpoint(jumps[0], device="jump"))
    with pytest.raises(TransientDeviceError, match=f"port {where.port}.*reachable from there"):
        says_hello(where)


def test_jump_hosts_in_a_circle(ssh_folder: Path) -> None:
    (ssh_folder / "config").write_text("Host a\n  ProxyJump b\nHost b\n  ProxyJump a\n")
    with pytest.raises(PermanentDeviceError, match="circle"):
        SshTransport(SshEndpoint("far", "a")).connect()


# --- what breaks -----------------------------------------------------------------------------


def test_a_refused_port(server: Sshd) -> None:
    port = free_port()
    with pytest.raises(TransientDeviceError, match=f"127.0.0.1:{port}: the connection is refused"):
        says_hello(endpoint(server, port=port))


def test_a_name_that_does_not_resolve(server: Sshd) -> None:
    with pytest.raises(TransientDeviceError, match="does not resolve"):
        says_hello(endpoint(server, host="nowhere.invalid"))


def test_a_name_that_cannot_be_one(server: Sshd) -> None:
    with pytest.raises(PermanentDeviceError, match="is not a host name"):
        says_hello(endpoint(server, host="x" * 64 + ".invalid"))


@pytest.fixture
def listener() -> Iterator[Callable[[bytes], int]]:
    """Starts a port that answers each connection with the same bytes and then waits."""
    sockets: list[socket.socket] = []

    def serve(greeting: bytes) -> int:
        listening = socket.create_server(("127.0.0.1", 0))
        sockets.append(listening)

        def accept() -> None:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            sockets.append(connection)
            connection.sendall(greeting)

        threading.Thread(target=accept, daemon=True).start()
        return int(listening.getsockname()[1])

    yield serve
    for one in sockets:
        one.close()


def test_a_port_that_says_nothing(server: Sshd, listener: Callable[[bytes], int]) -> None:
    with pytest.raises(TransientDeviceError, match="no SSH greeting came"):
        says_hello(endpoint(server, port=listener(b""), connect_timeout_s=0.5))


def test_a_port_that_is_no_ssh_server(server: Sshd, listener: Callable[[bytes], int]) -> None:
    port = listener(b"HTTP/1.1 400 Bad Request\r\n" * 101)
    with pytest.raises(PermanentDeviceError, match="not an SSH server"):
        says_hello(endpoint(server, port=port))


@pytest.mark.parametrize(
    ("option", "offered", "remedy"),
    [
        (
            "Ciphers chacha20-poly1305@openssh.com",
            "of ciphers it offers only chacha20",
            "Ciphers in",
        ),
        (
            "KexAlgorithms sntrup761x25519-sha512@openssh.com",
            "of key exchanges it offers only sntrup761x25519-sha512@openssh.com",
            "KexAlgorithms in",
        ),
        (
            "KexAlgorithms diffie-hellman-group1-sha1",
            "of key exchanges it offers only diffie-hellman-group1-sha1",
            "update the SSH server there",
        ),
    ],
)
def test_no_algorithm_in_common(
    tmp_path: Path, keys: Path, ssh_folder: Path, option: str, offered: str, remedy: str
) -> None:
    with Sshd(tmp_path / "far", keys / "id", options=[option]) as server:
        (ssh_folder / "known_hosts").write_text(server.known_hosts_line())
        with pytest.raises(PermanentDeviceError, match="no algorithm in common") as raised:
            says_hello(endpoint(server))
    message = str(raised.value)
    assert offered in message and remedy in message
    assert ("outdated" in message) == ("sha1" in option)
    assert ("paramiko" in message) != ("sha1" in option)


def test_an_account_that_runs_no_commands(tmp_path: Path, keys: Path, ssh_folder: Path) -> None:
    options = ["MaxSessions 0"]
    with Sshd(tmp_path / "far", keys / "id", options=options) as server:
        (ssh_folder / "known_hosts").write_text(server.known_hosts_line())
        with pytest.raises(TransientDeviceError, match="opens no further session"):
            says_hello(endpoint(server))


def test_a_transport_that_was_never_connected(server: Sshd) -> None:
    transport = SshTransport(endpoint(server))
    with pytest.raises(TransientDeviceError, match="not connected"):
        transport.run(["true"], timeout_s=1)


@pytest.fixture
def breakable(tmp_path: Path, keys: Path, ssh_folder: Path) -> Iterator[Sshd]:
    with Sshd(tmp_path / "far", keys / "id") as server:
        (ssh_folder / "known_hosts").write_text(server.known_hosts_line())
        yield server


def test_the_connection_killed_in_mid_read(breakable: Sshd) -> None:
    transport = SshTransport(endpoint(breakable))
    transport.connect()
    channel = transport.open(["sleep", "600"])
    threading.Timer(0.2, breakable.kill_connections).start()
    with pytest.raises(TransientDeviceError, match=r"is gone: the connection to .* is lost"):
        channel.readline(None)
    with pytest.raises(TransientDeviceError, match="is lost"):
        transport.run(["true"], timeout_s=5)
    transport.connect()
    assert transport.run(["true"], timeout_s=5).exit_code == 0
    transport.close()


def test_the_server_killed_in_mid_transfer(breakable: Sshd, tmp_path: Path) -> None:
    transport = SshTransport(endpoint(breakable))
    transport.connect()
    big = tmp_path / "big"
    with big.open("wb") as out:
        out.truncate(500_000_000)  # a hole: it takes no room on the disk

    def pull_the_plug(sent: int) -> None:
        if sent > 20_000_000:
            breakable.kill()

    with big.open("rb") as stdin, pytest.raises(TransientDeviceError, match=r"cut off.*is lost"):
        transport.run(["sha256sum"], stdin=stdin, timeout_s=60, on_sent=pull_the_plug)
    with pytest.raises(TransientDeviceError, match="refused"):
        transport.connect()
    transport.close()


def test_no_secret_is_in_a_message(server: Sshd, keys: Path, known: None) -> None:
    with pytest.raises(AuthenticationError) as raised:
        says_hello(endpoint(server, key_file=keys / "other"))
    private = (keys / "other").read_text().splitlines()[1:-1]
    assert not any(line in str(raised.value) for line in private)
    assert shlex.quote(str(keys / "other")) in str(raised.value)


def test_a_fleet_behind_one_server_logs_in_by_turns(
    tmp_path: Path, keys: Path, ssh_folder: Path
) -> None:
    # with 10 about to log in this server drops every further one, as OpenSSH's default does some
    options = ["MaxStartups 10:100:10"]
    with Sshd(tmp_path / "sshd", keys / "id", options=options) as server, far_away(server) as port:
        name = f"[{server.address}]:{port}"
        (ssh_folder / "known_hosts").write_text(server.known_hosts_line(name=name))
        transports = [
            SshTransport(endpoint(server, port=port, device=f"d{n}", connect_timeout_s=120.0))
            for n in range(40)
        ]
        try:
            with ThreadPoolExecutor(len(transports)) as pool:
                list(pool.map(SshTransport.connect, transports))
            assert all(t.run(["true"], timeout_s=30).exit_code == 0 for t in transports)
        finally:
            for transport in transports:
                transport.close()
        assert "drop connection" not in server.log


@contextmanager
def far_away(server: Sshd) -> Iterator[int]:
    """A port that leads to the server with a delay, so that logging in takes as long as abroad."""

    def relay(near: socket.socket) -> None:
        far = socket.create_connection((server.address, server.port))
        for source, sink in ((near, far), (far, near)):
            threading.Thread(target=pass_on, args=(source, sink), daemon=True).start()

    def pass_on(source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                time.sleep(0.05)
                sink.sendall(data)
        with contextlib.suppress(OSError):
            sink.shutdown(socket.SHUT_RDWR)

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                relay(listener.accept()[0])

    with socket.create_server((server.address, 0)) as listener:
        threading.Thread(target=accept, daemon=True).start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
