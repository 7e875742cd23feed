"""From what the inventory and ~/.ssh/config say to the hops of one connection.

What the device's inventory entry gives wins over the configuration, as a command-line option of
``ssh`` does. A jump host is resolved through the configuration like any other host.
"""

from __future__ import annotations

import getpass
import os
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from orchestrator.errors import PermanentDeviceError
from orchestrator.fleet.ssh import config
from orchestrator.fleet.ssh.host_keys import host_names

_DEFAULT_CONNECT_TIMEOUT_S = 20.0
_MAX_HOPS = 8
_DEFAULT_KEYS = ("id_ed25519", "id_ecdsa", "id_rsa")
_DEFAULT_KNOWN_HOSTS = "~/.ssh/known_hosts ~/.ssh/known_hosts2"
_GLOBAL_KNOWN_HOSTS = "/etc/ssh/ssh_known_hosts /etc/ssh/ssh_known_hosts2"

_DEFAULT_PORT = 22

#: A host settled: name or address, port, user.
_Place = tuple[str, int, str]
_Options = Mapping[str, str | list[str]]


@dataclass(frozen=True)
class SshEndpoint:
    """One host as the inventory names it; None leaves it to ~/.ssh/config and ssh's defaults.

    ``host`` may be an alias. ``ssh_config`` is read instead of the user's and the system's file,
    ``known_hosts`` instead of the user's. ``gateway`` is the jump host and wins over ProxyJump
    and ProxyCommand.
    """

    device: str
    host: str
    port: int | None = None
    user: str | None = None
    key_file: Path | None = None
    ssh_config: Path | None = None
    known_hosts: Path | None = None
    gateway: SshEndpoint | None = None
    connect_timeout_s: float | None = None


@dataclass(frozen=True)
class Hop:
    """One host on the way, everything about it settled.

    ``keys`` are identity files in the order to try; ``keys_given`` is false where they are only
    ssh's defaults. ``certificates`` are files that the configuration names, for whichever key.
    ``agent_socket`` is the agent's, None where that is the one of SSH_AUTH_SOCK. ``known_hosts``
    are the user's files, the first of which new keys go into. ``checking`` is StrictHostKeyChecking
    as written. ``behind_gateway`` tells that ssh-keyscan cannot reach it from here.
    """

    endpoint: SshEndpoint
    host: str
    port: int
    user: str
    keys: tuple[Path, ...]
    keys_given: bool
    certificates: tuple[Path, ...]
    only_given_keys: bool
    use_agent: bool
    agent_socket: Path | None
    known_hosts: tuple[Path, ...]
    global_known_hosts: tuple[Path, ...]
    host_key_alias: str | None
    hash_names: bool
    checking: str
    connect_timeout_s: float
    address_family: str
    proxy_command: str | None
    behind_gateway: bool

    @property
    def address(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.user}@{host}:{self.port}"

    @property
    def key_names(self) -> tuple[str, ...]:
        """The names its host key is looked up by, the one that counts first."""
        return host_names(self.host, self.port, self.host_key_alias)

    @property
    def ssh_command(self) -> str:
        """An ``ssh`` command that takes the same way, to try by hand."""
        return " ".join(["ssh", *_ssh_options(self.endpoint), shlex.quote(self.endpoint.host)])


def route(endpoint: SshEndpoint) -> tuple[Hop, ...]:
    """The hops to ``endpoint``, nearest first, itself last.

    Raises PermanentDeviceError where the configuration is wrong or leads in a circle.
    """
    hops: tuple[Hop, ...] = ()
    at: SshEndpoint | None = endpoint
    while at is not None:
        if len(hops) >= _MAX_HOPS:
            way = " via ".join(hop.endpoint.host for hop in reversed(hops))
            raise PermanentDeviceError(
                f"its jump hosts go in a circle, or are more than {_MAX_HOPS}: {way}; "
                "look at `gateway` in the inventory and at ProxyJump in the ssh configuration",
                device=endpoint.device,
            )
        hop, at = _hop(at)
        hops = (hop, *hops)
    return hops


def _hop(endpoint: SshEndpoint) -> tuple[Hop, SshEndpoint | None]:
    """``endpoint`` settled, and the jump host before it."""
    try:
        options = config.lookup(
            endpoint.host, file=endpoint.ssh_config, user=endpoint.user, port=endpoint.port
        )
        return _settled(endpoint, options)
    except config.SshConfigError as exc:
        raise PermanentDeviceError(str(exc), device=endpoint.device) from exc


