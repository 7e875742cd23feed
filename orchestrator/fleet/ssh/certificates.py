"""Certificates: of hosts, whose key an authority signed that a known_hosts file trusts; of users.

Format: PROTOCOL.certkeys of OpenSSH. As there, a certificate that is not accepted counts for
nothing, and the plain key in it is judged like any other. Stricter than OpenSSH before 10.3 in one
thing: a certificate without principals is one for no host, not for every host.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Sequence
from dataclasses import dataclass

import paramiko
from cryptography.exceptions import UnsupportedAlgorithm
from paramiko.message import Message
from paramiko.pkey import UnknownKeyType
from paramiko.ssh_exception import SSHException

from orchestrator.fleet.ssh.host_keys import KeyLine, key_type, matches_pattern

SUFFIX = "-cert-v01@openssh.com"
_HOST = 2
#: How many fields of a certificate are the key itself.
_KEY_FIELDS = {"ssh-ed25519": 1, "ssh-rsa": 2, "ecdsa-sha2-nistp256": 2}
_KEY_FIELDS |= {"ecdsa-sha2-nistp384": 2, "ecdsa-sha2-nistp521": 2}
#: An RSA authority signs with SHA-2; SHA-1 is not a signature any more.
_RSA_SIGNATURES = ("rsa-sha2-256", "rsa-sha2-512")


@dataclass(frozen=True)
class Certificate:
    """What a certificate says; nothing of it has been checked. ``key`` is the plain public key in
    it. Times are seconds since 1970."""

    kind: int
    key_id: str
    principals: tuple[str, ...]
    key: bytes
    valid_after: int
    valid_before: int
    critical: bytes
    authority: bytes
    signed: bytes
    signature: bytes


def parse(blob: bytes) -> Certificate:
    """Read the certificate in ``blob``. Raises ValueError where it is not one."""
    reader = _Reader(blob)
    base = reader.text().removesuffix(SUFFIX)
    if base not in _KEY_FIELDS or key_type(blob) == base:
        raise ValueError(f"{base[:40]!r} is not a kind of certificate")
    reader.string()  # the nonce
    fields = [base.encode(), *(reader.string() for _ in range(_KEY_FIELDS[base]))]
    key = b"".join(len(field).to_bytes(4, "big") + field for field in fields)
    reader.number(8)  # the serial number
    kind, key_id = reader.number(4), reader.text()
    names = _Reader(reader.string())
    principals = []
    while names.left:
        principals.append(names.text())
    valid_after, valid_before = reader.number(8), reader.number(8)
    critical = reader.string()
    reader.string()  # extensions, which a reader that does not know them ignores
    reader.string()  # reserved
    authority = reader.string()
    signed = blob[: reader.at]
    signature = reader.string()
    if reader.left:
        raise ValueError("something follows the certificate")
    return Certificate(
        kind,
        key_id,
        tuple(principals),
        key,
        valid_after,
        valid_before,
        critical,
        authority,
        signed,
        signature,
    )


def problem(blob: bytes, host: str, authorities: Sequence[KeyLine]) -> str | None:
    """Say why the certificate does not vouch for ``host`` (without its port); None where it
    does."""
    try:
        certificate = parse(blob)
    except (ValueError, struct.error) as exc:
        return f"it cannot be read ({exc})"
    if not any(line.blob == certificate.authority for line in authorities):
        return "it is signed by an authority that is not trusted for this host"
    if not _is_signed(certificate):
        return "its signature is wrong"
    if certificate.kind != _HOST or certificate.critical:
        return "it is not one of a host"  # to which no critical option belongs
    return _not_now(certificate) or _not_for(certificate, host)


def _not_now(certificate: Certificate) -> str | None:
    now = time.time()
    if now < certificate.valid_after:
        return "it is not valid yet; is the clock right?"
    if now >= certificate.valid_before:
        return "it has expired; the machine's owner can have it renewed"
    return None


def _not_for(certificate: Certificate, host: str) -> str | None:
    if any(matches_pattern(each, host) for each in certificate.principals):
        return None
    return f"it is for {', '.join(certificate.principals)[:200] or 'no host at all'}"


def _is_signed(certificate: Certificate) -> bool:
    try:
        kind = key_type(certificate.authority)
        algorithm = key_type(certificate.signature)
        if kind.endswith(SUFFIX) or (kind == "ssh-rsa" and algorithm not in _RSA_SIGNATURES):
            return False
        key = paramiko.PKey.from_type_string(kind, certificate.authority)
        return bool(key.verify_ssh_sig(certificate.signed, Message(certificate.signature)))
    except (SSHException, ValueError, struct.error, UnknownKeyType, UnsupportedAlgorithm):
        return False


class _Reader:
    """Takes fields off the front of bytes. Raises ValueError where there are too few."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.at = 0

    @property
    def left(self) -> int:
        return len(self._data) - self.at

    def number(self, size: int) -> int:
        return int.from_bytes(self._take(size), "big")

    def string(self) -> bytes:
        return self._take(self.number(4))

    def text(self) -> str:
        return self.string().decode("utf-8")

    def _take(self, size: int) -> bytes:
        if size > self.left:
            raise ValueError("it ends too early")
        self.at += size
        return self._data[self.at - size : self.at]
