"""The official ``benchmark_model`` binary: fetched once, pinned by its hash, found again.

``models/binaries/`` holds the files, ``models/binaries.lock.json`` what each address gave:
``{"format": 1, "binaries": {url: {"sha256", "size_bytes", "platform", "fetched"}}}``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Protocol

from orchestrator.artifacts.download import check_reachable, fetch
from orchestrator.artifacts.elf import HEADER_BYTES, MACHINES, check_executable
from orchestrator.artifacts.files import (
    has_sha256,
    locked,
    make_folder,
    put_in_place,
    remove_partials,
    sha256_of,
    translated,
    write_atomically,
)
from orchestrator.artifacts.lock_file import LockFile
from orchestrator.artifacts.tool import Tool
from orchestrator.errors import ArtifactError


class BinarySpec(Protocol):
    """Says where a binary comes from: a file, an address, or, with neither, the official one."""

    @property
    def tool(self) -> Tool: ...
    @property
    def path(self) -> Path | None: ...
    @property
    def url(self) -> str | None: ...
    @property
    def sha256(self) -> str | None: ...


@dataclass(frozen=True)
class BinaryArtifact:
    """A binary in ``models/binaries/``.

    ``pinned``: its hash was known beforehand, from the inventory or from the first time it was
    fetched. False the first time an address without a hash is used.
    """

    path: Path
    sha256: str
    size_bytes: int
    source: str
    pinned: bool


def platform_of(tool: Tool, machine: str, userland_bits: int | None = None) -> str:
    """The platform's name in the official addresses, of what ``uname -m`` prints.

    ``userland_bits`` 32: the programs installed are of 32 bits, whatever the kernel is, as on many
    a Raspberry Pi. Raises ArtifactError where no official binary exists.
    """
    if userland_bits == 32:
        machine = {"aarch64": "armv7l", "x86_64": "i686"}.get(machine, machine)
    try:
        return tool.platforms[machine]
    except KeyError:
        raise ArtifactError(
            f"there is no {tool.name} for {machine} (there is for {', '.join(tool.platforms)}); "
            f"remove the device's `{tool.name}:` and it is measured by the {tool.instead} runner"
        ) from None


def android_platform_of(tool: Tool, abi: str) -> str:
    """The platform's name for what ``getprop ro.product.cpu.abi`` prints. Raises ArtifactError."""
    try:
        return tool.android[abi]
    except KeyError:
        raise ArtifactError(
            f"there is no {tool.name} for Android on {abi} (there is for "
            f"{', '.join(tool.android)}), and nothing else runs on an Android device"
        ) from None


def official_url(tool: Tool, platform: str) -> str:
    """The address of the (unpinned) official nightly for ``linux_x86-64`` and so on.

    Raises ArtifactError where none is published.
    """
    if platform in tool.unpublished:
        raise ArtifactError(
            f"there is no official {tool.name} for {platform}; build one, and name it in the "
            f"inventory: `{tool.name}: path/to/{tool.name}`"
        )
    return tool.official.format(platform=platform)


def resolve_binary(
    spec: BinarySpec,
    platform: str,
    models_dir: Path,
    on_progress: Callable[[str], None] = lambda _: None,
) -> BinaryArtifact:
    """The binary that ``spec`` names, checked and copied into ``models_dir``.

    An address is fetched once; after that the stored file is used, without network. Raises
    ArtifactError where it cannot be had, is another than pinned, or is for another machine.
    """
    if platform not in MACHINES:
        raise ArtifactError(f"{platform}: not one of {', '.join(MACHINES)}")
    folder = models_dir / "binaries"
    make_folder(folder)
    with locked(folder / ".lock", lambda: on_progress("waiting: another process fetches here")):
        if spec.path is not None:
            return _from_path(spec, spec.path, platform, folder)
        url = spec.url or official_url(spec.tool, platform)
        return _from_url(url, spec, platform, folder, on_progress)


def find_binary(spec: BinarySpec, platform: str, models_dir: Path) -> BinaryArtifact | None:
    """What :func:`resolve_binary` would give without the network, None where it would fetch.

    Writes nothing. Raises ArtifactError where a file of the user's cannot be used.
    """
    folder = models_dir / "binaries"
    if spec.path is not None:
        data = _read(spec.tool, spec.path, platform, spec.sha256)
        sha256 = hashlib.sha256(data).hexdigest()
        return BinaryArtifact(
            spec.path, sha256, len(data), str(spec.path), pinned=spec.sha256 is not None
        )
    return _stored(spec.url or official_url(spec.tool, platform), spec, platform, folder)


