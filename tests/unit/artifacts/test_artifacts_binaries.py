"""Resolving benchmark_model against a real HTTP server on this machine."""

from __future__ import annotations

import hashlib
import http.server
import json
import struct
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from orchestrator.artifacts.binaries import (
    BinaryArtifact,
    android_platform_of,
    official_url,
    platform_of,
    resolve_binary,
    stored_binary,
)
from orchestrator.artifacts.elf import MACHINES
from orchestrator.artifacts.tool import Tool
from orchestrator.cli import main
from orchestrator.errors import ArtifactError
from orchestrator.frameworks.tflite.about import TOOL

X86 = "linux_x86-64"


def elf(platform: str, payload: bytes = b"", kind: int = 3) -> bytes:
    ident = b"\x7fELF" + bytes([1 if platform == "linux_arm" else 2, 1, 1]) + b"\0" * 9
    return ident + struct.pack("<HH", kind, MACHINES[platform]) + payload


@dataclass(frozen=True)
class Spec:
    tool: Tool = TOOL
    path: Path | None = None
    url: str | None = None
    sha256: str | None = None


@dataclass
class Server:
    """Answers with ``body`` (cut after ``cut`` bytes) or ``status``, and counts the downloads."""

    url: str = ""
    body: bytes = elf(X86, b"first build")
    status: int = 200
    cut: int | None = None
    downloads: list[str] = field(default_factory=list)


@pytest.fixture
def server() -> Iterator[Server]:
    state = Server()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self._head()

        def do_GET(self) -> None:
            state.downloads.append(self.path)
            self._head()
            self.wfile.write(state.body[: state.cut])

        def _head(self) -> None:
            self.send_response(state.status)
            self.send_header("Content-Length", str(len(state.body)))
            self.end_headers()

        def log_message(self, *args: object) -> None:
            pass

    httpd = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state.url = f"http://127.0.0.1:{httpd.server_address[1]}/linux_x86-64_benchmark_model"
    thread = threading.Thread(target=httpd.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield state
    httpd.shutdown()
    httpd.server_close()


def resolve(models: Path, url: str, sha256: str | None = None) -> BinaryArtifact:
    return resolve_binary(Spec(url=url, sha256=sha256), X86, models)


def files(models: Path) -> list[str]:
    return sorted(p.name for p in (models / "binaries").iterdir() if p.name != ".lock")


def test_fetched_once_then_used_without_network(server: Server, tmp_path: Path) -> None:
    said: list[str] = []
    first = resolve_binary(Spec(url=server.url), X86, tmp_path, said.append)
    assert first.path.read_bytes() == server.body
    assert first.sha256 == hashlib.sha256(server.body).hexdigest()
    assert (first.size_bytes, first.source, first.pinned) == (len(server.body), server.url, False)
    assert any(server.url in line for line in said)

    server.status = 500
    again = resolve(tmp_path, server.url)
    assert (again.path, again.sha256, again.pinned) == (first.path, first.sha256, True)
    assert len(server.downloads) == 1
    lock = json.loads((tmp_path / "binaries.lock.json").read_text())
    assert lock["binaries"][server.url]["sha256"] == first.sha256


def test_official_is_an_address_by_platform(server: Server, tmp_path: Path) -> None:
    assert official_url(TOOL, "linux_aarch64").endswith("/latest/linux_aarch64_benchmark_model")
    base = server.url.replace(X86, "{platform}")
    resolve_binary(Spec(tool=replace(TOOL, official=base)), X86, tmp_path)
    assert server.downloads == ["/linux_x86-64_benchmark_model"]


def test_another_build_under_the_same_address_is_refused(server: Server, tmp_path: Path) -> None:
    first = resolve(tmp_path, server.url)
    first.path.unlink()
    server.body = elf(X86, b"second build")
    second_sha256 = hashlib.sha256(server.body).hexdigest()

    with pytest.raises(ArtifactError, match=r"delete the address from .*binaries\.lock\.json") as e:
        resolve(tmp_path, server.url)
    assert first.sha256 in str(e.value)
    assert second_sha256 in str(e.value)
    assert files(tmp_path) == []


def test_a_hash_in_the_inventory_pins(server: Server, tmp_path: Path) -> None:
    right = hashlib.sha256(server.body).hexdigest()
    with pytest.raises(ArtifactError, match=r"(?s)" + right + ".*" + "0" * 64 + ".*`sha256:`"):
        resolve(tmp_path, server.url, "0" * 64)
    assert files(tmp_path) == []
    assert not (tmp_path / "binaries.lock.json").exists()
    assert resolve(tmp_path, server.url, right).pinned


def test_the_inventory_may_move_on_to_another_build(server: Server, tmp_path: Path) -> None:
    first = resolve(tmp_path, server.url)
    server.body = elf(X86, b"second build")
    second = resolve(tmp_path, server.url, hashlib.sha256(server.body).hexdigest())
    assert second.sha256 != first.sha256
    assert stored_binary(first.sha256, tmp_path).path == first.path  # resumable still


def test_a_damaged_stored_file_is_fetched_again(server: Server, tmp_path: Path) -> None:
    first = resolve(tmp_path, server.url)
    first.path.write_bytes(b"\x7fELF torn")
    with pytest.raises(ArtifactError, match="damaged"):
        stored_binary(first.sha256, tmp_path)
    assert resolve(tmp_path, server.url).path.read_bytes() == server.body
    assert len(server.downloads) == 2


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"<!DOCTYPE html><html>Sign in", "is not a Linux executable"),
        (b"", "is not a Linux executable"),
        (b"\x7fELF", "cut off"),
        (elf("linux_aarch64"), "is for aarch64, the device is linux_x86-64"),
        (elf(X86, kind=1), "no executable"),
    ],
)
def test_what_cannot_run_there_is_refused(
    server: Server, tmp_path: Path, body: bytes, why: str
) -> None:
    server.body = body
    with pytest.raises(ArtifactError, match=why):
        resolve(tmp_path, server.url)
    assert files(tmp_path) == []
    assert not (tmp_path / "binaries.lock.json").exists()


