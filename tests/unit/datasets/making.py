"""Data sets made in a test."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from orchestrator.config import Accuracy
from orchestrator.config.problems import revived

SIDE = 24


def picture(
    path: Path, seed: int = 0, size: tuple[int, int] = (SIDE, SIDE), **options: Any
) -> Path:
    """A file of noise, ``size`` wide and high."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 256, (size[1], size[0], 3)).astype(np.uint8)
    Image.fromarray(pixels).save(path, **options)
    return path


def classes(root: Path, counts: dict[str, int]) -> Path:
    """``root/CLASS/N.png`` for each class and number of images."""
    for place, (name, count) in enumerate(counts.items()):
        (root / name).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            picture(root / name / f"{number}.png", seed=100 * place + number)
    return root


def section(dataset: Any, task: str = "classification", **keys: Any) -> Accuracy:
    """The section of a suite."""
    place = str(dataset) if isinstance(dataset, Path) else dataset
    return revived(Accuracy, {"task": task, "dataset": place, **keys}, "the test")
