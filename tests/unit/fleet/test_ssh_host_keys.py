"""known_hosts: what is read, what is matched, what it means for a key."""

from __future__ import annotations

import base64
import struct
import subprocess
from pathlib import Path

import pytest

from orchestrator.fleet.ssh.host_keys import (
    Standing,
    fingerprint,
    hashed,
    host_names,
    judge,
    key_type,
    known_types,
    line_for,
    read_known_hosts,
    remember,
)
from tests.sshd import generate_key


def blob(kind: str = "ssh-ed25519", body: bytes = b"k" * 32) -> bytes:
    return struct.pack(">I", len(kind)) + kind.encode() + struct.pack(">I", len(body)) + body


A, B = blob(body=b"a" * 32), blob(body=b"b" * 32)
RSA = blob("ssh-rsa", b"r" * 64)


def standing(tmp_path: Path, text: str, key: bytes, names: tuple[str, ...]) -> Standing:
    (tmp_path / "kh").write_text(text)
    return judge(read_known_hosts([tmp_path / "kh"]), names, key).standing


@pytest.mark.parametrize(
    ("pattern", "name", "matches"),
    [
        ("host", "host", True),
        ("HOST", "host", True),
        ("host", "hostx", False),
        ("other,host", "host", True),
        ("*.lab.org", "a.lab.org", True),
        ("*.lab.org", "lab.org", False),
        ("h?st", "host", True),
        ("*.lab.org,!bad.lab.org", "bad.lab.org", False),
        ("!bad.lab.org", "good.lab.org", False),
        ("[host]:2222", "[host]:2222", True),
        ("[host]:2222", "h", False),
        ("[10.0.0.*]:*", "[10.0.0.7]:2222", True),
        ("10.0.0.1", "10x0x0x1", False),
        ("|1|broken", "host", False),
        ("|1|a|b|c", "host", False),
    ],
)
def test_names(tmp_path: Path, pattern: str, name: str, matches: bool) -> None:
    found = standing(tmp_path, line_for(pattern, A) + "\n", A, (name,))
    assert found is (Standing.KNOWN if matches else Standing.UNKNOWN)


def test_a_hashed_name_is_what_ssh_keygen_finds(tmp_path: Path) -> None:
    name = "[10.0.0.1]:2222"
    file = tmp_path / "kh"
    real = generate_key(tmp_path / "k")
    key = base64.b64decode(real.with_suffix(".pub").read_text().split()[1])
    file.write_text(line_for(hashed(name), key) + "\n")
    found = subprocess.run(
        ["ssh-keygen", "-l", "-F", name, "-f", file], capture_output=True, check=True
    )
    assert fingerprint(key) in found.stdout.decode()
    assert judge(read_known_hosts([file]), (name,), key).standing is Standing.KNOWN


def test_a_different_key_of_the_same_type_is_a_change(tmp_path: Path) -> None:
    assert standing(tmp_path, line_for("h", A), B, ("h",)) is Standing.CHANGED


def test_one_of_several_keys_of_a_type_is_enough(tmp_path: Path) -> None:
    text = line_for("h", A) + "\n" + line_for("h", B)
    assert standing(tmp_path, text, B, ("h",)) is Standing.KNOWN


def test_a_key_of_another_type_is_unknown_and_the_known_ones_are_told(tmp_path: Path) -> None:
    (tmp_path / "kh").write_text(line_for("h", RSA))
    judgement = judge(read_known_hosts([tmp_path / "kh"]), ("h",), A)
    assert judgement.standing is Standing.UNKNOWN
    assert [line.place for line in judgement.lines] == [f"{tmp_path}/kh:1"]


def test_revocation_wins_wherever_it_stands(tmp_path: Path) -> None:
    text = line_for("h", A) + "\n@revoked " + line_for("*", A)
    assert standing(tmp_path, text, A, ("h",)) is Standing.REVOKED
    assert standing(tmp_path, text, B, ("h",)) is Standing.CHANGED


def test_an_authority_makes_no_key_known(tmp_path: Path) -> None:
    text = "@cert-authority " + line_for("h", A)
    assert standing(tmp_path, text, A, ("h",)) is Standing.UNKNOWN


def test_the_name_without_port_only_confirms(tmp_path: Path) -> None:
    names = host_names("Host", 2222, None)
    assert names == ("[host]:2222", "host")
    assert standing(tmp_path, line_for("host", A), A, names) is Standing.KNOWN
    assert standing(tmp_path, line_for("host", A), B, names) is Standing.UNKNOWN
    both = line_for("host", A) + "\n" + line_for("[host]:2222", B)
    assert standing(tmp_path, both, A, names) is Standing.CHANGED


def test_names_without_port_or_with_alias() -> None:
    assert host_names("h", 22, None) == ("h",)
    assert host_names("h", 2222, "Lab") == ("lab",)


def test_a_line_that_cannot_be_read_is_noted_and_hides_nothing(tmp_path: Path) -> None:
    lines = [
        "# a comment",
        "",
        "too few",
        "h ssh-ed25519 not-base64!",
        f"h ssh-rsa {base64.b64encode(A).decode()}",
        f"h ssh-ed25519 {base64.b64encode(b'xx').decode()}",
        f"@odd {line_for('h', A)}",
        f"   {line_for('h', B)}   a comment",
    ]
    (tmp_path / "kh").write_bytes("\n".join(lines).encode() + b"\r\n\xff h\n")
    known = read_known_hosts([tmp_path / "missing", tmp_path / "kh"])
    assert [(line.number, line.blob) for line in known.lines] == [(8, B)]
    places = [problem.split(": ")[0] for problem in known.problems]
    assert places == [f"{tmp_path}/kh:{n}" for n in (3, 4, 5, 6, 7, 9)]
    assert "it says ssh-rsa, its key is ssh-ed25519" in known.problems[2]


def test_the_types_held_come_in_the_order_of_the_files(tmp_path: Path) -> None:
    text = "\n".join(
        [line_for("h", RSA), line_for("h", A), line_for("h", B), "@revoked " + line_for("h", A)]
    )
    (tmp_path / "kh").write_text(text)
    known = read_known_hosts([tmp_path / "kh"])
    assert known_types(known, ("h",)) == ["ssh-rsa", "ssh-ed25519"]
    assert known_types(known, ("[h]:22", "h")) == ["ssh-rsa", "ssh-ed25519"]
    assert known_types(known, ("x",)) == []


def test_remembering_makes_the_folder_and_ends_a_torn_line(tmp_path: Path) -> None:
    file = tmp_path / "new" / "kh"
    remember(file, "one")
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.parent.stat().st_mode & 0o777 == 0o700
    file.write_text("torn")
    remember(file, "two")
    assert file.read_text() == "torn\ntwo\n"


def test_key_type_of_a_key() -> None:
    assert key_type(RSA) == "ssh-rsa"