def stored_binary(sha256: str, models_dir: Path) -> BinaryArtifact:
    """The binary with this hash that an earlier run used. Raises ArtifactError."""
    for path in (models_dir / "binaries").glob(f"*-{sha256[:16]}"):
        with translated(path):
            actual = sha256_of(path)
            size_bytes = path.stat().st_size
        if actual == sha256:
            return BinaryArtifact(path, sha256, size_bytes, source=str(path), pinned=True)
        raise ArtifactError(
            f"{path}: its SHA-256 is {actual}, not {sha256}: the file is damaged; delete it and "
            f"start a new run"
        )
    raise ArtifactError(
        f"{models_dir / 'binaries'}: holds no binary with SHA-256 {sha256}; name the "
        f"folder that does with --models"
    )


# -- a file of the user's -------------------------------------------------------------------------


def _from_path(spec: BinarySpec, path: Path, platform: str, folder: Path) -> BinaryArtifact:
    """Copied, so that the same bytes are there when the run is resumed."""
    data = _read(spec.tool, path, platform, spec.sha256)
    sha256 = hashlib.sha256(data).hexdigest()
    final = _final(folder, spec.tool, platform, sha256)
    if not has_sha256(final, sha256):
        with translated(folder):
            write_atomically(final, data)
    return BinaryArtifact(final, sha256, len(data), str(path), pinned=spec.sha256 is not None)


def _read(tool: Tool, path: Path, platform: str, expected: str | None) -> bytes:
    try:
        data = path.read_bytes()
    except OSError as exc:
        raise ArtifactError(f"{tool.name} {path}: {exc.strerror or exc}") from exc
    check_executable(data[:HEADER_BYTES], platform, str(path))
    sha256 = hashlib.sha256(data).hexdigest()
    if expected is not None and sha256 != expected:
        raise _differs(str(path), sha256, expected, "correct `sha256:` in the inventory")
    return data


# -- an address -----------------------------------------------------------------------------------


def _from_url(
    url: str,
    spec: BinarySpec,
    platform: str,
    folder: Path,
    on_progress: Callable[[str], None],
) -> BinaryArtifact:
    expected = spec.sha256
    stored = _stored(url, spec, platform, folder)
    if stored is not None:
        return stored
    lock = _lock_of(folder)
    pin = expected or _pinned(lock, url)
    remedy = (
        "correct `sha256:` in the inventory"
        if expected is not None
        else f"to accept the new build, delete the address from {lock.path}"
    )
    path, size_bytes, sha256 = _download(
        url,
        spec.tool,
        pin=pin,
        remedy=remedy,
        platform=platform,
        folder=folder,
        on_progress=on_progress,
    )
    lock.record(
        url,
        {
            "sha256": sha256,
            "size_bytes": size_bytes,
            "platform": platform,
            "fetched": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        },
    )
    return BinaryArtifact(path, sha256, size_bytes, url, pinned=pin is not None)


def _stored(url: str, spec: BinarySpec, platform: str, folder: Path) -> BinaryArtifact | None:
    """Return the stored binary. Where the inventory was moved on to another build, that one
    decides."""
    pin = spec.sha256 or _pinned(_lock_of(folder), url)
    if pin is None:
        return None
    stored = _final(folder, spec.tool, platform, pin)
    if not has_sha256(stored, pin):
        return None
    return BinaryArtifact(stored, pin, stored.stat().st_size, url, pinned=True)


def _lock_of(folder: Path) -> LockFile:
    return LockFile(folder.parent / "binaries.lock.json", "binaries")


def _pinned(lock: LockFile, url: str) -> str | None:
    entry = lock.entries().get(url)
    return None if entry is None else str(entry["sha256"])


def _download(
    url: str,
    tool: Tool,
    *,
    pin: str | None,
    remedy: str,
    platform: str,
    folder: Path,
    on_progress: Callable[[str], None],
) -> tuple[Path, int, str]:
    remove_partials(folder)
    try:
        check_reachable(url)
        fetched = fetch(url, folder / f"{tool.name}-{platform}", on_progress)
    except ArtifactError as exc:
        raise ArtifactError(
            f"{tool.name}: {exc}. Give the device a file you have: "
            f"`{tool.name}: path/to/{tool.name}` in the inventory"
        ) from exc
    try:
        if pin is not None and fetched.sha256 != pin:
            raise _differs(url, fetched.sha256, pin, remedy)
        with translated(fetched.partial):
            with fetched.partial.open("rb") as file:
                check_executable(file.read(HEADER_BYTES), platform, url)
            final = _final(folder, tool, platform, fetched.sha256)
            put_in_place(fetched.partial, final)
    finally:
        fetched.partial.unlink(missing_ok=True)
    return final, fetched.size_bytes, fetched.sha256


def _final(folder: Path, tool: Tool, platform: str, sha256: str) -> Path:
    return folder / f"{tool.name}-{platform}-{sha256[:16]}"


def _differs(source: str, actual: str, expected: str, remedy: str) -> ArtifactError:
    return ArtifactError(
        f"{source}: its SHA-256 is {actual}, but {expected} is pinned; figures of two builds "
        f"cannot be compared. Check where it comes from; {remedy}"
    )
