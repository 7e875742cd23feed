"""Builds the stand-in for ``benchmark_model``; see its source for what it can be made to do."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

SOURCE = Path(__file__).parent / "data" / "benchmark_model" / "stand_in.c"


def why_not() -> str | None:
    """Why it cannot be built here; None where it can."""
    if shutil.which("gcc") is None and shutil.which("cc") is None:
        return "the stand-in for benchmark_model needs a C compiler"
    return None


def build(path: Path, *options: str) -> Path:
    """Compile it to ``path``, with further options of the compiler."""
    compiler = shutil.which("gcc") or "cc"
    subprocess.run([compiler, "-O1", *options, "-o", path, SOURCE], check=True)
    return path