def test_http_errors_name_the_address_and_the_way_out(server: Server, tmp_path: Path) -> None:
    server.status = 404
    with pytest.raises(ArtifactError, match="the server answers 404") as caught:
        resolve(tmp_path, server.url)
    assert server.url in str(caught.value)
    assert "path/to/benchmark_model" in str(caught.value)


def test_a_download_that_breaks_off_is_no_download(server: Server, tmp_path: Path) -> None:
    server.cut = 25
    with pytest.raises(ArtifactError, match="broke off after 25 of"):
        resolve(tmp_path, server.url)
    assert files(tmp_path) == []


def test_nobody_there(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"127\.0\.0\.1 cannot be reached: .*refused"):
        resolve(tmp_path, "http://127.0.0.1:1/benchmark_model")


def test_other_kinds_of_address_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="only http and https"):
        resolve(tmp_path, "file:///etc/passwd")


def test_a_path_is_copied_and_found_again(tmp_path: Path) -> None:
    mine = tmp_path / "benchmark_model"
    mine.write_bytes(elf("linux_arm"))
    spec = Spec(path=mine)
    found = resolve_binary(spec, "linux_arm", tmp_path / "models")
    mine.write_bytes(b"rebuilt meanwhile")
    assert stored_binary(found.sha256, tmp_path / "models").path.read_bytes() == elf("linux_arm")
    assert (found.source, found.pinned) == (str(mine), False)


def test_a_path_is_checked_against_its_hash(tmp_path: Path) -> None:
    mine = tmp_path / "benchmark_model"
    mine.write_bytes(elf(X86))
    with pytest.raises(ArtifactError, match="0" * 64):
        resolve_binary(Spec(path=mine, sha256="0" * 64), X86, tmp_path / "models")
    with pytest.raises(ArtifactError, match="No such file"):
        resolve_binary(Spec(path=tmp_path / "absent"), X86, tmp_path / "models")


def test_an_unknown_stored_hash_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="holds no binary"):
        stored_binary("0" * 64, tmp_path)


def test_a_lock_that_is_not_understood_is_kept(server: Server, tmp_path: Path) -> None:
    lock = tmp_path / "binaries.lock.json"
    lock.write_text('{"format": 1, "binaries": {"u": ')
    with pytest.raises(ArtifactError, match="cannot be read"):
        resolve(tmp_path, server.url)
    assert lock.read_text() == '{"format": 1, "binaries": {"u": '


def test_platforms_by_what_uname_says() -> None:
    assert platform_of(TOOL, "x86_64") == X86
    assert platform_of(TOOL, "aarch64") == "linux_aarch64"
    with pytest.raises(ArtifactError, match=r"riscv64.*litert"):
        platform_of(TOOL, "riscv64")


