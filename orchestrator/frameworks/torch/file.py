"""What a ``.pt`` file holds, without loading it: no torch, no unpickling, no code run.

Three kinds are told apart. A TorchScript archive is a program with its weights; torch's own reader
runs it without Python's unpickler. A state_dict is tensors by name; ``weights_only=True`` loads it
safely, but there is no network to run. Whatever else was pickled can only be loaded by running
code that the file names, and is refused.
"""

from __future__ import annotations

import hashlib
import json
import re
import struct
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path, PurePosixPath
from typing import IO, Any, cast

from orchestrator.errors import ModelBuildError
from orchestrator.frameworks.file_kinds import foreign_archive
from orchestrator.frameworks.files import Bytes, opened
from orchestrator.frameworks.torch.catalog import EXTRA_FILE
from orchestrator.frameworks.torch.pickles import Contents, Global, Persistent, PickleError, scan

_MB = 1_000_000
_MAX_DIRECTORY_BYTES = 4 * _MB
_MAX_PICKLE_BYTES = 8 * _MB
_MAX_CODE_BYTES = 8 * _MB
_MAX_NOTE_BYTES = 10_000
_MAX_FORWARD = 100_000  # characters of the text of one head of a function
_LONGEST_NAME = 200
_MAX_RANK = 8
_MAX_NAMES_SHOWN = 5
_NOTE = f"extra/{EXTRA_FILE}"
_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C  # of torch.save before version 1.6

#: All that a state_dict's pickle names: what torch's own ``weights_only=True`` lets through.
_HARMLESS = re.compile(
    r"collections\.OrderedDict"
    r"|torch\._utils\._rebuild_(tensor|tensor_v2|parameter|qtensor|sparse_tensor)"
    r"|torch\.(\w+Storage|storage\.(Typed|Untyped)Storage|Size|device)"
    r"|torch\.(q?u?int\d+|float\d+|bfloat16|bool|per_(tensor|channel)_affine)"
    r"|torch\._tensor\._rebuild_from_type_v2"
)
#: What a TorchScript archive names besides: its own classes, and helpers of its reader.
_SCRIPT = re.compile(r"__torch__\.[\w.]+|torch\.jit\._pickle\.\w+")
_OPERATOR = re.compile(r"\b(?:torch|ops\.\w+)\.(\w+)\(")
_QUANTIZED_TYPES = frozenset(("qint8", "quint8"))
_QUANTIZED = re.compile(r"\bops\.quantized\.(\w+)\(")

_DTYPES = {
    "Float": "float32", "Double": "float64", "Half": "float16", "BFloat16": "bfloat16",
    "Long": "int64", "Int": "int32", "Short": "int16", "Char": "int8", "Byte": "uint8",
    "Bool": "bool", "QInt8": "qint8", "QUInt8": "quint8", "QInt32": "qint32",
    "ComplexFloat": "complex64", "ComplexDouble": "complex128", "Untyped": "untyped",
}  # fmt: skip


@dataclass(frozen=True)
class StoredType:
    """How many values of one type are stored, in how many pieces."""

    dtype: str
    storages: int
    elements: int


@dataclass(frozen=True)
class Argument:
    """One argument of a program's ``forward``: ``kind`` is its type as the program has it, and
    ``optional`` says that it has a value of its own."""

    name: str
    kind: str
    optional: bool = False


@dataclass(frozen=True)
class TorchInspection:
    """What a ``.pt`` file holds.

    ``kind`` is ``torchscript`` or ``state_dict``. ``scheme`` is the type of the weights,
    ``dynamic_int8``, ``dynamic_fp16``, ``static_int8`` or ``mixed``, as its content shows. How a
    model came to its integers (afterwards or trained so) content does not show: ``noted_scheme`` is
    what the zoo wrote into the file when it built it, None where nothing is written;
    ``input_shape`` likewise, without the batch. ``parameters`` counts stored floating-point and
    quantized values, buffers such as running means included: the format does not tell those apart.
    ``operators`` are those that the program's text calls, with how often it does. ``arguments`` are
    those of its ``forward``; None where the text does not tell, or there is none.
    """

    kind: str
    scheme: str
    quantized: bool
    stored: tuple[StoredType, ...]
    parameters: int
    operators: tuple[tuple[str, int], ...]
    size_bytes: int
    sha256: str
    noted_scheme: str | None = None
    input_shape: tuple[int, ...] | None = None
    arguments: tuple[Argument, ...] | None = None

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


