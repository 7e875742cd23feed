"""Reads known_hosts files: which host keys are known, and what that says about the key a host
shows.

Format: sshd(8), "SSH_KNOWN_HOSTS FILE FORMAT": plain, hashed and wildcard names, ``[host]:port``,
``@revoked`` and ``@cert-authority``. Parsed here because paramiko's reader knows neither markers
nor wildcards, stops at a broken line, and forgets which line a key came from.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import os
import re
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

REVOKED = "@revoked"
CERT_AUTHORITY = "@cert-authority"
_MARKERS = (REVOKED, CERT_AUTHORITY)


@dataclass(frozen=True)
class KeyLine:
    """One usable line: whose key (``names`` as written), and the key in its wire form."""

    file: Path
    number: int
    marker: str
    names: str
    blob: bytes

    @property
    def key_type(self) -> str:
        return key_type(self.blob)

    @property
    def place(self) -> str:
        return f"{self.file}:{self.number}"

    @property
    def has_wildcard(self) -> bool:
        return any(sign in self.names for sign in "*?!")

    def is_for(self, name: str) -> bool:
        """Whether the line speaks of ``name``; a negated pattern that matches wins."""
        patterns = self.names.split(",")
        if any(p.startswith("!") and _matches(p[1:], name) for p in patterns):
            return False
        return any(_matches(p, name) for p in patterns if not p.startswith("!"))


@dataclass(frozen=True)
class KnownHosts:
    """The lines of several files, in order, and what of them could not be read."""

    files: tuple[Path, ...]
    lines: tuple[KeyLine, ...]
    problems: tuple[str, ...]

    def about(self, name: str) -> list[KeyLine]:
        return [line for line in self.lines if line.is_for(name)]


class Standing(Enum):
    """What the files say about a key that a host shows."""

    KNOWN = "known"
    UNKNOWN = "unknown"
    CHANGED = "changed"
    REVOKED = "revoked"


@dataclass(frozen=True)
class Judgement:
    """``lines`` are those it rests on: the contradicting, the revoking, or those of other types.

    ``authorities`` are ``@cert-authority`` lines for the host.
    """

    standing: Standing
    lines: tuple[KeyLine, ...] = ()
    authorities: tuple[KeyLine, ...] = ()


def read_known_hosts(files: Sequence[Path]) -> KnownHosts:
    """Read every file. A missing file is an empty one; a line that cannot be read is noted."""
    lines: list[KeyLine] = []
    problems: list[str] = []
    for file in files:
        try:
            text = file.read_bytes().decode(errors="surrogateescape")
        except FileNotFoundError:
            continue
        except OSError as exc:
            problems.append(f"{file}: {exc.strerror}")
            continue
        for number, line in enumerate(text.split("\n"), 1):
            try:
                lines.extend(_parsed(file, number, line))
            except ValueError as exc:
                problems.append(f"{file}:{number}: {exc}")
    return KnownHosts(tuple(files), tuple(lines), tuple(problems))


def _parsed(file: Path, number: int, line: str) -> Iterator[KeyLine]:
    """The line's key, if it holds one. Raises ValueError where it cannot be read."""
    fields = line.split()
    if not fields or fields[0].startswith("#"):
        return
    marker = fields.pop(0) if fields[0].startswith("@") else ""
    if marker and marker not in _MARKERS:
        raise ValueError(f"unknown marker {marker}")
    if len(fields) < 3:
        raise ValueError("a line has at least a name, a key type and a key")
    names, named_type, encoded = fields[:3]
    try:
        blob = base64.b64decode(encoded, validate=True)
        actual_type = key_type(blob)
    except (binascii.Error, struct.error, UnicodeDecodeError) as exc:
        raise ValueError("its key is not valid base64 of a key") from exc
    if actual_type != named_type:
        raise ValueError(f"it says {named_type}, its key is {actual_type}")
    yield KeyLine(file, number, marker, names, blob)


def _matches(pattern: str, name: str) -> bool:
    if pattern.startswith("|1|"):
        return _hash_matches(pattern, name)
    return matches_pattern(pattern, name)


