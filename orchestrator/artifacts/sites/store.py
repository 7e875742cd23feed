"""Bundles as files, and the record of what was resolved when.

``models/sites/`` holds the archives, ``models/sites.lock.json`` what each requirement came to for
each kind of node: ``{"format": 1, "sites": {"REQUIREMENT TARGET": {"sha256", "size_bytes",
"packages", "resolved"}}}``. While an entry stands the same requirement is the same bytes, without
network.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from orchestrator.artifacts.constraint import Constraint
from orchestrator.artifacts.files import (
    has_sha256,
    locked,
    make_folder,
    partial_name,
    put_in_place,
    remove_partials,
    sha256_of,
    translated,
)
from orchestrator.artifacts.lock_file import LockFile
from orchestrator.artifacts.sites.resolve import Package, resolve
from orchestrator.artifacts.sites.target import SiteTarget
from orchestrator.errors import ArtifactError
from orchestrator.plain_files import created
from orchestrator.runtimes import Runtime

#: The oldest time that a zip file can tell.
_EPOCH = (1980, 1, 1, 0, 0, 0)
_REGULAR = 0o100644 << 16
_UNIX = 3
_WORK = "resolving-"
_LOCK = "sites.lock.json"


@dataclass(frozen=True)
class SiteArtifact:
    """A bundle in ``models/sites/``, what it was asked for and what it holds."""

    requirement: str
    target: str
    path: Path
    sha256: str
    size_bytes: int
    packages: tuple[Package, ...]

    @property
    def loads(self) -> str:
        """The runtime in it, by name and version."""
        name = self.requirement.partition("==")[0]
        return next(f"{p.name} {p.version}" for p in self.packages if p.name == name)


def provide_site(
    runtime: Runtime,
    constraints: Iterable[Constraint],
    target: SiteTarget,
    models_dir: Path,
    on_progress: Callable[[str], None] = lambda _: None,
) -> SiteArtifact:
    """The bundle of ``runtime`` for ``target``, as it was made before or made now.

    ``constraints`` are what its wheels need without saying so.

    Raises ArtifactError where there are no wheels for it, or they cannot be fetched.
    """
    folder = models_dir / "sites"
    make_folder(folder)
    with locked(folder / ".lock", lambda: on_progress("waiting: another process resolves here")):
        lock = LockFile(models_dir / _LOCK, "sites")
        key = f"{runtime} {target.key}"
        known = lock.entries().get(key)
        if known is not None:
            found = _known(known, folder, str(runtime), target.key, lock.path)
            if found is not None:
                return found
        on_progress(f"runtime {runtime} for {target}: asking the package index")
        made = _make(runtime, target, folder, constraints)
        lock.record(key, {**_entry(made), "resolved": _today()})
    on_progress(f"runtime {made.loads} for {target}: {made.size_bytes / 1e6:.0f} MB")
    return made


def stored_site(sha256: str, models_dir: Path) -> Path:
    """The bundle with this hash that an earlier run used. Raises ArtifactError."""
    path = _final(models_dir / "sites", sha256)
    if not has_sha256(path, sha256):
        raise ArtifactError(
            f"{path}: no site bundle with SHA-256 {sha256}, which the run measures with, is there; "
            f"name the folder that has it with --models, or start a new run"
        )
    return path


def known_sizes(models_dir: Path) -> dict[str, int]:
    """Bytes of the bundles made so far, by requirement: the largest of those for several nodes.

    Raises ArtifactError.
    """
    sizes: dict[str, int] = {}
    for key, entry in LockFile(models_dir / _LOCK, "sites").entries().items():
        requirement, size = key.partition(" ")[0], entry.get("size_bytes")
        if isinstance(size, int):
            sizes[requirement] = max(size, sizes.get(requirement, 0))
    return sizes


def _known(
    entry: Mapping[str, Any], folder: Path, requirement: str, target: str, lock: Path
) -> SiteArtifact | None:
    """Return the bundle that the lock file knows; None where the file is gone or damaged: it is
    then made anew."""
    try:
        packages = tuple(Package(**each) for each in entry["packages"])
        sha256, size_bytes = str(entry["sha256"]), int(entry["size_bytes"])
    except (LookupError, TypeError, ValueError) as exc:
        raise ArtifactError(
            f"{lock}: the entry of {requirement} cannot be read ({exc!r}); delete it, and it is "
            f"resolved anew"
        ) from exc
    path = _final(folder, sha256)
    if not has_sha256(path, sha256):
        return None
    return SiteArtifact(requirement, target, path, sha256, size_bytes, packages)


def _entry(site: SiteArtifact) -> dict[str, Any]:
    return {
        "sha256": site.sha256,
        "size_bytes": site.size_bytes,
        "packages": [asdict(package) for package in site.packages],
    }


def _make(
    runtime: Runtime, target: SiteTarget, folder: Path, constraints: Iterable[Constraint]
) -> SiteArtifact:
    remove_partials(folder)
    for left in folder.glob(f"{_WORK}*"):  # of a process that was killed; we hold the lock
        shutil.rmtree(left, ignore_errors=True)
    with _work_folder(folder) as work:
        packages = resolve(runtime, target, work / "site", constraints)
        partial = partial_name(folder / "site.zip")
        with translated(partial):
            _pack(work / "site", partial)
            sha256, size_bytes = sha256_of(partial), partial.stat().st_size
            path = _final(folder, sha256)
            put_in_place(partial, path)
    return SiteArtifact(str(runtime), target.key, path, sha256, size_bytes, packages)


@contextmanager
def _work_folder(folder: Path) -> Iterator[Path]:
    with translated(folder), tempfile.TemporaryDirectory(prefix=_WORK, dir=folder) as work:
        yield Path(work)


def _pack(folder: Path, archive: Path) -> None:
    """Pack the files so that the same files are the same bytes: sorted, without times or owners.
    Raises OSError."""
    files = sorted(
        path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()
    )
    with created(archive) as raw:
        with zipfile.ZipFile(raw, "w") as bundle:
            for name in filter(_belongs, files):
                _add(bundle, name, folder / name)
        raw.flush()
        os.fsync(raw.fileno())


def _add(bundle: zipfile.ZipFile, name: str, path: Path) -> None:
    info = zipfile.ZipInfo(name, _EPOCH)
    info.compress_type, info.create_system = zipfile.ZIP_DEFLATED, _UNIX
    info.external_attr = _REGULAR
    with path.open("rb") as file, bundle.open(info, "w", force_zip64=True) as member:
        shutil.copyfileobj(file, member, 1024 * 1024)


def _belongs(name: str) -> bool:
    """Whether the file belongs into the bundle: the commands do not, which name this machine's
    interpreter, nor does the list that hashes them."""
    parts = name.split("/")
    return (
        parts[0] != "bin"
        and "__pycache__" not in parts
        and not (parts[0].endswith(".dist-info") and parts[-1] == "RECORD")
    )


def _final(folder: Path, sha256: str) -> Path:
    return folder / f"site-{sha256[:16]}.zip"


def _today() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")
