"""What the tests of provided runtimes have in common: two of them, and a suite of a small model."""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.lab import PROTOCOL, Lab

NEW, OLD = "ai-edge-litert==2.3.0", "tflite-runtime==2.14.0"
#: The Pythons that there are wheels of the old one for.
PYTHONS_OF_OLD = ("3.9", "3.10", "3.11")
DATA = Path(__file__).parent / "data"


def suite(lab: Lab, *factors: str, **files: str) -> Path:
    """Of one model, with the files ``{suffix: scheme}`` beside its baseline."""
    shutil.copyfile(DATA / "zoo" / "float32.tflite", lab.folder / "foo.tflite")
    for suffix, scheme in files.items():
        shutil.copyfile(DATA / "zoo" / f"{scheme}.tflite", lab.folder / f"foo_{suffix}.tflite")
    path = lab.folder / "own.yaml"
    written = f"factors: {{{', '.join(factors)}}}\n" if factors else ""
    path.write_text(
        f"models: [{{file: foo.tflite}}]\nrunner: litert\n{written}protocol: {PROTOCOL}\n"
    )
    return path