def matches_pattern(pattern: str, name: str) -> bool:
    """Whether ``name`` is one that a pattern with ``*`` and ``?`` stands for."""
    regex = re.escape(pattern.lower()).replace(r"\*", ".*").replace(r"\?", ".")
    return re.fullmatch(regex, name.lower()) is not None


def _hash_matches(pattern: str, name: str) -> bool:
    try:
        salt, digest = (base64.b64decode(part, validate=True) for part in pattern[3:].split("|"))
    except ValueError:
        return False
    return hmac.compare_digest(hmac.new(salt, name.encode(), hashlib.sha1).digest(), digest)


def judge(known: KnownHosts, names: Sequence[str], blob: bytes) -> Judgement:
    """What is known about ``blob`` under the first of ``names``.

    A further name (OpenSSH: the host without its port) is asked only for a key that matches.
    """
    lines = known.about(names[0])
    authorities = tuple(line for line in lines if line.marker == CERT_AUTHORITY)
    elsewhere = [line for name in names[1:] for line in known.about(name)]
    revoked = [x for x in lines + elsewhere if x.marker == REVOKED and x.blob == blob]
    if revoked:
        return Judgement(Standing.REVOKED, tuple(revoked), authorities)
    plain = [line for line in lines if not line.marker]
    if any(line.blob == blob for line in plain):
        return Judgement(Standing.KNOWN)
    differing = tuple(line for line in plain if line.key_type == key_type(blob))
    if differing:
        return Judgement(Standing.CHANGED, differing, authorities)
    if not plain and any(line.blob == blob for line in elsewhere if not line.marker):
        return Judgement(Standing.KNOWN)
    return Judgement(Standing.UNKNOWN, tuple(plain), authorities)


def authorities(known: KnownHosts, names: Sequence[str]) -> tuple[KeyLine, ...]:
    """The authorities trusted for the first of ``names`` that has any."""
    for name in names:
        found = tuple(x for x in known.about(name) if x.marker == CERT_AUTHORITY)
        if found:
            return found
    return ()


def known_types(known: KnownHosts, names: Sequence[str]) -> list[str]:
    """The key types that would be accepted, in the order of the files, each once."""
    for name in names:
        types = [line.key_type for line in known.about(name) if not line.marker]
        if types:
            return list(dict.fromkeys(types))
    return []


def host_names(host: str, port: int, alias: str | None) -> tuple[str, ...]:
    """List the names under which a host's key is looked up: HostKeyAlias alone, or host with
    port."""
    if alias:
        return (alias.lower(),)
    plain = host.lower()
    return (plain,) if port == 22 else (f"[{plain}]:{port}", plain)  # 22: ssh's own


def key_type(blob: bytes) -> str:
    """The algorithm a key in its wire form names. Raises struct.error on nonsense."""
    (length,) = struct.unpack_from(">I", blob)
    (name,) = struct.unpack_from(f">{length}s", blob, 4) if length < len(blob) else (b"",)
    return str(name, "ascii")


def fingerprint(blob: bytes) -> str:
    """Format the key's fingerprint as ``ssh-keygen -l`` prints it."""
    digest = base64.b64encode(hashlib.sha256(blob).digest()).decode().rstrip("=")
    return f"SHA256:{digest}"


def line_for(name: str, blob: bytes) -> str:
    """The known_hosts line, without newline, that makes ``blob`` known under ``name``."""
    return f"{name} {key_type(blob)} {base64.b64encode(blob).decode()}"


def hashed(name: str) -> str:
    """``name`` as HashKnownHosts writes it."""
    salt = os.urandom(20)
    digest = hmac.new(salt, name.encode(), hashlib.sha1).digest()
    return f"|1|{base64.b64encode(salt).decode()}|{base64.b64encode(digest).decode()}"


def remember(file: Path, line: str) -> None:
    """Append a line to a known_hosts file, in one write. Raises OSError."""
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with os.fdopen(os.open(file, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600), "r+b") as out:
        torn = out.seek(0, os.SEEK_END) > 0 and _last_byte(file) != b"\n"
        out.write(("\n" if torn else "").encode() + line.encode() + b"\n")


def _last_byte(file: Path) -> bytes:
    with file.open("rb") as opened:
        opened.seek(-1, os.SEEK_END)
        return opened.read(1)
