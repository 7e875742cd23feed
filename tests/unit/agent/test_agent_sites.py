"""Site bundles on the node: unpacked whole or not at all, and nothing beside their folder."""

from __future__ import annotations

import hashlib
import io
import os
import stat
import struct
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from orchestrate_agent import home
from orchestrate_agent.errors import EXIT_NO_SPACE, EXIT_WRONG_BYTES, AgentError
from orchestrate_agent.files import blobs, sites
from orchestrate_agent.files.blobs import DamagedBlobError
from orchestrate_agent.files.sites import SiteStore

GOOD = (("pkg/__init__.py", b"VALUE = 1\n"), ("pkg/data.bin", b"\0" * 5000), ("one.py", b"1\n"))

Members = Sequence[tuple["str | zipfile.ZipInfo", bytes]]


@pytest.fixture(autouse=True)
def in_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    umask = os.umask(0o022)
    home.enter(str(tmp_path / "home"))
    os.umask(umask)
    return tmp_path / "home"


def zipped(members: Members) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return data.getvalue()


def pushed(data: bytes) -> str:
    sha256 = hashlib.sha256(data).hexdigest()
    blobs.put(sha256, len(data), io.BytesIO(data))
    return sha256


def unpack(in_home: Path, data: bytes) -> str:
    return sites.unpack(str(in_home), pushed(data))


def left(in_home: Path) -> list[str]:
    """What is in the folder of sites, the locks apart."""
    return sorted(p.name for p in (in_home / "sites").glob("*") if not p.name.startswith(".lock-"))


def test_a_bundle_is_unpacked_once_read_only_and_compiled(in_home: Path) -> None:
    data = zipped(GOOD)
    assert unpack(in_home, data) == "unpacked"
    assert unpack(in_home, data) == "present"
    sha256 = hashlib.sha256(data).hexdigest()
    assert left(in_home) == [sha256]
    folder = Path(SiteStore(str(in_home)).path(sha256))
    assert (folder / "pkg/__init__.py").read_bytes() == b"VALUE = 1\n"
    assert list(folder.glob("pkg/__pycache__/__init__.*.pyc"))
    for path in folder.rglob("*"):
        if path.is_file() and path.suffix != ".pyc":
            assert stat.S_IMODE(path.stat().st_mode) == 0o400
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", f"import sys; sys.path.insert(1, {str(folder)!r})\n"
         "import pkg; print(pkg.__file__, pkg.VALUE)"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout == f"{folder}/pkg/__init__.py 1\n"


def test_several_at_once_make_one_folder(in_home: Path) -> None:
    sha256 = pushed(zipped(GOOD))
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: sites.unpack(str(in_home), sha256), range(4)))
    assert sorted(answers) == ["present", "present", "present", "unpacked"]
    assert left(in_home) == [sha256]


def link(name: str) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.create_system, info.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
    return info


def device(name: str) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.create_system, info.external_attr = 3, (stat.S_IFCHR | 0o666) << 16
    return info


@pytest.mark.parametrize(
    "members",
    [
        [("../escaped.py", b"x")],
        [("pkg/../../escaped.py", b"x")],
        [("/tmp/escaped.py", b"x")],
        [("pkg//double.py", b"x")],
        [("./here.py", b"x")],
        [("pkg\\..\\escaped.py", b"x")],
        [("pkg/", b"")],
        [(link("pkg/link"), b"/etc/passwd")],
        [(link("pkg"), b"/tmp"), ("pkg/through.py", b"x")],
        [(device("null"), b"")],
        [("pkg/__pycache__/evil.cpython-311.pyc", b"x")],
        [("pkg", b"x"), ("pkg/inside.py", b"x")],
    ],
    ids=lambda members: str(getattr(members[0][0], "filename", members[0][0])),
)
def test_a_hostile_archive_leaves_nothing(in_home: Path, members: Members) -> None:
    before = {p for p in in_home.parent.rglob("*") if "blobs" not in p.parts}
    with pytest.raises(AgentError) as caught:
        unpack(in_home, zipped([("first.py", b"1"), *members]))
    assert caught.value.exit_code == EXIT_WRONG_BYTES
    assert left(in_home) == []
    after = {p for p in in_home.parent.rglob("*") if "blobs" not in p.parts}
    assert {p.name.partition("-")[0] for p in after - before} <= {"sites", ".lock"}
    assert not Path("/tmp/escaped.py").exists()


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_one_name_twice_is_refused(in_home: Path) -> None:
    with pytest.raises(AgentError, match="not a file of its own"):
        unpack(in_home, zipped([("one.py", b"1"), ("one.py", b"2")]))


