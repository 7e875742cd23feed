"""From ~/.ssh/config and the inventory to the hops of a connection."""

from __future__ import annotations

import getpass
import os
import shlex
import subprocess
from pathlib import Path

import pytest

from orchestrator.errors import PermanentDeviceError
from orchestrator.fleet.ssh.config import SshConfigError, lookup
from orchestrator.fleet.ssh.route import Hop, SshEndpoint, route


@pytest.fixture(autouse=True)
def ssh_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty ~/.ssh, and no file of the system's."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr("orchestrator.fleet.ssh.config.SYSTEM_FILE", tmp_path / "system" / "config")
    folder = tmp_path / ".ssh"
    folder.mkdir()
    return folder


def settled(folder: Path, text: str, endpoint: SshEndpoint | None = None) -> Hop:
    (folder / "config").write_text(text)
    return route(endpoint or SshEndpoint("d", "lab"))[-1]


def test_nothing_configured(ssh_folder: Path) -> None:
    hop = route(SshEndpoint("d", "host.example"))[-1]
    assert (hop.host, hop.port, hop.user) == ("host.example", 22, getpass.getuser())
    assert [key.name for key in hop.keys] == ["id_ed25519", "id_ecdsa", "id_rsa"]
    assert not hop.keys_given
    assert hop.known_hosts == (ssh_folder / "known_hosts", ssh_folder / "known_hosts2")
    assert hop.address == f"{getpass.getuser()}@host.example:22"


def test_everything_configured(ssh_folder: Path) -> None:
    hop = settled(
        ssh_folder,
        """
        Host lab   # the one in the cellar
          HostName %h.example.org
          Port=2222
          User "cc"
          IdentityFile ~/.ssh/%r_key
          IdentityFile "~/.ssh/with space"
          IdentitiesOnly yes
          ConnectTimeout 7
          UserKnownHostsFile ~/kh1 "~/kh 2" /x/%h-%p-%r-%n-%%
          GlobalKnownHostsFile none
          HostKeyAlias Cellar
          StrictHostKeyChecking Accept-New
          AddressFamily inet6
          HashKnownHosts yes
        """,
    )
    home = ssh_folder.parent
    assert (hop.host, hop.port, hop.user) == ("lab.example.org", 2222, "cc")
    assert hop.keys == (ssh_folder / "cc_key", ssh_folder / "with space")
    assert hop.keys_given
    assert hop.only_given_keys
    assert hop.connect_timeout_s == 7
    assert hop.known_hosts == (
        home / "kh1",
        home / "kh 2",
        Path("/x/lab.example.org-2222-cc-lab-%"),
    )
    assert hop.global_known_hosts == ()
    assert hop.key_names == ("cellar",)
    assert (hop.checking, hop.address_family, hop.hash_names) == ("accept-new", "inet6", True)


def test_the_inventory_wins(ssh_folder: Path) -> None:
    endpoint = SshEndpoint(
        "d",
        "lab",
        port=1,
        user="me",
        key_file=Path("~/mine"),
        known_hosts=Path("~/kh"),
        connect_timeout_s=3,
    )
    hop = settled(
        ssh_folder,
        "Host lab\n Port 2\n User you\n IdentityFile ~/yours\n ConnectTimeout 9\n"
        " UserKnownHostsFile ~/other\nMatch user me\n HostName matched-by-user\n",
        endpoint,
    )
    home = ssh_folder.parent
    assert (hop.host, hop.port, hop.user) == ("matched-by-user", 1, "me")
    assert hop.keys == (home / "mine", home / "yours")
    assert hop.known_hosts == (home / "kh",)
    assert hop.connect_timeout_s == 3


def test_the_users_file_comes_before_the_systems(ssh_folder: Path) -> None:
    system = ssh_folder.parent / "system"
    (system / "config.d").mkdir(parents=True)
    (system / "config").write_text("Include config.d/*\nHost *\n User three\n")
    (system / "config.d" / "a").write_text("Host *\n Port 2\n User two\n")
    hop = settled(ssh_folder, "Host *\n User one\n")
    assert (hop.user, hop.port) == ("one", 2)
    own = ssh_folder / "own"
    own.write_text("")
    assert route(SshEndpoint("d", "lab", ssh_config=own))[-1].port == 22