class _RefusedError(Exception):
    """Why the file is not read."""


def inspect_torch(path: Path) -> TorchInspection:
    """Read a file and say what it holds. Raises ModelBuildError, whatever the bytes are; runs
    nothing that is in them."""
    with opened(path) as data:
        try:
            if data[:2] == b"PK":
                return _archive(data)
            return _legacy(data)
        except (_RefusedError, PickleError) as exc:
            raise ModelBuildError(f"{path}: {exc}") from exc
        except (zipfile.BadZipFile, zlib.error, OSError, EOFError, ValueError) as exc:
            raise ModelBuildError(
                f"{path}: is not a complete .pt file: {exc}; copy or export it again"
            ) from exc
        except (NotImplementedError, RuntimeError, struct.error, OverflowError) as exc:
            raise ModelBuildError(f"{path}: torch writes no such archive: {exc}") from exc


# -- the archive ----------------------------------------------------------------------------------


def _archive(data: Bytes) -> TorchInspection:
    _check_directory(data)
    with zipfile.ZipFile(cast("IO[bytes]", _Seekable(data))) as archive:
        foreign = foreign_archive(archive.namelist())
        if foreign is not None:
            raise _RefusedError(foreign)
        members = _members(archive)
        if "data.pkl" not in members:
            raise _RefusedError("holds no data.pkl, so torch did not write it")
        contents = scan(_read(archive, members["data.pkl"], _MAX_PICKLE_BYTES))
        script = "constants.pkl" in members
        code = _code(archive, members) if script else ""
        arguments = _arguments(archive, members, contents) if script else None
        note = _note(archive, members)
        constants = (
            scan(_read(archive, members["constants.pkl"], _MAX_PICKLE_BYTES)) if script else None
        )
    _check_imports(contents, script=script)
    if constants is not None:
        _check_imports(constants, script=True)
    references = [*contents.persistent, *(constants.persistent if constants else ())]
    stored = _stored(references)
    _check_storages(references, members)
    found = _inspection("torchscript" if script else "state_dict", data, stored, code)
    return replace(
        found, noted_scheme=note.scheme, input_shape=note.input_shape, arguments=arguments
    )


class _Seekable:
    """Mapped bytes as a file that zipfile reads: nothing is copied but what is asked for."""

    def __init__(self, data: Bytes) -> None:
        self._data = data
        self._place = 0

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._place

    def seek(self, offset: int, whence: int = 0) -> int:
        place = (0, self._place, len(self._data))[whence] + offset
        if place < 0:
            raise OSError("a place before the beginning")
        self._place = place
        return place

    def read(self, size: int = -1) -> bytes:
        end = len(self._data) if size is None or size < 0 else self._place + size
        piece = self._data[self._place : end]
        self._place += len(piece)
        return piece

    def close(self) -> None:
        pass


def _check_directory(data: Bytes) -> None:
    """zipfile reads the whole directory, so its length is looked at first."""
    end = data.rfind(b"PK\x05\x06", max(0, len(data) - 66_000))
    if end < 0 or end + 22 > len(data):
        raise _RefusedError("is cut off: the zip archive has no end; copy it again")
    size = struct.unpack_from("<I", data, end + 12)[0]
    wide = data.rfind(b"PK\x06\x06", max(0, end - 200), end)
    if wide >= 0 and wide + 56 <= len(data):
        size = max(size if size != 0xFFFFFFFF else 0, struct.unpack_from("<Q", data, wide + 40)[0])
    if size > _MAX_DIRECTORY_BYTES:
        raise _RefusedError(f"its directory has {size} bytes; no model has so many parts")


