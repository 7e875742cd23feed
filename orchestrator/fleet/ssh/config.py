"""Reads ~/.ssh/config and /etc/ssh/ssh_config, as far as they say how to reach a host.

paramiko's ``SSHConfig`` does the matching. It lacks ``Include`` and comments behind a value, which
are added here; it takes a ``Match`` criterion it does not know for fulfilled, which is refused; and
it lets the command of a ``Match exec`` read our terminal, so that is run here. Differences to
OpenSSH that stay: ``Match user`` and ``Match host`` also see a User or HostName set further below,
and ``Match host`` compares a HostName with its %h not yet replaced.

Read: HostName, User, Port, IdentityFile, CertificateFile, IdentitiesOnly, IdentityAgent, ProxyJump,
ProxyCommand, ConnectTimeout, AddressFamily, UserKnownHostsFile, GlobalKnownHostsFile, HostKeyAlias,
HashKnownHosts, StrictHostKeyChecking, CanonicalizeHostname. Host, Include, and Match all,
canonical, final, host, originalhost, user, localuser, exec. Not read: KnownHostsCommand,
VerifyHostKeyDNS, BindAddress, the lists of algorithms. RevokedHostKeys and a ``Host`` or ``Match``
line in a file included below one are refused rather than passed over.
"""

from __future__ import annotations

import getpass
import re
import shlex
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from io import StringIO
from pathlib import Path

from paramiko.config import SSHConfig
from paramiko.ssh_exception import ConfigParseError, CouldNotCanonicalize

SYSTEM_FILE = Path("/etc/ssh/ssh_config")
_EXEC_TIMEOUT_S = 30.0
#: An option of no meaning, to see whether a block applies; and a block that never does.
_PROBE = "orchestrateprobe"
_NEVER = "Host !*"
#: Of several CertificateFile lines paramiko keeps one, of IdentityFile all: they go by that name.
_CERTIFICATE = "orchestrate-certificate:"
_QUOTE = '"'
_MAX_DEPTH = 16  # OpenSSH's own bound on Include
_LINE = re.compile(r"\s*(\w+)(?:\s*=\s*|\s+)(.*\S)\s*\Z")
_CRITERIA = frozenset(
    ("all", "canonical", "final", "host", "originalhost", "user", "localuser", "exec")
)
#: Their value is a command line, in which # is not a comment.
_WHOLE_LINE = frozenset(("proxycommand", "localcommand", "remotecommand", "match"))


class SshConfigError(Exception):
    """An ssh_config file is wrong, or says something that is not supported. Names the place."""


def lookup(
    host: str, *, file: Path | None, user: str | None, port: int | None
) -> Mapping[str, str | list[str]]:
    """Find what the configuration says about ``host``; ``user`` and ``port`` count as given first.

    ``file`` stands in for both the user's and the system's file, as ``ssh -F`` does. The keys are
    lower case; ``identityfile`` and ``certificatefile`` are lists. Raises SshConfigError.
    """
    config = SSHConfig()
    try:
        config.parse(StringIO("\n".join(_with_exec_decided(_all_lines(file, user, port), host))))
        found: Mapping[str, str | list[str]] = config.lookup(host)
    except (ConfigParseError, CouldNotCanonicalize, KeyError, ValueError) as exc:
        raise SshConfigError(f"the ssh configuration for {host} cannot be used: {exc}") from exc
    return _certificates_apart(found)


def _certificates_apart(found: Mapping[str, str | list[str]]) -> Mapping[str, str | list[str]]:
    named = found.get("identityfile", [])
    certificates = [name.removeprefix(_CERTIFICATE) for name in named if _is_certificate(name)]
    if not certificates:
        return found
    keys: dict[str, str | list[str]] = {
        "identityfile": [name for name in named if not _is_certificate(name)],
        "certificatefile": certificates,
    }
    return {**found, **keys}


def _is_certificate(name: str) -> bool:
    return name.startswith(_CERTIFICATE)


def configured_hosts(file: Path | None) -> tuple[str, ...]:
    """Every name that a ``Host`` line gives and that is not a pattern, in order. Raises
    SshConfigError."""
    names: dict[str, None] = {}
    for line in _all_lines(file, None, None):
        key, _, value = line.partition(" ")
        if key.lower() == "host":
            names |= dict.fromkeys(word for word in _words(value) if not set("*?!") & set(word))
    return tuple(names)


def _all_lines(file: Path | None, user: str | None, port: int | None) -> Iterator[str]:
    """What is given first, then every file, each starting outside of any block."""
    if user:
        yield f"User {user}"
    if port:
        yield f"Port {port}"
    for path, folder in _files(file):
        yield "Host *"
        yield from _lines(path, folder, depth=0, header="Host *")


