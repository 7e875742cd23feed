"""What was got from elsewhere when it was first asked for, so that it stays the same."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from orchestrator.artifacts.files import translated, write_atomically
from orchestrator.errors import ArtifactError

FORMAT = 1


class LockFile:
    """``{"format": 1, SECTION: {key: {"sha256", …}}}``. For the holder of the folder's lock."""

    def __init__(self, path: Path, section: str) -> None:
        self.path = path
        self._section = section

    def entries(self) -> dict[str, dict[str, Any]]:
        """Key → entry; empty where nothing was recorded yet. Raises ArtifactError."""
        try:
            document = json.loads(self.path.read_bytes())
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as exc:
            raise self._unreadable(str(exc)) from exc
        if not isinstance(document, dict) or document.get("format") != FORMAT:
            raise self._unreadable(f"its format is not {FORMAT}")
        entries = document.get(self._section)
        if not isinstance(entries, dict) or not all(
            isinstance(e, dict) and isinstance(e.get("sha256"), str) for e in entries.values()
        ):
            raise self._unreadable(f"`{self._section}` is not a mapping to hashes")
        return entries

    def record(self, key: str, entry: Mapping[str, Any]) -> None:
        """Add the entry, or replace the one of this key. Raises ArtifactError."""
        document = {"format": FORMAT, self._section: {**self.entries(), key: dict(entry)}}
        with translated(self.path):
            write_atomically(self.path, (json.dumps(document, indent=1) + "\n").encode())

    def _unreadable(self, why: str) -> ArtifactError:
        return ArtifactError(
            f"{self.path}: cannot be read: {why}; put a good copy back, or delete it to fetch and "
            f"pin the {self._section} anew"
        )