def test_what_would_fill_the_disk_is_refused_unread(
    in_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as bounds:
        bounds.setattr(sites, "MAX_BYTES", 1000)
        with pytest.raises(AgentError, match="or 1000 bytes"):
            unpack(in_home, zipped([("zeros", b"\0" * 10_000)]))
    monkeypatch.setattr(sites, "MAX_FILES", 2)
    with pytest.raises(AgentError, match="more than 2 files"):
        unpack(in_home, zipped(GOOD))
    assert left(in_home) == []


def test_a_size_that_is_a_lie_unpacks_no_more_than_it_says(in_home: Path) -> None:
    data = bytearray(zipped([("zeros", b"\0" * 1_000_000)]))
    # the uncompressed size, in the header of the member and in the central directory
    for signature, offset in ((b"PK\3\4", 22), (b"PK\1\2", 24)):
        at = data.index(signature) + offset
        data[at : at + 4] = struct.pack("<I", 10)
    with pytest.raises(AgentError) as caught:
        unpack(in_home, bytes(data))
    assert caught.value.exit_code == EXIT_WRONG_BYTES
    assert left(in_home) == []


@pytest.mark.parametrize("cut", [0, 10, 200, -5])
def test_what_is_no_zip_file_is_refused(in_home: Path, cut: int) -> None:
    with pytest.raises(AgentError) as caught:
        unpack(in_home, zipped(GOOD)[:cut])
    assert caught.value.exit_code == EXIT_WRONG_BYTES
    assert left(in_home) == []


def test_a_full_disk_is_told_apart(in_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sites, "SPARE_BYTES", 2**60)
    with pytest.raises(AgentError, match="does not fit") as caught:
        unpack(in_home, zipped(GOOD))
    assert caught.value.exit_code == EXIT_NO_SPACE


def test_what_a_killed_attempt_left_is_not_used(in_home: Path) -> None:
    sha256 = pushed(zipped(GOOD))
    half = in_home / "sites" / f".unpack-{sha256}"
    (half / "pkg").mkdir(parents=True)
    (half / "pkg" / "__init__.py").write_bytes(b"half")
    store = SiteStore(str(in_home))
    with pytest.raises(DamagedBlobError, match="not unpacked"):
        store.path(sha256)
    assert sites.unpack(str(in_home), sha256) == "unpacked"
    assert left(in_home) == [sha256]
    assert Path(store.path(sha256), "pkg/__init__.py").read_bytes() == b"VALUE = 1\n"


@pytest.mark.parametrize("damage", ["changed", "gone", "more"])
def test_a_folder_that_was_tampered_with_is_not_used(in_home: Path, damage: str) -> None:
    data = zipped(GOOD)
    unpack(in_home, data)
    sha256 = hashlib.sha256(data).hexdigest()
    folder = in_home / "sites" / sha256
    file = folder / "pkg" / "data.bin"
    if damage == "changed":
        file.chmod(0o600)
        file.write_bytes(b"\1" * 5000)
    elif damage == "gone":
        file.unlink()
    else:
        (folder / "numpy.py").write_bytes(b"evil")
    with pytest.raises(DamagedBlobError, match="push it again"):
        SiteStore(str(in_home)).path(sha256)
    assert unpack(in_home, data) == "unpacked"
    assert SiteStore(str(in_home)).path(sha256) == str(folder)