def _files(file: Path | None) -> Iterator[tuple[Path, Path]]:
    """Return each file with the folder that its relative Includes start from."""
    user_folder = Path("~/.ssh").expanduser()
    if file is not None:
        path = file.expanduser()
        if not path.is_file():
            raise SshConfigError(f"{path}: there is no such file (the device's ssh_config)")
        yield path, user_folder
        return
    for path, folder in ((user_folder / "config", user_folder), (SYSTEM_FILE, SYSTEM_FILE.parent)):
        if path.is_file():
            yield path, folder


def _lines(path: Path, folder: Path, *, depth: int, header: str) -> Iterator[str]:
    """The file's lines with Includes put in place. ``header`` is the block the file stands in."""
    if depth > _MAX_DEPTH:
        raise SshConfigError(f"{path}: Include is nested deeper than {_MAX_DEPTH}")
    conditional = header != "Host *"
    try:
        text = path.read_bytes().decode(errors="surrogateescape")
    except OSError as exc:
        raise SshConfigError(f"{path}: {exc.strerror}") from exc
    for number, line in enumerate(text.splitlines(), 1):
        match = _LINE.match(line)
        if not match or line.lstrip().startswith("#"):
            if line.strip() and not line.lstrip().startswith("#"):
                raise SshConfigError(f"{path}:{number}: `{line.strip()}` has no value")
            continue
        key, value = match[1].lower(), match[2]
        value = value if key in _WHOLE_LINE else _without_comment(value)
        if key == "include":
            for included in _included(value, folder):
                yield from _lines(included, folder, depth=depth + 1, header=header)
                yield header
            continue
        if key in ("host", "match"):
            if conditional and depth:
                raise SshConfigError(
                    f"{path}:{number}: a {match[1]} line in a file that is included below "
                    f"`{header}` is not supported; include the file at the top instead"
                )
            header = f"{match[1]} {value}"
            _check_match(key, value, f"{path}:{number}")
        if key == "certificatefile":
            yield f"IdentityFile {_CERTIFICATE}{value.strip(_QUOTE)}"
            continue
        yield f"{match[1]} {value}"


def _without_comment(value: str) -> str:
    """``value`` up to an unquoted # that follows white space."""
    quoted = False
    for i, sign in enumerate(value):
        if sign == '"':
            quoted = not quoted
        elif sign == "#" and not quoted and i and value[i - 1].isspace():
            return value[:i].rstrip()
    return value


def _included(value: str, folder: Path) -> Iterator[Path]:
    for pattern in _words(value):
        path = Path(pattern).expanduser()
        path = path if path.is_absolute() else folder / path
        yield from sorted(p for p in Path(path.anchor).glob(str(path)[1:]) if p.is_file())


def _words(value: str) -> list[str]:
    try:
        return shlex.split(value)
    except ValueError as exc:
        raise SshConfigError(f"`{value}`: {exc}") from exc


def _with_exec_decided(lines: Iterable[str], host: str) -> list[str]:
    """``lines`` with every ``Match … exec`` replaced by what its command says."""
    decided: list[str] = []
    for line in lines:
        key, _, value = line.partition(" ")
        words = _words(value) if key.lower() == "match" else []
        at = next((i for i, word in enumerate(words) if word.lower() in ("exec", "!exec")), None)
        if at is None:
            decided.append(line)
            continue
        others = words[:at] + words[at + 2 :]
        criteria = shlex.join(others) if others else "all"
        # the command is run only where what stands before it matches, as OpenSSH does
        options = SSHConfig.from_text(
            "\n".join([*decided, f"Match {shlex.join(words[:at]) or 'all'}", f"{_PROBE} yes"])
        ).lookup(host)
        holds = _PROBE in options and _succeeds(words[at + 1], host, options)
        if words[at].startswith("!"):
            holds = _PROBE in options and not holds
        decided.append(f"Match {criteria}" if holds else _NEVER)
    return decided


def _succeeds(command: str, host: str, options: Mapping[str, str | list[str]]) -> bool:
    tokens = {
        "%%": "%",
        "%h": str(options["hostname"]),
        "%n": host,
        "%p": str(options.get("port", 22)),
        "%r": str(options.get("user", getpass.getuser())),
        "%u": getpass.getuser(),
        "%d": str(Path.home()),
    }
    expanded = re.sub("%.", lambda found: tokens.get(found[0], found[0]), command)
    try:
        done = subprocess.run(
            ["sh", "-c", expanded],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
            timeout=_EXEC_TIMEOUT_S,
        )
    except subprocess.TimeoutExpired as exc:
        raise SshConfigError(
            f"Match exec: `{expanded}` did not end within {_EXEC_TIMEOUT_S:g} s"
        ) from exc
    return done.returncode == 0


def _check_match(key: str, value: str, place: str) -> None:
    words = iter(_words(value) if key == "match" else ())
    for word in words:
        criterion = word.lstrip("!").lower()
        if criterion not in _CRITERIA:
            raise SshConfigError(
                f"{place}: `Match {criterion}` is not supported; give the device an `ssh_config` "
                "file of its own"
            )
        if criterion not in ("all", "canonical", "final"):
            next(words, None)
