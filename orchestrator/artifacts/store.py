"""Built models in one folder: files named by their hash, and a manifest that says what they are.

``manifest.json`` is ``{"format": 1, "artifacts": [...]}``. An entry has at least ``model``,
``scheme``, ``recipe_key``, ``file``, ``sha256`` and ``size_bytes``; whatever else it says (weights,
versions, converter settings) is kept as it was written. Format history: 1, the first.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.artifacts.files import (
    locked,
    make_folder,
    remove_partials,
    sha256_of,
    translated,
    write_atomically,
)
from orchestrator.errors import ArtifactError

FORMAT = 1

_SHA256 = re.compile(r"\A[0-9a-f]{64}\Z")
# A manifest must not be able to point outside its folder.
_FILE_NAME = re.compile(r"\A[A-Za-z0-9][A-Za-z0-9._+-]{0,199}\Z")


@dataclass(frozen=True)
class Entry:
    """One artifact: a variant built by a recipe. ``details`` is the rest of what is known.

    ``recipe_key`` is the hash of everything that determines the bytes, toolchain versions apart.
    """

    model: str
    scheme: str
    recipe_key: str
    file: str
    sha256: str
    size_bytes: int
    details: Mapping[str, Any]

    def __post_init__(self) -> None:
        if not _SHA256.match(self.sha256):
            raise ValueError(f"`sha256` is {self.sha256!r}, not 64 hexadecimal digits")
        if not _FILE_NAME.match(self.file):
            raise ValueError(f"`file` is {self.file!r}, not a plain file name")
        if self.size_bytes < 0:
            raise ValueError(f"`size_bytes` is {self.size_bytes}")

    @property
    def identity(self) -> tuple[str, str, str]:
        """What there is at most one entry of."""
        return (self.model, self.scheme, self.recipe_key)

    def to_json(self) -> dict[str, Any]:
        """Return it as it stands in the manifest."""
        return {**_own_fields(self), **self.details}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Entry:
        """Read what :meth:`to_json` wrote. Raises ValueError naming what is wrong."""
        values: dict[str, Any] = {}
        for name, kind in _REQUIRED.items():
            value = data.get(name)
            if not isinstance(value, kind) or isinstance(value, bool):
                raise ValueError(f"`{name}` is {value!r}")  # noqa: TRY004  # one error to catch
            values[name] = value
        details = {key: value for key, value in data.items() if key not in _REQUIRED}
        return cls(**values, details=details)


_REQUIRED: Mapping[str, type] = {
    "model": str,
    "scheme": str,
    "recipe_key": str,
    "file": str,
    "sha256": str,
    "size_bytes": int,
}


def _own_fields(entry: Entry) -> dict[str, Any]:
    return {name: getattr(entry, name) for name in _REQUIRED}


class ArtifactStore:
    """The folder of built models. Safe to use from several processes at once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.manifest = folder / "manifest.json"

    def entries(self) -> tuple[Entry, ...]:
        """Every entry, in the order of building; none where nothing was ever built.

        Raises ArtifactError where the manifest cannot be understood.
        """
        try:
            text = self.manifest.read_text("utf-8")
        except FileNotFoundError:
            return ()
        except UnicodeDecodeError as exc:
            raise self._unreadable("it is not text") from exc
        except OSError as exc:
            raise self._unreadable(str(exc.strerror or exc)) from exc
        return self._parse(text)

    def path(self, entry: Entry) -> Path:
        """Say where the entry's file is, or would be."""
        return self.folder / entry.file

    def damage(self, entry: Entry, *, verify: bool) -> str | None:
        """What is wrong with the entry's file in one sentence; None where it is as recorded.

        Its size is always compared, its SHA-256 where ``verify``.
        """
        path = self.path(entry)
        try:
            size = path.stat().st_size
            if size != entry.size_bytes:
                return f"{path}: has {size} bytes where {entry.size_bytes} were written"
            actual = sha256_of(path) if verify else entry.sha256
        except OSError as exc:
            return f"{path}: {exc.strerror or exc}"
        if actual != entry.sha256:
            return f"{path}: its SHA-256 is {actual}, not {entry.sha256} as recorded"
        return None

    def add(
        self,
        data: bytes,
        *,
        model: str,
        scheme: str,
        recipe_key: str,
        details: Mapping[str, Any],
        suffix: str,
    ) -> Entry:
        """Write the file, then its entry; an earlier entry of the same recipe is replaced.

        Raises ArtifactError; the manifest then is what it was.
        """
        sha256 = hashlib.sha256(data).hexdigest()
        entry = Entry(
            model=model,
            scheme=scheme,
            recipe_key=recipe_key,
            file=f"{model}-{scheme}-{sha256[:16]}{suffix}",
            sha256=sha256,
            size_bytes=len(data),
            details=details,
        )
        make_folder(self.folder)
        with locked(self.folder / ".lock"), translated(self.folder):
            others = [e for e in self.entries() if e.identity != entry.identity]
            remove_partials(self.folder)
            write_atomically(self.path(entry), data)
            document = {"format": FORMAT, "artifacts": [e.to_json() for e in (*others, entry)]}
            write_atomically(self.manifest, (json.dumps(document, indent=1) + "\n").encode())
        return entry

    def _parse(self, text: str) -> tuple[Entry, ...]:
        try:
            document = json.loads(text)
        except ValueError as exc:
            raise self._unreadable(f"it is not JSON ({exc})") from exc
        if not isinstance(document, dict) or not isinstance(document.get("format"), int):
            raise self._unreadable("it has no `format` number")
        if document["format"] > FORMAT:
            raise ArtifactError(
                f"{self.manifest}: written by a later version (format {document['format']}, this "
                f"one knows {FORMAT}); upgrade, or name another folder with --models"
            )
        listed = document.get("artifacts")
        if not isinstance(listed, list):
            raise self._unreadable("it has no list `artifacts`")
        return tuple(self._entry(number, item) for number, item in enumerate(listed))

    def _entry(self, number: int, item: object) -> Entry:
        if not isinstance(item, dict):
            raise self._unreadable(f"artifact {number} is not a mapping")
        try:
            return Entry.from_json(item)
        except ValueError as exc:
            raise self._unreadable(f"artifact {number}: {exc}") from exc

    def _unreadable(self, why: str) -> ArtifactError:
        return ArtifactError(
            f"{self.manifest}: cannot be read: {why}; put a good copy back, or move the file "
            f"aside and `orchestrate models build` makes the models anew"
        )
