"""Control groups with a limit, of whichever version this machine has."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

_ROOT = Path("/sys/fs/cgroup")


@contextmanager
def control_group(kind: str, v1: Mapping[str, str], v2: Mapping[str, str]) -> Iterator[Path]:
    """The folder of a group whose controller ``kind`` is set so, in either version's files; a
    process enters it by its ``cgroup.procs``. Skips the test where none can be made."""
    first = (_ROOT / kind).is_dir()
    place = (_ROOT / kind if first else _ROOT) / f"orchestrate-test-{kind}-{os.getpid()}"
    try:
        place.mkdir()
        for name, text in (v1 if first else v2).items():
            (place / name).write_text(text)
    except OSError as exc:
        if place.exists():
            place.rmdir()
        pytest.skip(f"no control group of {kind} can be made here: {exc}")
    try:
        yield place
    finally:
        place.rmdir()


@contextmanager
def limited_memory(limit_bytes: int) -> Iterator[Path]:
    """A group whose processes have so much memory together."""
    limit = str(limit_bytes)
    with control_group("memory", {"memory.limit_in_bytes": limit}, {"memory.max": limit}) as place:
        yield place