def _settled(endpoint: SshEndpoint, options: _Options) -> tuple[Hop, SshEndpoint | None]:
    host = _text(options, "hostname", endpoint.host)
    port = _number(options, "port", _DEFAULT_PORT)
    user = _text(options, "user", "") or getpass.getuser()
    tokens = _tokens(endpoint, host, port, user)
    _refuse_unsupported(options)
    use_agent, agent_socket = _agent(options, tokens)
    gateway, proxy_command = _proxy(endpoint, options, (host, port, user))
    given = _identity_files(endpoint, options)
    user_files = _file_list(_text(options, "userknownhostsfile", _DEFAULT_KNOWN_HOSTS), tokens)
    if endpoint.known_hosts is not None:
        user_files = (endpoint.known_hosts.expanduser(),)
    timeout_s = endpoint.connect_timeout_s
    if timeout_s is None:
        timeout_s = float(_number(options, "connecttimeout", 0)) or _DEFAULT_CONNECT_TIMEOUT_S
    hop = Hop(
        endpoint=endpoint,
        host=host,
        port=port,
        user=user,
        keys=given or tuple(Path("~/.ssh", name).expanduser() for name in _DEFAULT_KEYS),
        keys_given=bool(given),
        certificates=_certificate_files(options),
        only_given_keys=_text(options, "identitiesonly", "no").lower() == "yes",
        use_agent=use_agent,
        agent_socket=agent_socket,
        known_hosts=user_files,
        global_known_hosts=_file_list(
            _text(options, "globalknownhostsfile", _GLOBAL_KNOWN_HOSTS), tokens
        ),
        host_key_alias=_text(options, "hostkeyalias", "") or None,
        hash_names=_text(options, "hashknownhosts", "no").lower() == "yes",
        checking=_text(options, "stricthostkeychecking", "ask").lower(),
        connect_timeout_s=timeout_s,
        address_family=_text(options, "addressfamily", "any").lower(),
        proxy_command=proxy_command,
        behind_gateway=gateway is not None or proxy_command is not None,
    )
    return hop, gateway


def _proxy(
    endpoint: SshEndpoint, options: _Options, settled: _Place
) -> tuple[SshEndpoint | None, str | None]:
    """The jump host, or the ProxyCommand; whichever the configuration names first."""
    if endpoint.gateway is not None:
        return endpoint.gateway, None
    first = next((key for key in options if key in ("proxyjump", "proxycommand")), None)
    jumps = _text(options, "proxyjump", "none")
    if first == "proxyjump" and jumps.lower() != "none":
        return _jump(endpoint, jumps, settled), None
    return None, _text(options, "proxycommand", "") or None


def _jump(endpoint: SshEndpoint, jumps: str, settled: _Place) -> SshEndpoint | None:
    """``user@a:port,b`` as endpoints: b reached through a, a as its own configuration says."""
    gateway: SshEndpoint | None = None
    listed = jumps.split(",")
    for index, jump in enumerate(listed, 1):
        user, _, place = jump.strip().removeprefix("ssh://").rpartition("@")
        name, port = _host_and_port(place)
        if _is_itself((name, port, user), endpoint, settled, last=index == len(listed)):
            return gateway  # `Host *` with a ProxyJump also matches the jump host itself
        gateway = SshEndpoint(
            device=endpoint.device,
            host=name,
            port=port,
            user=user or None,
            ssh_config=endpoint.ssh_config,
            gateway=gateway,
            connect_timeout_s=endpoint.connect_timeout_s,
        )
    return gateway


def _is_itself(
    jump: tuple[str, int | None, str], endpoint: SshEndpoint, settled: _Place, *, last: bool
) -> bool:
    """Whether a jump host is the very host that is to be reached through it.

    A name alone does not tell: another port of one address may lead to another machine. OpenSSH,
    which calls it a loop, compares the last jump host's name, port and user with what is settled
    for the target. The same alias with nothing else said is the same host as well,
    whatever the configuration makes of it.
    """
    name, port, user = jump
    host, host_port, host_user = settled
    if user not in ("", host_user):
        return False
    if name == endpoint.host:
        return port is None or port == host_port
    return last and name == host and (port or _DEFAULT_PORT) == host_port


