"""What a framework's reader of model files gives, in the words that every command asks in.

Which framework's a file is, its first bytes say: see :mod:`.file_kinds`.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import stat
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar, Generic, Protocol, TypeAlias, TypeVar

from orchestrator.errors import ModelBuildError
from orchestrator.frameworks.about import Framework
from orchestrator.frameworks.feeding import Asked
from orchestrator.measurement import Finding
from orchestrator.trial import InputSpec

#: A file's bytes, mapped or in memory.
Bytes: TypeAlias = "bytes | mmap.mmap"
#: A table's header and its rows.
Table: TypeAlias = tuple[tuple[str, ...], Sequence[tuple[str, ...]]]
#: Bytes at a place of a file that is not a model here, and a sentence without its subject that says
#: what it is. ``EXPORT`` in it stands for the formats that can be exported instead.
Mark: TypeAlias = tuple[int, bytes, str]
EXPORT = "{export}"


class Contents(Protocol):
    """What every framework's inspection of a file has."""

    @property
    def scheme(self) -> str: ...
    @property
    def size_bytes(self) -> int: ...
    @property
    def sha256(self) -> str: ...
    def to_json(self) -> dict[str, Any]: ...


ContentsT = TypeVar("ContentsT", bound=Contents)


@dataclass(frozen=True)
class Description:
    """What a file holds, for somebody to read: lines, and tables under them. Names out of the file
    are printable in the lines, but need not be in the tables' cells."""

    lines: Sequence[str]
    tables: Sequence[Table]


@dataclass(frozen=True)
class InspectedFile(ABC, Generic[ContentsT]):
    """A model file that its framework has read. ``kind`` is what a message calls such a file."""

    contents: ContentsT

    framework: ClassVar[Framework]
    kind: ClassVar[str]

    @abstractmethod
    def describe(self) -> Description:
        """Say what the file holds."""

    @abstractmethod
    def feed(self, asked: Asked) -> tuple[InputSpec, ...]:
        """Return every input as it is fed. Raises FeedingError for what cannot be."""

    @property
    def default_signature(self) -> str | None:
        """Return what a runtime calls by itself, empty where that has no name; None where there is
        one way to call the file."""
        return None

    @property
    def export(self) -> str | None:
        """Return how the file holds its batch, ``open`` or ``fixed``; None where it does not
        say."""
        return None

    def unmeasurable(self) -> str | None:
        """Return why a run cannot measure the file, to stand behind its name; None where it can."""
        return None

    def is_repacked(self, other: InspectedFile[Any]) -> bool:
        """Whether both are one network with the same types and weights, packed differently."""
        return False

    def may_be_called(self, words: str) -> bool:
        """Whether people call such a file so, though the words promise another scheme."""
        return False

    def remarks(self, words: str) -> tuple[Finding, ...]:
        """Return what has to be known of the file wherever its figures stand; ``words`` is what it
        is called."""
        return ()


@dataclass(frozen=True)
class FileReader:
    """What reads a framework's files; it needs none of its libraries and runs nothing in a file.

    ``recognises`` tells such a file by its first bytes. ``inspect`` reads one (the signature is the
    one asked for, None what a runtime calls by itself) and ``built_scheme`` says which scheme a
    file holds that was built as one (the flag: as its baseline under another name); both raise
    ModelBuildError. ``foreign_marks`` and ``foreign_archive`` know files that its own can be made
    of: by their bytes, or by the members of a zip archive.
    """

    recognises: Callable[[bytes], bool]
    inspect: Callable[[Path, str | None], InspectedFile[Any]]
    built_scheme: Callable[[Path, str, bool], str]
    foreign_marks: tuple[Mark, ...] = ()
    foreign_archive: Callable[[Sequence[PurePosixPath]], str | None] = lambda _: None


@contextlib.contextmanager
def opened(path: Path) -> Iterator[Bytes]:
    """Yield a file's bytes, mapped rather than read. Raises ModelBuildError.

    Nothing but a plain file is opened: reading a pipe would wait for ever.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(fd, "rb"):
            status = os.fstat(fd)
            if stat.S_ISDIR(status.st_mode):
                raise ModelBuildError(f"{path}: Is a directory")
            if not stat.S_ISREG(status.st_mode):
                raise ModelBuildError(f"{path}: is not a plain file")
            if status.st_size == 0:
                yield b""
                return
            with mmap.mmap(fd, 0, access=mmap.ACCESS_READ) as data:
                yield data
    except OSError as exc:
        raise ModelBuildError(f"{path}: {exc.strerror or exc}") from exc
