"""Site bundles: a pushed archive of Python packages as the folder that trials import from.

An archive is a zip file, a blob like any other. It is unpacked once, beside the blobs, into a
folder named by its hash; what is found under that name is complete. Files are read-only; folders
are not, so that ``rm -r`` of the agent's home goes on working.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shutil
import stat
import subprocess
import sys
import zipfile
import zlib
from typing import IO, Dict, Iterator, List

from orchestrate_agent import home
from orchestrate_agent.errors import EXIT_NO_SPACE, EXIT_WRONG_BYTES, AgentError
from orchestrate_agent.files.blobs import SPARE_BYTES, BlobStore, DamagedBlobError

#: Beyond these it is not a bundle of packages, but something that is to fill the disk.
MAX_FILES = 200_000
MAX_BYTES = 16 * 1024**3

_CHUNK_BYTES = 1024 * 1024
_PARTIAL = ".unpack-"
_LOCK = ".lock-"
_COMPILED = "__pycache__"
_COMPILE_TIMEOUT_S = 900.0
#: What reading a damaged zip file ends in.
_UNREADABLE = (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, ValueError)


def unpack(home_path: str, sha256: str, python: str = sys.executable) -> str:
    """Unpack the pushed archive; returns ``unpacked`` or ``present``.

    ``python`` is the interpreter that trials will run it with, since byte code is of one version.
    Raises AgentError: exit code 4 where the archive is damaged or no bundle, 5 where the disk lacks
    room. Nothing is left of an attempt that failed.
    """
    try:
        archive = BlobStore(home_path).path(sha256)
        final = _folder(home_path, sha256)
        with _locked(home_path, sha256):
            if os.path.isdir(final):
                return "present"
            _unpack_into(archive, final, _partial(home_path, sha256), python)
    except DamagedBlobError as exc:
        raise AgentError(str(exc), EXIT_WRONG_BYTES) from exc
    except OSError as exc:
        code = EXIT_NO_SPACE if exc.errno in (errno.ENOSPC, errno.EDQUOT) else EXIT_WRONG_BYTES
        raise AgentError(f"site bundle {sha256} cannot be unpacked: {exc}", code) from exc
    return "unpacked"


def _unpack_into(archive: str, final: str, partial: str, python: str) -> None:
    """Raises AgentError, OSError."""
    shutil.rmtree(partial, ignore_errors=True)  # of an attempt that was killed
    try:
        with _opened(archive) as bundle:
            members = _members(bundle)
            _check_space(sum(member.file_size for member in members))
            os.mkdir(partial, 0o700)
            for member in members:
                _extract(bundle, member, partial)
        _compile(partial, final, python)
        os.sync()  # once for thousands of files, before they get the name that says they are whole
        os.rename(partial, final)
        home.sync_directory(os.path.dirname(final))
    finally:
        shutil.rmtree(partial, ignore_errors=True)


@contextlib.contextmanager
def _opened(archive: str) -> Iterator[zipfile.ZipFile]:
    try:
        with zipfile.ZipFile(archive) as bundle:
            yield bundle
    except _UNREADABLE as exc:
        raise AgentError(f"{archive} is not a site bundle: {exc}", EXIT_WRONG_BYTES) from exc


def _members(bundle: zipfile.ZipFile) -> List[zipfile.ZipInfo]:
    """What is in it, all of it files below the folder that it is unpacked into."""
    members = bundle.infolist()
    if len(members) > MAX_FILES or sum(m.file_size for m in members) > MAX_BYTES:
        raise AgentError(
            f"{bundle.filename} has more than {MAX_FILES} files or {MAX_BYTES} bytes; it "
            f"is not a site bundle",
            EXIT_WRONG_BYTES,
        )
    names = set()
    for member in members:
        name, mode = member.filename, member.external_attr >> 16
        parts = name.split("/")
        plain = stat.S_IFMT(mode) in (0, stat.S_IFREG)  # 0: whoever packed it did not say
        if not plain or name in names or "\\" in name or not _inside(parts):
            raise AgentError(
                f"{bundle.filename} holds {name[:200]!r}, which is not a file of its own below the "
                f"folder; it is not a site bundle",
                EXIT_WRONG_BYTES,
            )
        names.add(name)
    return members


def _inside(parts: List[str]) -> bool:
    # an absolute path begins with an empty part, a folder ends with one
    return all(part not in ("", ".", "..") and part != _COMPILED for part in parts)


def _check_space(size: int) -> None:
    disk = os.statvfs(".")
    free = disk.f_bavail * disk.f_frsize
    if free < size + SPARE_BYTES:
        raise AgentError(
            f"{os.getcwd()} has {free} bytes free, a site bundle of {size} bytes does not fit; "
            f"free some, or choose another --home",
            EXIT_NO_SPACE,
        )


def _extract(bundle: zipfile.ZipFile, member: zipfile.ZipInfo, folder: str) -> None:
    path = os.path.join(folder, *member.filename.split("/"))
    os.makedirs(os.path.dirname(path), 0o700, exist_ok=True)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    # never more than file_size, and the checksum is held against what was read
    with bundle.open(member) as source, os.fdopen(os.open(path, flags, 0o400), "wb") as target:
        shutil.copyfileobj(source, target, _CHUNK_BYTES)


def _compile(folder: str, final: str, python: str) -> None:
    """Compile to byte code once, instead of in each trial; what does not compile is left as it
    is."""
    argv = [python, "-I", "-S", "-m", "compileall", "-q", "-q", "-d", final]
    argv += ["--invalidation-mode", "unchecked-hash", folder]
    try:
        subprocess.run(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=_COMPILE_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        home.log(f"{final}: not all of it could be compiled in {_COMPILE_TIMEOUT_S:g} s")


@contextlib.contextmanager
def _locked(home_path: str, sha256: str) -> Iterator[None]:
    """Another controller may unpack the same bundle; the lock goes when its holder dies."""
    folder = os.path.join(home_path, home.SITES)
    os.makedirs(folder, 0o700, exist_ok=True)
    fd = os.open(os.path.join(folder, _LOCK + sha256), os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def _folder(home_path: str, sha256: str) -> str:
    return os.path.join(home_path, home.SITES, sha256)


def _partial(home_path: str, sha256: str) -> str:
    return os.path.join(home_path, home.SITES, _PARTIAL + sha256)


# --- using ---------------------------------------------------------------------------------


class SiteStore:
    """The unpacked bundles as the daemon uses them. Each is read again when it is first used."""

    def __init__(self, home_path: str) -> None:
        self.blobs = BlobStore(home_path)
        self.home = home_path
        self._verified: Dict[str, int] = {}

    def doubt(self) -> None:
        """Read each again when it is used next: something may have taken files out of it."""
        self._verified.clear()

    def path(self, sha256: str) -> str:
        """The folder's absolute path. Raises DamagedBlobError, having removed what was damaged."""
        archive, folder = self.blobs.path(sha256), _folder(self.home, sha256)
        try:
            inode = os.stat(folder).st_ino
        except OSError as exc:
            raise DamagedBlobError(
                f"site bundle {sha256} is not unpacked: {exc}; push it again"
            ) from exc
        try:
            if self._verified.get(sha256) != inode:
                _verify(archive, folder)
                self._verified[sha256] = inode
        except (OSError, AgentError) as exc:
            with _locked(self.home, sha256):
                shutil.rmtree(folder, ignore_errors=True)
            raise DamagedBlobError(
                f"site bundle {sha256} was damaged on this node's disk ({exc}) and was removed; "
                f"push it again"
            ) from exc
        return folder


def _verify(archive: str, folder: str) -> None:
    """Raise AgentError or OSError where the folder does not hold just what the archive has."""
    with _opened(archive) as bundle:
        members = {member.filename: member for member in _members(bundle)}
    for name, member in members.items():
        fd = os.open(os.path.join(folder, *name.split("/")), os.O_RDONLY | os.O_NOFOLLOW)
        with os.fdopen(fd, "rb") as file:
            if os.fstat(fd).st_size != member.file_size or _crc(file) != member.CRC:
                raise AgentError(f"{name} has other bytes")
    for path, folders, files in os.walk(folder):
        folders[:] = [each for each in folders if each != _COMPILED]
        for each in files:
            name = os.path.relpath(os.path.join(path, each), folder)
            if name not in members:
                raise AgentError(f"{name} is not of it")


def _crc(file: IO[bytes]) -> int:
    value = 0
    for chunk in iter(lambda: file.read(_CHUNK_BYTES), b""):
        value = zlib.crc32(chunk, value)
    return value
