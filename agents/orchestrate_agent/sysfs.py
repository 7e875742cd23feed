"""Reads the files by which Linux describes a machine, all of them under one root.

Every system path of the agent goes through a :class:`Tree`, so that a test hands over a directory
instead of a machine. Nothing that reads raises for what a file holds or lacks: what cannot be read,
or does not parse, is None.
"""

from __future__ import annotations

import fnmatch
import os
import re
from typing import List, Optional

_READ_BYTES = 1 << 16
#: No file read here is longer; a cap keeps a mistaken path (a FIFO, a device) from filling memory.
MAX_BYTES = 1 << 24
_NUMBERS = re.compile(r"(\d+)")
_SIZE = re.compile(r"\A(\d+)([KMG]?)\Z")
_SIZE_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}


class Tree:
    """The files below ``root``; every path is given as it stands on the machine itself."""

    def __init__(self, root: str = "/") -> None:
        self._root = root.rstrip("/")

    @property
    def is_live(self) -> bool:
        """Whether this is the machine we run on, so that system calls speak of it too."""
        return self._root == ""

    def _at(self, path: str) -> str:
        return self._root + path

    def read(self, path: str, limit: int = MAX_BYTES) -> Optional[str]:
        """The file's text, stripped of white space and NULs at its ends, or None."""
        data = self.read_bytes(path, limit)
        # a device-tree string ends in NUL
        return None if data is None else data.decode("utf-8", "replace").strip("\0 \t\r\n")

    def read_bytes(self, path: str, limit: int = MAX_BYTES) -> Optional[bytes]:
        """Read at most ``limit`` bytes of the file; None where it cannot be read."""
        # O_NONBLOCK: a FIFO in the place of a file must not hang the agent
        flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK
        try:
            fd = os.open(self._at(path), flags)
        except (OSError, ValueError):
            return None
        try:
            return _drain(fd, limit)
        except OSError:  # sysfs reports a sensor that is switched off as an error of read()
            return None
        finally:
            os.close(fd)

    def integer(self, path: str) -> Optional[int]:
        """The decimal number the file holds."""
        return to_int(self.read(path))

    def flag(self, path: str) -> Optional[bool]:
        """Return True or False for a file that holds ``1`` or ``0``."""
        return {"1": True, "0": False}.get(self.read(path) or "")

    def entries(self, path: str, pattern: str = "*") -> List[str]:
        """Full paths of the folder's entries that match, in natural order (cpu2 before cpu10)."""
        found = fnmatch.filter(self._names(path), pattern)
        return [path + "/" + name for name in sorted(found, key=_natural)]

    def _names(self, path: str) -> List[str]:
        try:
            return os.listdir(self._at(path))
        except OSError:
            return []

    def link(self, path: str) -> Optional[str]:
        """Return the place that a symbolic link points to; None where it is not a link."""
        try:
            return os.readlink(self._at(path))
        except OSError:
            return None

    def exists(self, path: str) -> bool:
        return os.path.exists(self._at(path))

    def write(self, path: str, text: str) -> None:
        """Write one setting in one call, as sysfs wants it. Raises OSError; makes no file."""
        fd = os.open(self._at(path), os.O_WRONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_TRUNC)
        try:
            os.write(fd, text.encode("ascii"))
        finally:
            os.close(fd)


def _drain(fd: int, limit: int) -> bytes:
    parts = []
    left = limit
    while left > 0:
        part = os.read(fd, min(_READ_BYTES, left))
        if not part:
            break
        parts.append(part)
        left -= len(part)
    return b"".join(parts)


def _natural(name: str) -> List[object]:
    return [int(part) if part.isdigit() else part for part in _NUMBERS.split(name)]


def to_int(text: Optional[str], base: int = 10) -> Optional[int]:
    """The number ``text`` is, or None."""
    try:
        return int(text or "", base)
    except ValueError:
        return None


def to_float(text: Optional[str]) -> Optional[float]:
    """The number ``text`` is, or None; NaN and infinities have no place in JSON."""
    try:
        number = float(text or "")
    except ValueError:
        return None
    return number if abs(number) < float("inf") else None


def to_bytes(text: Optional[str]) -> Optional[int]:
    """Bytes of a size as sysfs writes it (``48K``, ``32768K``, ``1M``), or None."""
    match = _SIZE.match(text or "")
    return int(match.group(1)) * _SIZE_UNITS[match.group(2)] if match else None


def cpu_list(text: Optional[str]) -> Optional[List[int]]:
    """The CPUs of a kernel list such as ``0-3,8``; an empty list where it is empty."""
    if text is None:
        return None
    cpus: List[int] = []
    for part in filter(None, text.split(",")):
        first, dash, last = part.partition("-")
        low, high = to_int(first), to_int(last if dash else first)
        # no kernel has more than 8192 CPUs: a garbled range must not fill memory
        if low is None or high is None or not 0 <= low <= high < 8192:
            return None
        cpus.extend(range(low, high + 1))
    return cpus
