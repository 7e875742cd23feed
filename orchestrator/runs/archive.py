"""A run's folder as one file to be passed on, and such a file read again.

A zip with ``export.json`` first, which has the hash of every other member. Whoever made the file
may have written anything into it: names and sizes are held against what an export has before a
byte is unpacked, and of what could be shown in a browser nothing is taken: reports are made again
from the journal.

Format history: 1, the first.
"""

from __future__ import annotations

import hashlib
import json
import re
import secrets
import shutil
import stat
import struct
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from orchestrator import plain_files
from orchestrator.errors import JournalError, UsageError
from orchestrator.runs.directory import RUN_ID, RunDirectory
from orchestrator.runs.journal import MAX_BYTES as MAX_JOURNAL_BYTES
from orchestrator.runs.manifest import MAX_BYTES as MAX_MANIFEST_BYTES
from orchestrator.shape import SHA256, TEXT, WHOLE, NotNull, Shape, problem
from orchestrator.zip_members import BROKEN, flaw, why_broken

FORMAT = 1
ABOUT = "export.json"
MANIFEST, JOURNAL = "run.json", "journal.jsonl"
CITATION = "CITATION.cff"

#: What may be in an export, and how much of each.
_MEMBERS: tuple[tuple[re.Pattern[str], int], ...] = (
    (re.compile(r"run\.json"), MAX_MANIFEST_BYTES),
    (re.compile(r"journal\.jsonl"), MAX_JOURNAL_BYTES),
    (re.compile(r"logs/[A-Za-z0-9][A-Za-z0-9._@+=,()-]{0,250}"), 128 * 2**20),
    (re.compile(r"CITATION\.cff|README\.md"), 2**20),
    (re.compile(r"speedup\.(csv|json|md)|report\.html|(accuracy|figures)\.csv"), 128 * 2**20),
    (re.compile(r"sweep\.(svg|png)"), 128 * 2**20),
)
#: What is taken out of one. The rest is made again, or is for readers.
_TAKEN = re.compile(r"run\.json|journal\.jsonl|CITATION\.cff|logs/.*")
#: All of it together, and how far it may be packed.
_MOST_BYTES, _MOST_RATIO = 16 * 2**30, 400
_MOST_MEMBERS, _MOST_DIRECTORY_BYTES = 500_000, 128 * 2**20
_CHUNK = 2**20

_SHAPE: Shape = {
    "format": NotNull(WHOLE),
    "run_id": NotNull(TEXT),
    "files": {"*": NotNull({"sha256": NotNull(SHA256), "size_bytes": NotNull(WHOLE)})},
}
_END = struct.Struct("<4s4H2LH")
_LOCATOR = struct.Struct("<4sLQL")
_END_64 = struct.Struct("<4sQ2H2L4Q")
#: The beginning of a zip file, up to the name of its first member.
_HEAD = struct.Struct("<4s22s2H")


def pack(folder: Path, output: Path, about: Mapping[str, Any]) -> None:
    """Write the run in ``folder`` into the file ``output``, in one step. Raises OSError.

    The same folder gives the same bytes.
    """
    names = sorted(_names(folder))
    files = {name: _file(folder, name) for name in names}
    document = {"format": FORMAT, **about, "files": files}
    text = json.dumps(document, indent=1, allow_nan=False) + "\n"
    aside = output.with_name(f".{output.name}.{secrets.token_hex(4)}.tmp")
    try:
        with plain_files.created(aside) as file, zipfile.ZipFile(file, "w") as archive:
            archive.writestr(_info(ABOUT), text)
            for name in names:
                most = _most(name) or 0
                with (
                    plain_files.opened(folder, name, most_bytes=most) as source,
                    archive.open(_info(name), "w", force_zip64=True) as target,
                ):
                    shutil.copyfileobj(source, target, _CHUNK)
        aside.replace(output)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise


def _names(folder: Path) -> Iterator[str]:
    for path in (*folder.iterdir(), *(folder / "logs").iterdir()):
        name = path.relative_to(folder).as_posix()
        if _most(name) is not None:
            yield name


def _file(folder: Path, name: str) -> dict[str, Any]:
    digest, size = hashlib.sha256(), 0
    with plain_files.opened(folder, name, most_bytes=_most(name) or 0) as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
            size += len(chunk)
    return {"sha256": digest.hexdigest(), "size_bytes": size}


def sha256_of(folder: Path, name: str) -> str:
    """The hash of one file of a run's folder. Raises OSError."""
    return str(_file(folder, name)["sha256"])


def _info(name: str) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
    info.compress_type = zipfile.ZIP_DEFLATED
    info.external_attr = (stat.S_IFREG | 0o644) << 16
    return info


def _most(name: str) -> int | None:
    """How large a member of this name may be; None where an export has none."""
    return next((most for pattern, most in _MEMBERS if pattern.fullmatch(name)), None)


# -- reading --------------------------------------------------------------------------------------


def is_export(path: Path) -> bool:
    """Whether the file begins as an export does. Raises OSError."""
    with plain_files.opened_named(path) as file:
        head = file.read(_HEAD.size + len(ABOUT))
    if len(head) < _HEAD.size + len(ABOUT):
        return False
    signature, _, length, _ = _HEAD.unpack(head[: _HEAD.size])
    return bool(signature == b"PK\x03\x04" and length == len(ABOUT)) and head.endswith(
        ABOUT.encode()
    )


