"""Files of any kind, as a program of the user's takes them: told by their bytes where those are
known, and taken as they are where they are not."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from orchestrator.artifacts.files import sha256_of
from orchestrator.errors import ModelBuildError
from orchestrator.frameworks.command.about import FRAMEWORK
from orchestrator.frameworks.feeding import Asked, FeedingError
from orchestrator.frameworks.files import Description, FileReader, InspectedFile
from orchestrator.trial import InputSpec

#: The scheme of a file that only its program understands.
UNKNOWN = "unknown"


@dataclass(frozen=True)
class Contents:
    """What is known of a file: its bytes, and its scheme where another framework reads it."""

    scheme: str
    size_bytes: int
    sha256: str

    def to_json(self) -> dict[str, Any]:
        """Return it as plain values."""
        return asdict(self)


@dataclass(frozen=True)
class OpaqueFile(InspectedFile[Contents]):
    """A file that a program of the user's is given."""

    framework = FRAMEWORK
    kind = "a file for a program of your own"

    def describe(self) -> Description:
        """Say how large it is, which is all that is known of it."""
        return Description([f"{self.contents.size_bytes} bytes, read by its program alone"], [])

    def feed(self, asked: Asked) -> tuple[InputSpec, ...]:
        """Return nothing: the program feeds itself. Raises FeedingError where inputs are named."""
        if asked.inputs:
            raise FeedingError("is fed by its program; delete `input`")
        return ()

    def may_be_called(self, words: str) -> bool:
        """Whether nobody knows better."""
        return self.contents.scheme == UNKNOWN


def _inspect(path: Path, signature: str | None) -> OpaqueFile:
    if signature is not None:
        raise ModelBuildError(f"{path}: a program chooses its own signature; delete `signature`")
    # the readers of all frameworks, of which this is one
    from orchestrator.frameworks.file_kinds import inspect_any  # noqa: PLC0415

    try:
        known = inspect_any(path).contents
        return OpaqueFile(Contents(known.scheme, known.size_bytes, known.sha256))
    except ModelBuildError:
        pass  # no framework's, or too new for its reader: its program may know it
    try:
        size = path.stat().st_size
        if not path.is_file() or not size:
            raise ModelBuildError(f"{path}: is empty, or not a plain file")
        return OpaqueFile(Contents(UNKNOWN, size, sha256_of(path)))
    except OSError as exc:
        raise ModelBuildError(f"{path}: {exc.strerror or exc}") from exc


def _built_scheme(_path: Path, scheme: str, _no_op: bool) -> str:
    return scheme  # nothing is built


FILES = FileReader(recognises=lambda _: False, inspect=_inspect, built_scheme=_built_scheme)
