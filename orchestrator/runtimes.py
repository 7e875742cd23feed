"""What the factor ``runtime`` may say: the library inside a Python runner, pinned or not. Pure.

A name (``ai-edge-litert``) is whatever version the device's own Python has, ``any`` the first that
it has; ``NAME==VERSION`` is one that the controller provides, whatever is installed there.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from packaging.version import InvalidVersion, Version

ANY = "any"
#: Runner → its runtimes, in the order of preference.
OF_RUNNER: dict[str, tuple[str, ...]] = {
    "litert": ("ai-edge-litert", "tflite-runtime", "tensorflow"),
    "torch": ("torch",),
}
NAMES = tuple(name for names in OF_RUNNER.values() for name in names)
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
    """The inverse of ``str``. Raises ValueError with what to write instead."""
    name, pinned, version = text.partition("==")
    if name not in (ANY, *NAMES) or (pinned and name == ANY):
        raise ValueError(
            f"`{text[:80]}` is no runtime; there are {', '.join((ANY, *NAMES))}, and "
            f"NAME==VERSION for one that is provided, like {NAMES[0]}==2.3.0"
        )
    if not pinned:
        return Runtime(name)
    try:
        Version(version if _VERSION.fullmatch(version) else "")
    except InvalidVersion:
        raise ValueError(
            f"`{text[:80]}` names no version; write it in full, like {name}==2.3.0"
        ) from None
    return Runtime(name, version)


def belongs_to(runtime: str, runner: str) -> bool:
    """Whether ``runner`` can be given ``runtime``, as a suite writes it."""
    name = parse_runtime(runtime).name
    return name == ANY or name in OF_RUNNER.get(runner, ())