def unpack(path: Path, results: Path) -> RunDirectory:
    """Make a run of an export, in ``results``. Raises UsageError, and nothing was made then."""
    with _opened(path) as archive:
        about = _about(path, archive)
        files: Mapping[str, Mapping[str, Any]] = about["files"]
        _check_members(path, archive.infolist(), files)
        run_id = about["run_id"]
        final = results / run_id
        if final.exists() or final.is_symlink():
            raise UsageError(
                f"{path}: run {run_id} is in {results} already; remove or rename that folder, or "
                f"name another one with --results"
            )
        aside = results / f".{run_id}.{secrets.token_hex(4)}.tmp"
        try:
            (aside / "logs").mkdir(parents=True)
            for name, told in files.items():
                if _TAKEN.fullmatch(name):
                    _take(path, archive, name, told, aside)
            manifest = RunDirectory(aside).read()
            if manifest.run_id != run_id:
                raise _refused(path, f"{MANIFEST} is that of run {manifest.run_id}")
            aside.rename(final)
        except JournalError as exc:
            raise _refused(path, str(exc).replace(str(aside), run_id)) from exc
        finally:
            shutil.rmtree(aside, ignore_errors=True)
    return RunDirectory(final)


def _take(
    path: Path, archive: zipfile.ZipFile, name: str, told: Mapping[str, Any], folder: Path
) -> None:
    digest, size = hashlib.sha256(), 0
    with archive.open(name) as source, plain_files.created(folder / name) as target:
        while chunk := source.read(_CHUNK):
            size += len(chunk)
            if size > told["size_bytes"]:
                break
            digest.update(chunk)
            target.write(chunk)
    if (digest.hexdigest(), size) != (told["sha256"], told["size_bytes"]):
        raise _refused(path, f"{name} is not what {ABOUT} says")


def _about(path: Path, archive: zipfile.ZipFile) -> dict[str, Any]:
    with archive.open(ABOUT) as member:
        data = member.read(_MOST_DIRECTORY_BYTES + 1)
    if len(data) > _MOST_DIRECTORY_BYTES:
        raise _refused(path, f"{ABOUT} is too large")
    about = json.loads(data)
    if not isinstance(about, dict):
        raise _refused(path, f"{ABOUT} is not an object")
    version = about.get("format")
    if isinstance(version, int) and version > FORMAT:
        raise UsageError(
            f"{path}: written by a later version (format {version}, this one reads up to "
            f"{FORMAT}); upgrade orchestrate"
        )
    found = problem(about, _SHAPE)
    missing = [name for name in ("format", "run_id", "files") if about.get(name) is None]
    if found or missing:
        what = f"{found[0][:100]} is not {found[1]}" if found else f"{missing[0]} is missing"
        raise _refused(path, f"{ABOUT}: {what}")
    if not RUN_ID.match(about["run_id"]):
        raise _refused(path, f"{ABOUT}: its run has no such name as ours")
    return about


def _check_members(
    path: Path, members: Iterable[zipfile.ZipInfo], files: Mapping[str, Mapping[str, Any]]
) -> None:
    whole, names = 0, []
    for member in members:
        names.append(member.filename)
        if member.filename == ABOUT:
            continue
        most = _most(member.filename)
        if most is None:
            raise _refused(path, f"no export has a member {member.filename[:100]!r}")
        most = min(most, _MOST_RATIO * max(64, member.compress_size))
        wrong = flaw(member, most_bytes=most, packer="export")
        if wrong is not None:
            raise _refused(path, wrong)
        whole += member.file_size
    if whole > _MOST_BYTES:
        raise _refused(path, f"it would have {whole} bytes")
    if sorted(names) != sorted((ABOUT, *files)) or not {MANIFEST, JOURNAL} <= files.keys():
        raise _refused(path, f"its members are not those that {ABOUT} lists")


@contextmanager
def _opened(path: Path) -> Iterator[zipfile.ZipFile]:
    """Open the file, whatever is wrong with it made a UsageError."""
    try:
        with plain_files.opened_named(path) as file:
            size = file.seek(0, 2)
            directory = _directory_bytes(file, size)
            if directory is None:
                raise _refused(path, "it does not end as one: it was cut off, or packed otherwise")
            if directory > _MOST_DIRECTORY_BYTES:
                raise _refused(path, "it has too many members")
            with zipfile.ZipFile(file) as archive:
                if len(archive.infolist()) > _MOST_MEMBERS:
                    raise _refused(path, "it has too many members")
                yield archive
    except BROKEN as exc:
        raise _refused(path, why_broken(exc)) from exc


def _directory_bytes(file: Any, size: int) -> int | None:
    """How long the list of members is, before it is read into memory; None where it has no end."""
    if size < _END.size:
        return None
    file.seek(size - _END.size)
    signature, _, _, _, count, directory, _, comment = _END.unpack(file.read(_END.size))
    if signature != b"PK\x05\x06" or comment:
        return None
    if count != 0xFFFF and directory != 0xFFFFFFFF:
        return int(directory)
    file.seek(max(0, size - _END.size - _LOCATOR.size))
    signature, _, offset, _ = _LOCATOR.unpack(file.read(_LOCATOR.size))
    if signature != b"PK\x06\x07" or offset > size - _END_64.size:
        return None
    file.seek(offset)
    found = _END_64.unpack(file.read(_END_64.size))
    return int(found[8]) if found[0] == b"PK\x06\x06" else None


def _refused(path: Path, why: str) -> UsageError:
    return UsageError(
        f"{path}: no export of a run: {why}. Nothing of it was imported; get the file again from "
        f"where it was published"
    )
