"""What a run's manifest says of the data that its files were calibrated on."""

from __future__ import annotations

from pathlib import Path

from orchestrator.artifacts.files import sha256_of
from orchestrator.campaign.materials import new_manifest
from orchestrator.campaign.samples import DrawnSamples
from orchestrator.campaign.words import Preparation
from orchestrator.config import Inventory
from orchestrator.config.accuracy import Accuracy
from orchestrator.datasets import Dataset
from orchestrator.datasets.dataset import Item
from orchestrator.frameworks.building import BuildOptions, representative_data
from orchestrator.plan import make_plan
from orchestrator.runs.manifest import Manifest
from orchestrator.runs.records import CalibrationRecord
from orchestrator.zoo import ModelArtifact, OwnFiles
from tests.unit.test_plan import device, suite

DATA = Path(__file__).parent.parent / "data" / "zoo"
INT8 = "full_int8"


def images(folder: Path, count: int) -> list[Path]:
    folder.mkdir()
    paths = [folder / f"{number}.png" for number in range(count)]
    for number, path in enumerate(paths):
        path.write_bytes(bytes([number]))
    return paths


def manifest_of(options: BuildOptions, samples: list[Path], *, own: bool = False) -> Manifest:
    """Of a run of two files, the second of them calibrated, over these samples."""
    asked = suite(schemes=["float32", INT8])
    plan = make_plan([device("here")], asked, seed=1)
    items = tuple(Item(p.name, 0, path=p, sha256=sha256_of(p)) for p in samples)
    section = Accuracy.model_validate({"task": "classification", "dataset": "images"})
    drawn = DrawnSamples(section, Dataset(items, ("a",), "d" * 64, "images"))
    models = {}
    for variant in plan.variants:
        path = DATA / f"{variant.scheme}.tflite"
        data = representative_data(options) if variant.scheme == INT8 else None
        entry = {} if own else {"representative": data}
        models[variant] = ModelArtifact(variant, path, sha256_of(path), 1, "imagenet", entry)
    prepared = Preparation(asked, plan, OwnFiles(asked, {}), models, options, {}, drawn)
    inventory = Inventory(path=Path("inventory.yaml"), devices=(device("here"),))
    made = new_manifest("run", inventory, prepared, models)
    assert Manifest.from_json(made.to_json()) == made
    return made


def calibrations(manifest: Manifest) -> dict[str, CalibrationRecord | None]:
    return {each.variant.scheme: each.calibration for each in manifest.artifacts}


def test_samples_that_were_calibrated_on_are_counted_by_their_bytes(tmp_path: Path) -> None:
    calibrated = images(tmp_path / "train", 5)
    samples = images(tmp_path / "val", 8)[3:]  # two with the bytes of images calibrated on
    found = calibrations(manifest_of(BuildOptions(representative=calibrated[0].parent), samples))
    assert found == {"float32": None, INT8: CalibrationRecord("folder", 5, sampled=2)}


def test_generated_images_are_no_samples(tmp_path: Path) -> None:
    found = calibrations(manifest_of(BuildOptions(), images(tmp_path / "val", 8)))
    assert found == {"float32": None, INT8: CalibrationRecord("random", 16)}


def test_of_a_file_of_the_user_s_nobody_knows(tmp_path: Path) -> None:
    made = manifest_of(BuildOptions(), images(tmp_path / "val", 2), own=True)
    assert calibrations(made) == {"float32": None, INT8: None}
