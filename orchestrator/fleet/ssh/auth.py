"""Public keys, from files and from the agent; never a password, never a question.

Order: keys that are both in the agent and among the given identity files; given files; other keys
of the agent. Without given files the agent comes before ssh's default files, as with OpenSSH. A key
that somebody signed is offered with its certificate first, then by itself.
"""

from __future__ import annotations

import base64
import contextlib
import shlex
import socket
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import paramiko
from cryptography.exceptions import UnsupportedAlgorithm
from paramiko.agent import Agent, AgentKey, AgentSSH
from paramiko.message import Message
from paramiko.pkey import PublicBlob, UnknownKeyType
from paramiko.ssh_exception import (
    AuthenticationException,
    BadAuthenticationType,
    PasswordRequiredException,
    SSHException,
)

from orchestrator.errors import AuthenticationError, TransientDeviceError
from orchestrator.fleet.ssh import certificates
from orchestrator.fleet.ssh.host_keys import fingerprint, key_type
from orchestrator.fleet.ssh.route import Hop

_OPENSSH_MAGIC = b"openssh-key-v1\0"


@dataclass(frozen=True)
class _Identity:
    """An identity file: its usable private key, or why there is none; its public key if known."""

    path: Path
    key: paramiko.PKey | None
    public: bytes | None
    trouble: str | None


class _AgentAt(Agent):
    """The agent behind a socket of its own. paramiko's goes to SSH_AUTH_SOCK alone, which is this
    process's and not a host's."""

    def __init__(self, path: Path) -> None:
        """Raises OSError, SSHException."""
        AgentSSH.__init__(self)
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connection.connect(str(path))
            self._connect(connection)  # type: ignore[attr-defined]  # its stubs have no private names
        except BaseException:
            connection.close()
            raise


class KeysOnly:
    """A paramiko ``auth_strategy``: offers one hop's keys, remembers what became of each."""

    def __init__(self, hop: Hop) -> None:
        self._hop = hop
        self._tried: list[str] = []
        self._signed: list[tuple[Path, bytes]] = []

    def authenticate(self, transport: paramiko.Transport) -> list[object]:
        """Return once we are let in. Raises AuthenticationError, TransientDeviceError."""
        accepted = self._asked(transport)
        if accepted is None:
            return []
        if "publickey" not in accepted:
            raise self._refused(f"the server accepts only {', '.join(accepted)}, not keys")
        agent = self._agent()
        try:
            for label, key in self._keys(agent.get_keys() if agent else ()):
                for named, offered in self._with_certificates(label, key):
                    if self._offer(transport, named, offered):
                        return []
        finally:
            if agent:
                agent.close()
        raise self._refused("none of the keys is accepted")

    def _asked(self, transport: paramiko.Transport) -> list[str] | None:
        """The methods the server accepts; None where it lets us in without any."""
        try:
            transport.auth_none(self._hop.user)
        except BadAuthenticationType as exc:
            return list(exc.allowed_types)
        except AuthenticationException as exc:
            raise self._hung_up(exc) from exc
        return None

    def _agent(self) -> Agent | None:
        if not self._hop.use_agent:
            return None
        try:
            if self._hop.agent_socket is not None:
                return _AgentAt(self._hop.agent_socket)
            return Agent()
        except (SSHException, OSError) as exc:
            where = f" at {self._hop.agent_socket}" if self._hop.agent_socket is not None else ""
            self._tried.append(f"the agent{where}: {getattr(exc, 'strerror', None) or exc}")
            return None

    def _keys(self, agent_keys: tuple[AgentKey, ...]) -> Iterator[tuple[str, paramiko.PKey]]:
        """Keys to offer, each once, in order. Notes the files that yield none."""
        identities = [_identity(path) for path in self._hop.keys]
        self._signed = self._certificates(identities)
        in_agent = {key.asbytes(): key for key in agent_keys}
        matched = [x.public for x in identities if x.public and x.public in in_agent]
        for blob in matched:
            yield _agent_label(in_agent[blob]), in_agent[blob]
        others = [
            (_agent_label(key), key)
            for blob, key in in_agent.items()
            if blob not in matched and not self._hop.only_given_keys
        ]
        files = self._usable([x for x in identities if x.public not in matched])
        yield from [*files, *others] if self._hop.keys_given else [*others, *files]

    def _usable(self, identities: list[_Identity]) -> list[tuple[str, paramiko.PKey]]:
        found = []
        for identity in identities:
            if identity.key is not None:
                label = f"{identity.path} ({fingerprint(identity.key.asbytes())})"
                found.append((label, identity.key))
            elif identity.trouble and (self._hop.keys_given or identity.path.exists()):
                self._tried.append(f"{identity.path}: {identity.trouble}")
        return found

    def _with_certificates(
        self, label: str, key: paramiko.PKey
    ) -> Iterator[tuple[str, paramiko.PKey]]:
        """The key with each certificate that is for it, and by itself."""
        for path, blob in self._signed:
            if _signed_key(blob) == key.asbytes():
                key.public_blob = PublicBlob(key_type(blob), blob)
                yield f"{label} with {path}", key
        key.public_blob = None
        yield label, key

    def _certificates(self, identities: Sequence[_Identity]) -> list[tuple[Path, bytes]]:
        """Collect every usable certificate: those that are named, then those next to the identity
        files."""
        found = []
        for path in self._hop.certificates:
            try:
                blob = _public_line(path.read_text(errors="replace"))
            except OSError as exc:
                self._tried.append(f"certificate {path}: {exc.strerror}")
                continue
            if blob is None or _signed_key(blob) is None:
                self._tried.append(f"certificate {path}: it is not a certificate")
            else:
                found.append((path, blob))
        for identity in identities:
            beside = identity.path.with_name(f"{identity.path.name}-cert.pub")
            with contextlib.suppress(OSError):
                blob = _public_line(beside.read_text(errors="replace"))
                if blob is not None and _signed_key(blob) is not None:
                    found.append((beside, blob))
        return found

    def _offer(self, transport: paramiko.Transport, label: str, key: paramiko.PKey) -> bool:
        try:
            missing = transport.auth_publickey(self._hop.user, key)
        except (SSHException, EOFError, OSError) as exc:
            if not transport.is_active() or "timeout" in str(exc).lower():
                self._tried.append(f"{label}: the server hung up")
                raise self._hung_up(exc) from exc
            self._tried.append(f"{label}: {_why(exc)}")
            return False
        if missing:
            raise AuthenticationError(
                f"{self._hop.address} does not let us in: {label} is accepted, but the server "
                f"wants {', '.join(missing)} as well, which cannot be done unattended; have keys "
                f"alone accepted there (AuthenticationMethods publickey in its sshd_config), or "
                f"log in once with OpenSSH's ControlMaster and use `transport: exec` over it",
                device=self._hop.endpoint.device,
            )
        return True

    def _hung_up(self, exc: Exception) -> AuthenticationError | TransientDeviceError:
        if self._tried:
            return self._refused(
                "the server hung up, perhaps after too many keys: name the right one in "
                "`key_file`, or set IdentitiesOnly"
            )
        return TransientDeviceError(
            f"{self._hop.address} broke off while it was asked to let us in: {exc}; try again",
            device=self._hop.endpoint.device,
        )

    def _refused(self, reason: str) -> AuthenticationError:
        tried = self._tried or ["no key: there is none in the agent, and no identity file"]
        command = self._hop.ssh_command.replace("ssh", "ssh -v -o BatchMode=yes", 1)
        lines = [f"{self._hop.address} does not let us in: {reason}"]
        lines += [f"tried {line}" for line in tried]
        lines.append(f"test it with: {command}")
        return AuthenticationError("\n  ".join(lines), device=self._hop.endpoint.device)