def _members(archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    """The members by their path below the archive's one folder."""
    members: dict[str, zipfile.ZipInfo] = {}
    tops = set()
    for info in archive.infolist():
        parts = PurePosixPath(info.filename).parts
        if info.filename.startswith("/") or "\\" in info.filename or ".." in parts:
            raise _RefusedError(f"a member is called {info.filename[:60]!r}, outside the archive")
        if len(parts) < 2:
            raise _RefusedError(f"a member is called {info.filename[:60]!r}, in no folder")
        tops.add(parts[0])
        name = "/".join(parts[1:])
        if name in members:
            raise _RefusedError(f"two members are called {name[:60]!r}")
        members[name] = info
    if len(tops) > 1:
        raise _RefusedError(f"it has {len(tops)} top folders; torch writes one")
    return members


def _read(archive: zipfile.ZipFile, info: zipfile.ZipInfo, most: int) -> bytes:
    """One member, never more than ``most`` bytes of it, whatever its header says."""
    with archive.open(info) as file:
        data = file.read(most + 1)
    if len(data) > most:
        raise _RefusedError(f"{info.filename[:60]!r} unpacks to more than {most // _MB} MB")
    return data


def _code(archive: zipfile.ZipFile, members: Mapping[str, zipfile.ZipInfo]) -> str:
    left, texts = _MAX_CODE_BYTES, []
    for name, info in members.items():
        if name.startswith("code/") and name.endswith(".py"):
            data = _read(archive, info, left)
            left -= len(data)
            texts.append(data.decode("utf-8", "replace"))
    return "\n".join(texts)


def _arguments(
    archive: zipfile.ZipFile, members: Mapping[str, zipfile.ZipInfo], contents: Contents
) -> tuple[Argument, ...] | None:
    """Those of the ``forward`` of the class whose object the archive holds, which its pickle names
    first."""
    path, _, name = (contents.imports[0] if contents.imports else "").rpartition(".")
    info = members.get(f"code/{path.replace('.', '/')}.py")
    if info is None:
        return None
    text = _read(archive, info, _MAX_CODE_BYTES).decode("utf-8", "replace")
    _, found, body = text.partition(f"class {name}(Module):\n")
    body = body.partition("\nclass ")[0]
    _, begun, rest = body.partition("  def forward(")
    if not found or not begun:
        return None
    return _parsed(rest[:_MAX_FORWARD])


def _parsed(text: str) -> tuple[Argument, ...] | None:
    """``self: …, x: Tensor, n: int=1) -> …`` up to its closing bracket."""
    words, depth, begin = [], 0, 0
    for place, sign in enumerate(text):
        if sign in "[(":
            depth += 1
        elif sign == "]" or (sign == ")" and depth):
            depth -= 1
        elif depth == 0 and sign in ",)":
            words.append(" ".join(text[begin:place].split()))
            begin = place + 1
            if sign == ")":
                return tuple(map(_argument, words[1:]))
    return None


def _argument(text: str) -> Argument:
    name, _, kind = text.partition(":")
    kind, default, _ = kind.partition("=")
    return Argument(name.strip()[:_LONGEST_NAME], kind.strip()[:_LONGEST_NAME], bool(default))


@dataclass(frozen=True)
class _Note:
    scheme: str | None = None
    input_shape: tuple[int, ...] | None = None


def _note(archive: zipfile.ZipFile, members: Mapping[str, zipfile.ZipInfo]) -> _Note:
    """What whoever built the file wrote into it; nothing where it is not as the zoo writes it."""
    info = members.get(_NOTE)
    if info is None:
        return _Note()
    try:
        found = json.loads(_read(archive, info, _MAX_NOTE_BYTES))
    except (ValueError, RecursionError):
        return _Note()
    if not isinstance(found, dict):
        return _Note()
    scheme, shape = found.get("scheme"), found.get("input_shape")
    known = isinstance(scheme, str) and re.fullmatch(r"[a-z0-9_]{1,40}", scheme)
    if not isinstance(shape, list) or len(shape) > _MAX_RANK or not all(map(_is_count, shape)):
        shape = []
    return _Note(scheme if known else None, tuple(shape) or None)


def _check_imports(contents: Contents, *, script: bool) -> None:
    strange = [
        name
        for name in contents.imports
        if not _HARMLESS.fullmatch(name) and not (script and _SCRIPT.fullmatch(name))
    ]
    if not strange:
        return
    shown = ", ".join(name[:80] for name in strange[:_MAX_NAMES_SHOWN])
    more = len(strange) - _MAX_NAMES_SHOWN
    raise _RefusedError(
        f"loading it would run code that it names: {shown}{f' and {more} more' if more > 0 else ''}"
        "; nothing was run. Export the model with torch.jit.script or torch.jit.trace, or save its "
        "state_dict"
    )


def _stored(references: Iterable[Persistent]) -> tuple[StoredType, ...]:
    """The storages that a pickle refers to, each once. Raises _RefusedError on other references."""
    found: dict[str, tuple[str, int]] = {}
    for reference in references:
        key, dtype, elements = _storage(reference)
        found[key] = (dtype, elements)
    counts = Counter(dtype for dtype, _ in found.values())
    return tuple(
        StoredType(dtype, counts[dtype], sum(n for d, n in found.values() if d == dtype))
        for dtype in sorted(counts)
    )


def _storage(reference: Persistent) -> tuple[str, str, int]:
    value = reference.value
    if not isinstance(value, tuple) or len(value) < 5 or value[0] != "storage":
        raise _RefusedError("refers to something outside that is not a storage of a tensor")
    kind, key, elements = value[1], value[2], value[4]
    if not isinstance(kind, Global) or not isinstance(key, str) or not _is_count(elements):
        raise _RefusedError("refers to a storage that torch would not write")
    word = kind.name.rpartition(".")[2].removesuffix("Storage")
    return key, _DTYPES.get(word, word.lower()), elements


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**48


def _check_storages(references: Iterable[Persistent], members: Mapping[str, Any]) -> None:
    for reference in references:
        key = reference.value[2]
        if f"data/{key}" not in members and f"constants/{key}" not in members:
            raise _RefusedError(f"the storage {key[:40]!r} is not in the archive; copy it again")


def _legacy(data: Bytes) -> TorchInspection:
    """``torch.save`` before 1.6: pickles one after the other, the storages' bytes behind them."""
    head = bytes(data[:_MAX_PICKLE_BYTES])
    place, values = 0, []
    for _ in range(5):  # magic number, protocol, system, the object, the storages' keys
        contents = scan(head[place:])
        values.append(contents)
        place += contents.end
        if values[0].value != _LEGACY_MAGIC:
            _check_imports(contents, script=False)
            raise _RefusedError("is a pickle, but none that torch.save wrote")
    for contents in values:
        _check_imports(contents, script=False)
    return _inspection("state_dict", data, _stored(values[3].persistent), "")


# -- what it means --------------------------------------------------------------------------------


def _inspection(
    kind: str, data: Bytes, stored: tuple[StoredType, ...], code: str
) -> TorchInspection:
    calls = Counter(match[1] for match in _OPERATOR.finditer(code))
    calls.update(f"quantized.{match[1]}" for match in _QUANTIZED.finditer(code))
    for match in _QUANTIZED.finditer(code):
        calls[match[1]] -= 1
    scheme = _scheme(stored, code)
    return TorchInspection(
        kind=kind,
        scheme=scheme,
        quantized=scheme in ("static_int8", "dynamic_int8", "dynamic_fp16"),
        stored=stored,
        parameters=sum(s.elements for s in stored if "float" in s.dtype or s.dtype[:1] == "q"),
        operators=tuple(sorted((name, count) for name, count in calls.items() if count > 0)),
        size_bytes=len(data),
        sha256=hashlib.sha256(data).hexdigest(),
    )


def _scheme(stored: Iterable[StoredType], code: str) -> str:
    types = {s.dtype for s in stored if s.elements > 0}
    calls = _QUANTIZED.findall(code)
    computing = {name for name in calls if not re.search("prepack|unpack", name)}
    if computing:
        if not all("dynamic" in name for name in computing):
            return "static_int8"
        # a scripted module has a branch for either; the weights say which one it takes
        half = all("fp16" in name for name in computing)
        return "dynamic_int8" if not half and types & _QUANTIZED_TYPES else "dynamic_fp16"
    if types & _QUANTIZED_TYPES:
        return "mixed"  # integers, but no program that says how they are used
    floats = types & {"float32", "float16", "bfloat16", "float64"}
    return floats.pop() if len(floats) == 1 else "mixed"
