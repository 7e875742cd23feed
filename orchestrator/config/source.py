"""A file's text, before anything is made of it, and places in it."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from yaml.reader import Reader

from orchestrator.errors import ConfigError

MAX_BYTES = 1024 * 1024


class Mark(NamedTuple):
    """A place in the file; both count from 1."""

    line: int
    column: int


def error_at(path: Path, mark: Mark, message: str) -> ConfigError:
    """What is wrong at a place of the file, to be raised."""
    return ConfigError(message, path=path, line=mark.line, column=mark.column)


def read_text(path: Path) -> str:
    """The file's text, of a size and of characters that YAML can be. Raises ConfigError."""
    try:
        # `<(command)` of a shell stands below /dev; any other pipe may have nobody at its end
        if path.is_fifo() and not path.is_relative_to("/dev"):
            raise ConfigError("this is a pipe, not a file", path=path)
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
    except FileNotFoundError as exc:
        raise ConfigError("there is no such file; check the path", path=path) from exc
    except IsADirectoryError as exc:
        raise ConfigError("this is a folder, not a file", path=path) from exc
    except (OSError, ValueError) as exc:  # ValueError: a path with a NUL character in it
        raise ConfigError(f"cannot be read: {exc}", path=path) from exc
    if len(raw) > MAX_BYTES:
        raise ConfigError("larger than 1 MiB; that is not a file of ours", path=path)
    return _checked_characters(path, _decoded(path, raw))


def _decoded(path: Path, raw: bytes) -> str:
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        before = exc.object[: exc.start].decode("utf-8")
        raise error_at(
            path,
            _place(before),
            f"not UTF-8 text (byte 0x{exc.object[exc.start]:02x}); save the file as UTF-8",
        ) from exc


def _checked_characters(path: Path, text: str) -> str:
    odd = Reader.NON_PRINTABLE.search(text)
    if odd is not None:
        raise error_at(
            path,
            _place(text[: odd.start()]),
            f"the control character U+{ord(odd.group()):04X} has no place in YAML; delete it",
        )
    return text


def _place(before: str) -> Mark:
    """The place just behind ``before``."""
    return Mark(before.count("\n") + 1, len(before) - (before.rfind("\n") + 1) + 1)
