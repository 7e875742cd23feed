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


@dataclass(frozen=True)
class FailingDisk:
    """A file system that is read-only from the first error on, as most are."""

    folder: Path
    image: Path

    def fail(self) -> None:
        """An error is found on the disk."""
        device = subprocess.run(
            ["findmnt", "-no", "SOURCE", self.folder], check=True, capture_output=True, text=True
        ).stdout.strip()
        Path("/sys/fs/ext4", Path(device).name, "trigger_fs_error").write_text("test")

    def mend(self) -> None:
        """As an administrator does, once nobody uses it."""
        subprocess.run(["umount", self.folder], check=True)
        subprocess.run(["e2fsck", "-fy", self.image], check=False, capture_output=True)
        self.mount()

    def mount(self) -> None:
        options = "loop,errors=remount-ro"
        subprocess.run(["mount", "-o", options, self.image, self.folder], check=True)


@contextlib.contextmanager
def failing_disk(folder: Path, image: Path) -> Iterator[FailingDisk]:
    """One at ``folder``. Raises OSError, CalledProcessError where there can be none here."""
    folder.mkdir(parents=True, exist_ok=True)
    with image.open("wb") as file:
        file.truncate(64 << 20)
    subprocess.run(["mkfs.ext4", "-q", "-F", image], check=True, capture_output=True)
    disk = FailingDisk(folder, image)
    disk.mount()
    try:
        yield disk
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


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