def test_include_in_place(ssh_folder: Path) -> None:
    (ssh_folder / "conf.d").mkdir()
    (ssh_folder / "conf.d" / "a").write_text("Host other\n Port 1\nHost lab\n Port 2\n")
    (ssh_folder / "conf.d" / "b").write_text("Host lab\n Port 3\n User b\n")
    (ssh_folder / "inside").write_text("HostName inside.example\n")
    hop = settled(
        ssh_folder,
        "Include conf.d/* ~/.ssh/missing\nConnectTimeout 5\n"
        "Host lab\n Include inside\n AddressFamily inet\nHost x\n Include inside\n",
    )
    assert (hop.port, hop.user, hop.host) == (2, "b", "inside.example")
    # what follows an Include belongs to the block the Include stands in
    assert (hop.connect_timeout_s, hop.address_family) == (5, "inet")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Host lab\n Include nested\n", r"nested:1: a Host line in a file .* `Host lab`"),
        ("Include config\n", "nested deeper than 16"),
        ("Match tagged x\n Port 3\n", r"config:1: `Match tagged` is not supported"),
        ("Host lab\n Port\n", r"config:2: `Port` has no value"),
        ("Host lab\n Port many\n", "port `many` .* is not a number"),
        ("Host lab\n RevokedHostKeys /x\n", "RevokedHostKeys is not supported"),
        ("Host lab\n IdentityAgent ${NO_SUCH}/agent\n", r"IdentityAgent .*: NO_SUCH is not set"),
        ("Host lab\n ProxyJump a:b:c@d:e\n", r"ProxyJump `d:e` is not \[user@\]host\[:port\]"),
        ("Host 'lab\n", "the ssh configuration for lab cannot be used"),
    ],
)
def test_what_is_wrong_or_unsupported_is_refused(ssh_folder: Path, text: str, message: str) -> None:
    (ssh_folder / "nested").write_text("Host y\n Port 3\n")
    with pytest.raises(PermanentDeviceError, match=message):
        settled(ssh_folder, text)


@pytest.mark.parametrize(
    ("value", "use", "socket"),
    [
        ("none", False, None),
        ("SSH_AUTH_SOCK", True, None),
        ("$SSH_AUTH_SOCK", True, None),
        ("/x/agent", True, "/x/agent"),
        ('"~/a b/agent"', True, "{home}/a b/agent"),
        ("~/agent", True, "{home}/agent"),
        ("%d/%h.agent", True, "{home}/lab.agent"),
        ("/run/user/%i/agent", True, f"/run/user/{os.getuid()}/agent"),
        ("$OWN_AGENT", True, "/y/agent"),
        ("$NO_SUCH", False, None),
        ("${OWN_AGENT}.1", True, "/y/agent.1"),
    ],
)
def test_the_agent_that_a_host_is_given(
    ssh_folder: Path, monkeypatch: pytest.MonkeyPatch, value: str, use: bool, socket: str | None
) -> None:
    monkeypatch.setenv("OWN_AGENT", "/y/agent")
    hop = settled(ssh_folder, f"Host lab\n IdentityAgent {value}\n")
    expected = None if socket is None else Path(socket.format(home=Path.home()))
    assert (hop.use_agent, hop.agent_socket) == (use, expected)


def test_a_missing_file_of_the_devices_own_is_refused(ssh_folder: Path) -> None:
    with pytest.raises(SshConfigError, match="there is no such file"):
        lookup("lab", file=ssh_folder / "nowhere", user=None, port=None)


def test_jump_hosts_are_resolved_like_any_host(ssh_folder: Path) -> None:
    (ssh_folder / "config").write_text(
        "Host a\n HostName a.example\n User ua\n ProxyJump z:99\n"
        "Host b\n IdentityFile ~/b_key\n ProxyJump never\n"
        "Host lab\n ProxyJump a,ub@b:2222\n"
    )
    hops = route(SshEndpoint("d", "lab"))
    assert [(hop.host, hop.port) for hop in hops] == [
        ("z", 99),
        ("a.example", 22),
        ("b", 2222),
        ("lab", 22),
    ]
    assert [hop.user for hop in hops[1:3]] == ["ua", "ub"]
    assert hops[2].keys == (ssh_folder.parent / "b_key",)
    assert [hop.behind_gateway for hop in hops] == [False, True, True, True]
    assert {hop.endpoint.device for hop in hops} == {"d"}


