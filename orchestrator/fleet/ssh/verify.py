"""Every hop's host key is checked; the message of a refusal holds the command that accepts it."""

from __future__ import annotations

import shlex
from pathlib import Path

import paramiko
from paramiko.client import MissingHostKeyPolicy

from orchestrator.errors import HostKeyError
from orchestrator.fleet.ssh import certificates
from orchestrator.fleet.ssh.host_keys import (
    Judgement,
    KnownHosts,
    Standing,
    authorities,
    fingerprint,
    hashed,
    judge,
    key_type,
    known_types,
    line_for,
    read_known_hosts,
    remember,
)
from orchestrator.fleet.ssh.route import Hop

#: What ``ssh-keyscan -t`` and the files in /etc/ssh call a key type.
_SHORT_TYPES = {"ssh-ed25519": "ed25519", "ssh-rsa": "rsa"}
_RSA_SIGNATURES = ("rsa-sha2-512", "rsa-sha2-256")
#: Certificates that may be shown by a host for which an authority is trusted.
_CERTIFICATES = tuple(
    f"{name}{certificates.SUFFIX}"
    for name in (
        "ssh-ed25519",
        "ecdsa-sha2-nistp256",
        "ecdsa-sha2-nistp384",
        "ecdsa-sha2-nistp521",
        *_RSA_SIGNATURES,
    )
)


class HostKeyCheck(MissingHostKeyPolicy):
    """Judges the key of one hop.

    paramiko asks its policy only about hosts it holds no key for; it is given none, so that every
    key comes here.
    """

    def __init__(self, hop: Hop) -> None:
        self._hop = hop
        self._known = read_known_hosts(hop.known_hosts + hop.global_known_hosts)

    def preferred(self, offered: tuple[str, ...]) -> tuple[str, ...]:
        """``offered`` algorithms, those first whose key we hold: the server then shows that key.

        Certificates come before all of them where an authority is trusted for the host.
        """
        held: list[str] = []
        for name in known_types(self._known, self._hop.key_names):
            held += _RSA_SIGNATURES if name == "ssh-rsa" else (name,)
        first = [name for name in held if name in offered]
        signed = _CERTIFICATES if authorities(self._known, self._hop.key_names) else ()
        return (*signed, *first, *(name for name in offered if name not in first))

    def missing_host_key(
        self, client: paramiko.SSHClient, hostname: str, key: paramiko.PKey
    ) -> None:
        """Return where the key is known (or newly accepted); else raise HostKeyError."""
        blob = key.asbytes()
        judgement = judge(self._known, self._hop.key_names, blob)
        if judgement.standing is Standing.KNOWN:
            return
        distrust = self._why_not_vouched_for(key)
        if distrust is None and judgement.standing is not Standing.REVOKED:
            return
        if self._may_accept(judgement):
            self._accept(blob)
            return
        raise HostKeyError(
            refusal(self._hop, self._known, judgement, blob, distrust or ""),
            device=self._hop.endpoint.device,
        )

    def _why_not_vouched_for(self, key: paramiko.PKey) -> str | None:
        """Say why no certificate vouches for the key; None where one of a trusted authority says
        whose key this is."""
        names = self._hop.key_names
        trusted = authorities(self._known, names)
        shown = key.public_blob
        if not trusted or shown is None:
            return "it showed none"
        for line in trusted:
            if judge(self._known, names, line.blob).standing is Standing.REVOKED:
                return f"the authority of {line.place} is marked @revoked"
        return certificates.problem(
            shown.key_blob, self._hop.host_key_alias or self._hop.host, trusted
        )

    def _may_accept(self, judgement: Judgement) -> bool:
        """StrictHostKeyChecking accept-new, for a host of which nothing at all is known."""
        return (
            self._hop.checking == "accept-new"
            and judgement.standing is Standing.UNKNOWN
            and not judgement.lines
            and not judgement.authorities
            and _writable(self._hop) is not None
        )

    def _accept(self, blob: bytes) -> None:
        name = self._hop.key_names[0]
        file = _writable(self._hop)
        if file is None:
            return
        try:
            remember(file, line_for(hashed(name) if self._hop.hash_names else name, blob))
        except OSError as exc:
            raise HostKeyError(
                f"StrictHostKeyChecking accept-new: cannot write the key to {file}: {exc.strerror}",
                device=self._hop.endpoint.device,
            ) from exc


