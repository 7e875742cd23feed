"""What a model file is, by its first bytes: a framework's, or one that no runner takes.

A download that gave a web page, a pointer in the place of a large file, a model in another format:
each is told with what to do next, rather than as a broken model. Each framework's reader knows what
is near its own files; what is near none of them is here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from orchestrator.errors import ModelBuildError
from orchestrator.frameworks import registry
from orchestrator.frameworks.files import EXPORT, FileReader, InspectedFile, Mark, opened
from orchestrator.frameworks.parts import file_reader

_LOOKED_AT = 4096

_COMPRESSED = "is compressed with {0}, not a model file; unpack it first: `{1}`"
_MARKS: tuple[Mark, ...] = (
    (
        0,
        b"version https://git-lfs",
        "is a Git LFS pointer, three lines of text in the place of the file; run `git lfs pull` "
        "where it was cloned, then take the file again",
    ),
    (0, b"\x1f\x8b", _COMPRESSED.format("gzip", "gunzip FILE, or tar -xzf FILE")),
    (0, b"BZh", _COMPRESSED.format("bzip2", "bunzip2 FILE")),
    (0, b"\xfd7zXZ\0", _COMPRESSED.format("xz", "unxz FILE")),
    (0, b"\x28\xb5\x2f\xfd", _COMPRESSED.format("zstd", "unzstd FILE")),
    (0, b"7z\xbc\xaf\x27\x1c", _COMPRESSED.format("7-Zip", "7z x FILE")),
    (257, b"ustar", "is a tar archive, not a model file; unpack it first: `tar -xf FILE`"),
    (0, b"\x89HDF\r\n\x1a\n", "is an HDF5 file, as Keras saves weights and models" + EXPORT),
)
_PAGE = re.compile(rb"\s*(<!--.*?-->\s*)*<(!doctype html|html|head|body)\b", re.IGNORECASE | re.S)
_SAFETENSORS = re.compile(rb".{6}\0\0\{\s*\"", re.S)


def inspect_any(path: Path, signature: str | None = None) -> InspectedFile[Any]:
    """Read a file as the framework does whose it is by its bytes. Raises ModelBuildError.

    What is nobody's is named for what it is, where it is something known. ``signature`` is one of
    the file's; what a runtime calls by itself where none is named.
    """
    with opened(path) as data:
        head = bytes(data[:_LOOKED_AT])
    for reader in _readers():
        if reader.recognises(head):
            return reader.inspect(path, signature)
    for each in registry.FRAMEWORKS:
        if file_reader(each) is None and path.suffix.lower() in each.endings:
            raise ModelBuildError(
                f"{path}: is a file for {each.label}, of which none are read that were not built "
                f"here; name a model of the catalogue (`orchestrate models list`)"
            )
    foreign = foreign_kind(head)
    if foreign is not None:
        raise ModelBuildError(f"{path}: {foreign}")
    return next(_readers()).inspect(path, signature)  # which says what is broken in it


def _readers() -> Iterator[FileReader]:
    found = map(file_reader, registry.FRAMEWORKS)
    return (reader for reader in found if reader is not None)


def _export_instead() -> str:
    """Return ``; export the model as …``: the format of every framework, its runner named but for
    the default's."""
    first, *others = (each for each in registry.FRAMEWORKS if each.takes)
    forms = [first.takes, *(f"{o.takes} for `runner: {o.runners[0].name}`" for o in others)]
    return f"; export the model as {', or as '.join(forms)}"


def foreign_kind(head: bytes) -> str | None:
    """Return a sentence without its subject, for a file that is known and not a model that runs
    here.

    ``head`` are its first bytes. None for everything else, models that run here among it.
    """
    found = _foreign_kind(head[:_LOOKED_AT])
    return found and found.replace(EXPORT, _export_instead())


def _foreign_kind(head: bytes) -> str | None:
    theirs = (mark for reader in _readers() for mark in reader.foreign_marks)
    for place, mark, sentence in (*_MARKS, *theirs):
        if head[place : place + len(mark)] == mark:
            return sentence
    text = head.removeprefix(b"\xef\xbb\xbf")
    if _PAGE.match(text):
        return (
            "is an HTML page, which a server gave in the place of the file; download the file "
            "itself (on GitHub its `raw` address, on Hugging Face `resolve` instead of `blob`)"
        )
    if text.lstrip()[:1] == b"{" and b'"' in text[:64]:
        return (
            "is JSON text, not a model file: an error that a server gave in its place, or the "
            "description of a model; take the model file itself"
        )
    if _SAFETENSORS.match(head):
        return "is a safetensors file: weights without a network" + EXPORT
    return None


def foreign_archive(names: Iterable[str]) -> str | None:
    """Say the same of a zip archive, by the names of its members."""
    members = [PurePosixPath(name) for name in names]
    found = next(filter(None, (reader.foreign_archive(members) for reader in _readers())), None)
    if found is None and {"config.json", "metadata.json"} <= {str(path) for path in members}:
        found = "is a Keras model (.keras)" + EXPORT
    if found is None and members and all(path.suffix == ".npy" for path in members):
        found = "is NumPy arrays (.npz): weights without a network" + EXPORT
    return found and found.replace(EXPORT, _export_instead())
