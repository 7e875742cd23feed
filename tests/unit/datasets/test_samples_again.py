"""The samples of a run whose prepared files are gone, when it goes on."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from orchestrator.campaign.samples import (
    FOLDER,
    DrawnSamples,
    draw_samples,
    make_samples,
    stored_shards,
)
from orchestrator.config import Suite
from orchestrator.datasets import Feeding, Geometry
from orchestrator.errors import ArtifactError
from orchestrator.runs.manifest import Manifest
from tests.unit.datasets.making import classes, picture

SEED = 3


@pytest.fixture
def images(tmp_path: Path) -> Path:
    return classes(tmp_path / "images", {"cat": 3, "dog": 3})


@pytest.fixture
def begun(images: Path, tmp_path: Path) -> Manifest:
    """A run that prepared its samples and was interrupted."""
    written = {
        "name": "mine",
        "models": ["mobilenet_v1"],
        "schemes": ["float32"],
        "accuracy": {"task": "classification", "dataset": str(images), "samples": 4},
    }
    suite, drawn = draw_samples(Suite.from_json(written), SEED)
    assert drawn is not None
    feeding = Feeding(Geometry(8, 8, "crop", "bgr"), (127.5,), (127.5,))
    drawn = DrawnSamples(drawn.section, drawn.dataset, {("mobilenet_v1", "", 0): feeding})
    samples, _ = make_samples(drawn, tmp_path / "models", lambda line: None)
    return Manifest("run", "now", SEED, {}, suite.for_a_run(), ("here",), {}, samples=samples)


def test_they_are_made_again_from_the_data_set_to_the_byte(begun: Manifest, tmp_path: Path) -> None:
    kept = stored_shards(begun, tmp_path / "models")
    shutil.rmtree(tmp_path / "models" / FOLDER)
    again = stored_shards(begun, tmp_path / "models")
    assert len(again) == 1 and again == kept
    assert all(blob.path.is_file() for blob in again.values())


def test_another_data_set_or_none_is_refused(begun: Manifest, images: Path, tmp_path: Path) -> None:
    shutil.rmtree(tmp_path / "models" / FOLDER)
    for number in range(3):
        picture(images / "cat" / f"{number}.png", seed=77 + number)
    with pytest.raises(ArtifactError, match=r"(?s)holds no samples .*--models.*not those that"):
        stored_shards(begun, tmp_path / "models")
    shutil.rmtree(images)
    with pytest.raises(ArtifactError, match=r"(?s)holds no samples .*--models.*no such folder"):
        stored_shards(begun, tmp_path / "models")


def test_with_the_files_there_nobody_looks_for_the_data_set(
    begun: Manifest, images: Path, tmp_path: Path
) -> None:
    shutil.rmtree(images)
    assert len(stored_shards(begun, tmp_path / "models")) == 1