def refusal(
    hop: Hop, known: KnownHosts, judgement: Judgement, blob: bytes, distrust: str = ""
) -> str:
    """What is wrong with the key, and what to do about it.

    ``distrust`` is why no certificate vouches for it, where an authority is trusted.
    """
    if judgement.standing is Standing.REVOKED:
        return (
            f"the host key of {hop.address} is marked @revoked in {judgement.lines[0].place} "
            f"({_shown(blob)}); do not connect, ask the machine's owner"
        )
    if judgement.standing is Standing.CHANGED:
        return _changed(hop, judgement, blob)
    return _unknown(hop, known, judgement, blob, distrust)


def _unknown(hop: Hop, known: KnownHosts, judgement: Judgement, blob: bytes, distrust: str) -> str:
    looked = ", ".join(str(file) for file in known.files) or "no file (none is configured)"
    lines = [f"the host key of {hop.address} is unknown: {_shown(blob)}", f"looked in: {looked}"]
    if judgement.lines:
        lines.append(
            "known there are only keys of other types, which it did not show: "
            + ", ".join(f"{x.key_type} ({x.place})" for x in judgement.lines)
        )
    trusted = authorities(known, hop.key_names)
    if trusted:
        lines.append(
            f"{trusted[0].place} trusts a certificate authority for it, whose certificate is not "
            f"accepted: {distrust}"
        )
    lines += [f"could not be read: {problem}" for problem in known.problems]
    if hop.checking in ("no", "off"):
        lines.append(f"StrictHostKeyChecking {hop.checking} is not followed here")
    return "\n  ".join([*lines, _compare(blob), _acceptance(hop, blob)])


def _changed(hop: Hop, judgement: Judgement, blob: bytes) -> str:
    lines = [f"the host key of {hop.address} has CHANGED: now {_shown(blob)}"]
    lines += [f"before: {_shown(x.blob)}, {x.place}" for x in judgement.lines]
    lines.append("either the machine was set up anew, or somebody stands in between; ask its owner")
    lines.append(_compare(blob))
    forget = " && ".join(_forgetting(hop, judgement))
    lines.append(_acceptance(hop, blob, first=f"{forget} && "))
    return "\n  ".join(lines)


def _forgetting(hop: Hop, judgement: Judgement) -> list[str]:
    """Commands that remove the old keys: by name, or by line where ssh-keygen -R finds no name."""
    commands: dict[str, None] = {}
    for line in reversed(judgement.lines):
        file = shlex.quote(str(line.file))
        if line.has_wildcard:
            commands[f"sed -i {line.number}d {file}"] = None
        else:
            commands[f"ssh-keygen -R {shlex.quote(hop.key_names[0])} -f {file}"] = None
    return list(commands)


def _acceptance(hop: Hop, blob: bytes, first: str = "") -> str:
    """The command that makes the key known.

    ssh-keyscan where it reaches the host and writes the right name; else the key's own line.
    """
    file = _writable(hop)
    if file is None:
        return "no file to keep it in is configured: give the device `known_hosts`"
    target = shlex.quote(str(file))
    if not file.parent.is_dir():
        first += f"mkdir -p -m 700 {shlex.quote(str(file.parent))} && "
    if hop.behind_gateway or hop.host_key_alias:
        add = f"echo {shlex.quote(line_for(hop.key_names[0], blob))} >> {target}"
    else:
        add = f"ssh-keyscan -p {hop.port} -t {_short(blob)} {shlex.quote(hop.host)} >> {target}"
    return f"then accept it with: {first}{add}"


def _writable(hop: Hop) -> Path | None:
    return next((file for file in hop.known_hosts if str(file) != "/dev/null"), None)


def _compare(blob: bytes) -> str:
    name = f"/etc/ssh/ssh_host_{_short(blob)}_key.pub"
    return f"compare the fingerprint with what the machine itself says: ssh-keygen -lf {name}"


def _shown(blob: bytes) -> str:
    return f"{key_type(blob)} {fingerprint(blob)}"


def _short(blob: bytes) -> str:
    return _SHORT_TYPES.get(key_type(blob), "ecdsa")
