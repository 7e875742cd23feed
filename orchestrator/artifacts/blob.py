"""What is pushed to a device: bytes that are named by their hash."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Blob:
    """Bytes to push: named by hash, read from a file of ours."""

    sha256: str
    path: Path
    size_bytes: int
