"""What the factor ``runtime`` may say: the library inside a Python runner, pinned or not. Pure.

A name (``ai-edge-litert``) is whatever version the device's own Python has, ``any`` the first that
it has; ``NAME==VERSION`` is one that the controller provides, whatever is installed there.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from packaging.version import InvalidVersion, Version

ANY = "any"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
#: Versions go into file names and command lines: PEP 440 allows more, and no release uses it.
_VERSION = re.compile(r"[0-9][A-Za-z0-9.+]{0,63}")


@dataclass(frozen=True)
class Runtime:
    """A runtime as a suite asks for it; ``version`` None where it may be any."""

    name: str
    version: str | None = None

    def __str__(self) -> str:
        return self.name if self.version is None else f"{self.name}=={self.version}"

    def is_version(self, loaded: str | None) -> bool:
        """Whether a loaded library that calls itself ``loaded`` is the one that is asked for.

        ``2.13.0+cpu`` is a build of ``2.13.0``; whoever asks for a build gets no other.
        """
        if self.version is None:
            return True
        try:
            asked, found = Version(self.version), Version(loaded or "")
        except InvalidVersion:
            return False
        return asked == (found if asked.local else Version(found.public))


def parse_runtime(text: str) -> Runtime:
    """The inverse of ``str``. Raises ValueError with what to write instead.

    Whether there is a runtime of that name, the registry of frameworks knows.
    """
    name, pinned, version = text.partition("==")
    if not _NAME.fullmatch(name) or (pinned and name == ANY):
        raise ValueError(f"`{text[:80]}` is not a runtime; write NAME or NAME==VERSION")
    if not pinned:
        return Runtime(name)
    try:
        Version(version if _VERSION.fullmatch(version) else "")
    except InvalidVersion:
        raise ValueError(
            f"`{text[:80]}` names no version; write it in full, like {name}==2.3.0"
        ) from None
    return Runtime(name, version)