def test_platforms_by_what_android_calls_them() -> None:
    assert android_platform_of(TOOL, "arm64-v8a") == "android_aarch64"
    assert android_platform_of(TOOL, "armeabi-v7a") == "android_arm"
    assert official_url(TOOL, "android_arm").endswith("/latest/android_arm_benchmark_model")
    with pytest.raises(ArtifactError, match="no official benchmark_model for android_x86-64"):
        official_url(TOOL, android_platform_of(TOOL, "x86_64"))
    with pytest.raises(ArtifactError, match="riscv64"):
        android_platform_of(TOOL, "riscv64")


def test_a_32_bit_user_land_on_a_64_bit_kernel_gets_the_binary_that_it_can_run() -> None:
    assert platform_of(TOOL, "aarch64", 32) == "linux_arm"
    assert platform_of(TOOL, "aarch64", 64) == "linux_aarch64"
    assert platform_of(TOOL, "armv7l", 32) == "linux_arm"
    assert platform_of(TOOL, "armv8l", 32) == "linux_arm"
    with pytest.raises(ArtifactError, match="i686"):
        platform_of(TOOL, "x86_64", 32)


def test_this_machine_s_own_user_land_decides_where_it_is_the_device(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A Raspberry Pi with a 64-bit kernel under 32-bit programs."""
    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    monkeypatch.setattr("orchestrator.answers.binaries.userland_bits", lambda tree: 32)
    inventory = tmp_path / "inventory.yaml"
    inventory.write_text("devices: [{name: here, transport: local, benchmark_model: official}]\n")
    arguments = ["models", "binaries", "--inventory", str(inventory), "--json"]
    assert main([*arguments, "--models", str(tmp_path / "models")]) == 0
    (row,) = json.loads(capsys.readouterr().out)["binaries"]
    assert (row["platform"], row["state"]) == ("linux_arm", "missing")


def test_models_binaries_lists_what_each_device_gets(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine").write_bytes(elf("linux_aarch64"))
    inventory = tmp_path / "inventory.yaml"
    inventory.write_text(f"""
defaults: {{transport: ssh}}
devices:
  - {{name: fetched, benchmark_model: "{server.url}", expect: {{architecture: x86_64}}}}
  - {{name: own, benchmark_model: mine, expect: {{architecture: aarch64}}}}
  - {{name: foreign, benchmark_model: mine, expect: {{architecture: x86_64}}}}
  - {{name: old, benchmark_model: official, expect: {{architecture: aarch64, userland_bits: 32}}}}
  - {{name: unasked, benchmark_model: official}}
  - {{name: python}}
  - {{name: phone, transport: adb, serial: A, expect: {{abi: arm64-v8a}}}}
  - {{name: tablet, transport: adb, serial: B}}
  - {{name: emulator, transport: adb, serial: C, expect: {{abi: x86_64}}}}
""")

    def rows(*options: str) -> dict[str, dict[str, object]]:
        arguments = ["models", "binaries", "--inventory", str(inventory), "--json"]
        code = main([*arguments, "--models", str(tmp_path / "models"), *options])
        assert code == 1  # one of them is wrong
        found = json.loads(capsys.readouterr().out)["binaries"]
        return {row["device"]: row for row in found}

    before = rows("--device", "fetched", "--device", "foreign")
    assert before["fetched"]["state"] == "missing"
    assert not server.downloads and not (tmp_path / "models").exists()
    after = rows(
        *("--fetch", "--device", "fetched", "--device", "own", "--device", "foreign"),
        *("--device", "python"),
    )
    assert (after["fetched"]["state"], after["fetched"]["pinned"]) == ("there", False)
    assert after["own"]["sha256"] == hashlib.sha256(elf("linux_aarch64")).hexdigest()
    assert after["foreign"]["state"] == "wrong"
    assert "is for aarch64" in str(after["foreign"]["reason"])
    assert after["python"]["state"] == "none"
    every = rows()
    assert (every["fetched"]["state"], every["fetched"]["pinned"]) == ("there", True)
    assert every["old"]["platform"] == "linux_arm"
    assert every["old"]["source"] == official_url(TOOL, "linux_arm")
    assert (every["old"]["state"], every["unasked"]["state"]) == ("missing", "unknown")
    assert every["phone"]["source"] == official_url(TOOL, "android_aarch64")
    assert every["tablet"]["state"] == "unknown" and "abi" in str(every["tablet"]["reason"])
    assert every["emulator"]["state"] == "wrong"