def _host_and_port(place: str) -> tuple[str, int | None]:
    if place.startswith("["):
        name, _, rest = place[1:].partition("]")
        port = rest.removeprefix(":")
    elif place.count(":") == 1:
        name, _, port = place.partition(":")
    else:
        name, port = place, ""
    if not name or (port and not port.isdigit()):
        raise config.SshConfigError(f"ProxyJump `{place}` is not [user@]host[:port]")
    return name, int(port) if port else None


def _identity_files(endpoint: SshEndpoint, options: _Options) -> tuple[Path, ...]:
    named = options.get("identityfile", [])
    paths = [Path(str(name)).expanduser() for name in named if str(name).lower() != "none"]
    if endpoint.key_file is not None:
        paths.insert(0, endpoint.key_file.expanduser())
    return tuple(dict.fromkeys(paths))


def _certificate_files(options: _Options) -> tuple[Path, ...]:
    named = options.get("certificatefile", [])
    return tuple(Path(name).expanduser() for name in named if name.lower() != "none")


def _refuse_unsupported(options: _Options) -> None:
    if _text(options, "revokedhostkeys", "none").lower() != "none":
        raise config.SshConfigError(
            "RevokedHostKeys is not supported; put @revoked lines into a known_hosts file"
        )


def _agent(options: _Options, tokens: Mapping[str, str]) -> tuple[bool, Path | None]:
    """Whether an agent is asked, and the socket of another than SSH_AUTH_SOCK's.

    ``$NAME`` alone is that variable, and no agent where it is not set; ``${NAME}`` stands anywhere,
    and has to be set.
    """
    value = _text(options, "identityagent", "SSH_AUTH_SOCK")
    if value.lower() == "none":
        return False, None
    if value in ("SSH_AUTH_SOCK", "$SSH_AUTH_SOCK"):
        return True, None
    if value.startswith("$") and not value.startswith("${"):
        named = os.environ.get(value[1:], "")
        return bool(named), Path(named) if named else None

    def variable(found: re.Match[str]) -> str:
        if found[1] not in os.environ:
            raise config.SshConfigError(f"IdentityAgent {value}: {found[1]} is not set")
        return os.environ[found[1]]

    (path,) = _file_list(shlex.quote(re.sub(r"\$\{(\w+)\}", variable, value)), tokens)
    return True, path


def _tokens(endpoint: SshEndpoint, host: str, port: int, user: str) -> dict[str, str]:
    return {
        "%%": "%",
        "%d": str(Path.home()),
        "%h": host,
        "%i": str(os.getuid()),
        "%k": host,
        "%n": endpoint.host,
        "%p": str(port),
        "%r": user,
        "%u": getpass.getuser(),
    }


def _file_list(value: str, tokens: Mapping[str, str]) -> tuple[Path, ...]:
    files = []
    for word in shlex.split(value):
        if word.lower() == "none":
            continue
        for token, meaning in tokens.items():
            word = word.replace(token, meaning)  # noqa: PLW2901  (one token after the other)
        files.append(Path(word).expanduser())
    return tuple(files)


def _text(options: _Options, key: str, default: str) -> str:
    value = options.get(key)
    return value if isinstance(value, str) else default


def _number(options: _Options, key: str, default: int) -> int:
    value = _text(options, key, str(default))
    if value.lower() == "none":
        return default
    if not value.isdigit():
        raise config.SshConfigError(f"{key} `{value}` in the ssh configuration is not a number")
    return int(value)


def _ssh_options(endpoint: SshEndpoint) -> list[str]:
    options = []
    if endpoint.ssh_config is not None:
        options += ["-F", shlex.quote(str(endpoint.ssh_config))]
    if endpoint.known_hosts is not None:
        options += ["-o", shlex.quote(f"UserKnownHostsFile={endpoint.known_hosts}")]
    if endpoint.key_file is not None:
        options += ["-i", shlex.quote(str(endpoint.key_file))]
    if endpoint.gateway is not None:
        options += ["-J", shlex.quote(",".join(_jump_list(endpoint.gateway)))]
    if endpoint.port is not None:
        options += ["-p", str(endpoint.port)]
    if endpoint.user is not None:
        options += ["-l", shlex.quote(endpoint.user)]
    return options


def _jump_list(gateway: SshEndpoint) -> list[str]:
    before = [] if gateway.gateway is None else _jump_list(gateway.gateway)
    user = f"{gateway.user}@" if gateway.user else ""
    port = f":{gateway.port}" if gateway.port else ""
    return [*before, f"{user}{gateway.host}{port}"]
