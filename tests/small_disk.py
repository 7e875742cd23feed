"""A disk that can be filled: a small tmpfs. Needs root."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


def why_not() -> str | None:
    """Why there can be none here; None where there can."""
    return None if os.geteuid() == 0 else "mounting a small disk needs root"


@dataclass(frozen=True)
class SmallDisk:
    """``folder`` is where it is mounted."""

    folder: Path

    def fill(self) -> None:
        """Leave no byte free."""
        with contextlib.suppress(OSError), self._ballast.open("wb", buffering=0) as file:
            while True:
                file.write(bytes(4096))

    def make_room(self) -> None:
        self._ballast.unlink()

    @property
    def _ballast(self) -> Path:
        return self.folder / "ballast"


@contextlib.contextmanager
def small_disk(folder: Path, megabytes: int, options: str = "exec") -> Iterator[SmallDisk]:
    """One at ``folder``, its owner's alone; ``options`` are further ones of mount."""
    folder.mkdir(parents=True, exist_ok=True)
    size = f"size={megabytes}m,mode=0700,{options}"
    subprocess.run(["mount", "-t", "tmpfs", "-o", size, "tmpfs", folder], check=True)
    try:
        yield SmallDisk(folder)
    finally:
        # lazily: an agent that has not ended yet keeps it busy
        subprocess.run(["umount", "-l", folder], check=True)