def test_an_ipv6_jump_host(ssh_folder: Path) -> None:
    (ssh_folder / "config").write_text("Host lab\n ProxyJump u@[2001:db8::1]:2222\n")
    jump = route(SshEndpoint("d", "lab"))[0]
    assert (jump.host, jump.port, jump.address) == ("2001:db8::1", 2222, "u@[2001:db8::1]:2222")


def test_a_jump_host_that_its_own_pattern_matches(ssh_folder: Path) -> None:
    (ssh_folder / "config").write_text("Host *\n ProxyJump bastion\n")
    assert [hop.host for hop in route(SshEndpoint("d", "lab"))] == ["bastion", "lab"]


@pytest.mark.parametrize(
    ("text", "way"),
    [
        # another port, or another user, of one address may be another machine
        ("HostName gw\n Port 2201\n ProxyJump gw", ["gw:22", "gw:2201"]),
        ("HostName gw\n Port 2201\n ProxyJump gw:2202", ["gw:2202", "gw:2201"]),
        (
            "HostName localhost\n Port 2201\n ProxyJump localhost",
            ["localhost:22", "localhost:2201"],
        ),
        ("HostName gw\n User pi\n ProxyJump ops@gw", ["gw:22", "gw:22"]),
        ("HostName gw\n Port 2201\n ProxyJump a,gw", ["a:22", "gw:22", "gw:2201"]),
        ("HostName gw\n ProxyJump gw,a", ["gw:22", "a:22", "gw:22"]),
        ("ProxyJump lab:2201", ["lab:2201", "lab:22"]),
        # the host itself
        ("HostName gw\n ProxyJump gw", ["gw:22"]),
        ("HostName gw\n User pi\n ProxyJump pi@gw", ["gw:22"]),
        ("HostName gw\n User pi\n ProxyJump gw", ["gw:22"]),
        ("HostName gw\n Port 2201\n ProxyJump gw:2201", ["gw:2201"]),
        ("HostName gw\n ProxyJump a,gw", ["a:22", "gw:22"]),
        ("HostName gw\n Port 2201\n ProxyJump lab", ["gw:2201"]),
    ],
)
def test_a_jump_host_is_the_target_itself_where_host_port_and_user_are(
    ssh_folder: Path, text: str, way: list[str]
) -> None:
    (ssh_folder / "config").write_text(f"Host lab\n {text}\n")
    hops = route(SshEndpoint("d", "lab"))
    assert [f"{hop.host}:{hop.port}" for hop in hops] == way


def test_a_chain_that_its_own_pattern_matches(ssh_folder: Path) -> None:
    (ssh_folder / "config").write_text("Host b\n Port 2222\nHost *\n ProxyJump a,b\n")
    assert [hop.host for hop in route(SshEndpoint("d", "lab"))] == ["a", "b", "lab"]
    assert [hop.host for hop in route(SshEndpoint("d", "b"))] == ["a", "b"]
    assert [hop.host for hop in route(SshEndpoint("d", "a"))] == ["a"]


@pytest.mark.parametrize(
    ("text", "hops", "command"),
    [
        ("ProxyJump none\nProxyCommand nc %h %p\n", 1, "nc lab 22"),
        ("ProxyCommand none\nProxyJump j\n", 1, None),
        ("ProxyCommand nc %h %p\nProxyJump j\n", 1, "nc lab 22"),
        ("ProxyJump j\nProxyCommand nc %h %p\n", 2, None),
    ],
)
def test_the_first_proxy_named_counts(
    ssh_folder: Path, text: str, hops: int, command: str | None
) -> None:
    (ssh_folder / "config").write_text(f"Host lab\n{text}")
    way = route(SshEndpoint("d", "lab"))
    assert len(way) == hops
    assert way[-1].proxy_command == command


def test_the_inventorys_gateway_wins_over_a_proxy(ssh_folder: Path) -> None:
    (ssh_folder / "config").write_text("Host lab\n ProxyCommand nc %h %p\n")
    hops = route(SshEndpoint("d", "lab", gateway=SshEndpoint("g", "gate")))
    assert [hop.host for hop in hops] == ["gate", "lab"]
    assert hops[-1].proxy_command is None