def _identity(path: Path) -> _Identity:
    public = _public(path)
    try:
        key = paramiko.PKey.from_path(path)
    except FileNotFoundError:
        return _Identity(path, None, public, "there is no such file")
    except OSError as exc:
        return _Identity(path, None, public, str(exc.strerror))
    except (PasswordRequiredException, TypeError):
        # TypeError is how cryptography says that a passphrase is needed
        trouble = f"it needs a passphrase; run `ssh-add {shlex.quote(str(path))}` first"
        return _Identity(path, None, public, trouble)
    except (SSHException, ValueError, UnknownKeyType, UnsupportedAlgorithm) as exc:
        in_agent = " and is not in the agent" if public else ""
        return _Identity(path, None, public, f"is not a private key we can use{in_agent}: {exc}")
    return _Identity(path, key, key.asbytes(), None)


def _signed_key(blob: bytes) -> bytes | None:
    """Read the public key in a certificate; None where ``blob`` is not a certificate."""
    try:
        return certificates.parse(blob).key
    except (ValueError, struct.error):
        return None


def _public(path: Path) -> bytes | None:
    """Read the public key that lies next to a private one, or is in it (OpenSSH's format), or that
    the file itself is."""
    for candidate in (path.with_name(path.name + ".pub"), path):
        try:
            text = candidate.read_text(errors="replace")
        except OSError:
            continue
        blob = _public_part(text) if text.startswith("-----") else _public_line(text)
        if blob is not None:
            return blob
    return None


def _public_line(text: str) -> bytes | None:
    words = text.split()
    try:
        return base64.b64decode(words[1], validate=True) if len(words) > 1 else None
    except ValueError:
        return None


def _public_part(text: str) -> bytes | None:
    """OpenSSH writes the public key unencrypted in front of the private one."""
    body = "".join(line for line in text.splitlines() if not line.startswith("-----"))
    try:
        data = base64.b64decode(body)
    except ValueError:
        return None
    if not data.startswith(_OPENSSH_MAGIC):
        return None
    message = Message(data[len(_OPENSSH_MAGIC) :])
    for _ in ("cipher", "key derivation", "its options"):
        message.get_binary()
    return message.get_binary() if message.get_int() == 1 else None


def _agent_label(key: AgentKey) -> str:
    comment = f"{key.comment}, " if key.comment else ""
    return f"a key of the agent ({comment}{fingerprint(key.asbytes())})"


def _why(exc: Exception) -> str:
    return "refused" if isinstance(exc, AuthenticationException) else f"not usable: {exc}"
