"""What a file is that no runner takes, by its first bytes: to be named for what it is.

A download that gave a web page, a pointer in the place of a large file, a model in another format:
each is told with what to do next, rather than as a broken model.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import PurePosixPath

_LOOKED_AT = 4096
_MOST_NAMES = 3

_COMPRESSED = "is compressed with {0}, not a model file; unpack it first: `{1}`"
_CONVERT = "; export the model as .tflite, or as TorchScript for `runner: torch`"
#: Bytes at a place, and what a file is that has them there.
_MARKS: tuple[tuple[int, bytes, str], ...] = (
    (
        0,
        b"version https://git-lfs",
        "is a Git LFS pointer, three lines of text in the place of the file; run `git lfs pull` "
        "where it was cloned, then take the file again",
    ),
    (
        0,
        b"LITERTLM",
        "is a LiteRT-LM bundle, a language model with its tokenizer for LiteRT-LM's own engine; no "
        "runner here runs it. Take the .tflite files out of it (litert-lm-builder)",
    ),
    (0, b"\x1f\x8b", _COMPRESSED.format("gzip", "gunzip FILE, or tar -xzf FILE")),
    (0, b"BZh", _COMPRESSED.format("bzip2", "bunzip2 FILE")),
    (0, b"\xfd7zXZ\0", _COMPRESSED.format("xz", "unxz FILE")),
    (0, b"\x28\xb5\x2f\xfd", _COMPRESSED.format("zstd", "unzstd FILE")),
    (0, b"7z\xbc\xaf\x27\x1c", _COMPRESSED.format("7-Zip", "7z x FILE")),
    (257, b"ustar", "is a tar archive, not a model file; unpack it first: `tar -xf FILE`"),
    (0, b"\x89HDF\r\n\x1a\n", "is an HDF5 file, as Keras saves weights and models" + _CONVERT),
    (0, b"GGUF", "is a GGUF file, a language model for llama.cpp; no runner here runs it"),
    (4, b"ET12", "is an ExecuTorch program; no runner here runs it" + _CONVERT),
)
_PAGE = re.compile(rb"\s*(<!--.*?-->\s*)*<(!doctype html|html|head|body)\b", re.IGNORECASE | re.S)
_SAFETENSORS = re.compile(rb".{6}\0\0\{\s*\"", re.S)
#: IR version, then the producer's name or the graph: no other field comes first in real files.
_ONNX = re.compile(rb"\x08[\x01-\x14](\x12[\x00-\x7f][\x20-\x7e]|\x3a|\x42)", re.S)


def foreign_kind(head: bytes) -> str | None:
    """A sentence without its subject, for a file that is known and not a model that runs here.

    ``head`` are its first bytes. None for everything else, models that run here among it.
    """
    head = head[:_LOOKED_AT]
    for place, mark, sentence in _MARKS:
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
    if _ONNX.match(head):
        return "is an ONNX model; no runner here runs it. Convert it (onnx2tf), or export" + (
            " the network from where it was trained: as .tflite, or as TorchScript"
        )
    if _SAFETENSORS.match(head):
        return "is a safetensors file: weights without a network" + _CONVERT
    return None


def foreign_archive(names: Iterable[str]) -> str | None:
    """Say the same of a zip archive, by the names of its members."""
    members = [PurePosixPath(name) for name in names]
    tails = {"/".join(path.parts[1:]) for path in members}
    for told, sentence in _ARCHIVES.items():
        found = sentence(members, tails)
        if found is not None:
            return f"is {told}{found}"
    return None


def _of_torch_export(_: list[PurePosixPath], tails: set[str]) -> str | None:
    exported = "models/model.json" in tails or "serialized_exported_program.json" in tails
    if "data.pkl" in tails or not (exported or "archive_format" in tails):
        return None
    return (
        " (.pt2), which `runner: torch` does not load; write TorchScript instead: "
        "`torch.jit.trace(torch.export.load(FILE).module(), example).save(…)`"
    )


def _of_tasks(members: list[PurePosixPath], _: set[str]) -> str | None:
    models = [str(path) for path in members if path.suffix in (".tflite", ".task")]
    if not models:
        return None
    shown = ", ".join(models[:_MOST_NAMES])
    more = len(models) - _MOST_NAMES
    return (
        f", as MediaPipe's .task files are, with {shown}"
        + (f" and {more} more" if more > 0 else "")
        + " in it; unpack it and take the .tflite file: `unzip FILE`"
    )


def _keras(members: list[PurePosixPath], _: set[str]) -> str | None:
    names = {str(path) for path in members}
    return _CONVERT if {"config.json", "metadata.json"} <= names else None


def _numpy(members: list[PurePosixPath], _: set[str]) -> str | None:
    arrays = bool(members) and all(path.suffix == ".npy" for path in members)
    return ": weights without a network" + _CONVERT if arrays else None


_ARCHIVES: Mapping[str, Callable[[list[PurePosixPath], set[str]], str | None]] = {
    "an archive of torch.export": _of_torch_export,
    "a bundle of models": _of_tasks,
    "a Keras model (.keras)": _keras,
    "NumPy arrays (.npz)": _numpy,
}