def test_a_circle_is_told(ssh_folder: Path) -> None:
    (ssh_folder / "config").write_text("Host a\n ProxyJump b\nHost b\n ProxyJump a\n")
    with pytest.raises(PermanentDeviceError, match=r"circle.*a via b"):
        route(SshEndpoint("d", "a"))


def test_the_command_to_try_by_hand(ssh_folder: Path, tmp_path: Path) -> None:
    own = tmp_path / "my config"
    own.write_text("")
    gateway = SshEndpoint("g", "gate", port=1, user="u", gateway=SshEndpoint("f", "first"))
    endpoint = SshEndpoint(
        "d", "lab", port=2, user="me", key_file=Path("/k"), ssh_config=own, gateway=gateway
    )
    words = shlex.split(route(endpoint)[-1].ssh_command)
    assert words == [
        *("ssh", "-F", str(own), "-i", "/k", "-J", "first,u@gate:1"),
        *("-p", "2", "-l", "me", "lab"),
    ]


AS_OPENSSH = [
    "Host lab\n HostName %h.example\n Port 2222\n User cc\n",
    "Host l?b !other\n Port 3\nHost *\n Port 4\n User late\n",
    "Host * !lab\n Port 3\n",
    "User cc\nMatch user cc\n Port 3\nMatch originalhost other\n Port 4\n",
    "Match exec true\n Port 5\nMatch exec false\n User never\n",
    'Host lab\n HostName lab.x\nMatch host lab.x exec "test %h = lab.x"\n Port 6\n',
    "Match !exec false\n Port 5\nMatch host other !exec false\n User never\n",
    'Match host other exec "exit 0"\n User never\nMatch exec "exit 0" host other\n Port 9\n',
    "Match !host lab\n Port 5\nMatch final host lab\n User final\n",
    "Host lab\n Include part\n User outer\nHost other\n Include part\n Port 9\n",
    "Include part\nHost lab\n Port 10\n",
    "Host lab\n Port 7 # behind a value\n User = cc\n",
    "Host lab\n ProxyJump a,b:2\n ProxyCommand nc %h %p\n",
    "Host lab\n ProxyCommand nc %h %p\n ProxyJump a\n",
    "Host lab\n ProxyJump none\n ProxyCommand nc %h %p\n",
    "Host lab\n ProxyCommand none\n ProxyJump a\n",
    "Host lab\n ProxyJump a\n ProxyCommand none\n",
    "Host lab\n ConnectTimeout 5\n HostKeyAlias cellar\n AddressFamily inet\n",
]


@pytest.mark.parametrize("text", AS_OPENSSH)
def test_the_configuration_means_what_it_means_to_openssh(ssh_folder: Path, text: str) -> None:
    (ssh_folder / "part").write_text("Port 8\nHostKeyAlias parted\n")
    # a file given with -F starts relative Includes from the real home folder's .ssh
    config = ssh_folder / "own"
    config.write_text(text.replace("Include part", f"Include {ssh_folder}/part"))
    printed = subprocess.run(
        ["ssh", "-G", "-F", config, "lab"], capture_output=True, text=True, check=True
    ).stdout
    said = dict(line.split(" ", 1) for line in printed.splitlines() if " " in line)
    found = lookup("lab", file=config, user=None, port=None)
    for key in ("hostname", "port", "user", "hostkeyalias", "connecttimeout", "addressfamily"):
        if key in found:
            assert found[key] == said[key], key
        else:
            defaults = {
                "port": "22",
                "user": getpass.getuser(),
                "hostkeyalias": "",
                "connecttimeout": "none",
                "addressfamily": "any",
            }
            assert said.get(key, "") == defaults[key], key
    first = route(SshEndpoint("d", "lab", ssh_config=config))
    assert bool(said.get("proxyjump")) == (len(first) > 1)
    assert bool(said.get("proxycommand")) == (first[-1].proxy_command is not None)


def test_match_exec_runs_only_where_the_rest_matches(ssh_folder: Path) -> None:
    settled(ssh_folder, f'Match host other exec "touch {ssh_folder}/ran"\n Port 3\n')
    assert not (ssh_folder / "ran").exists()
    settled(ssh_folder, f'Match host lab exec "touch {ssh_folder}/ran"\n Port 3\n')
    assert (ssh_folder / "ran").exists()
