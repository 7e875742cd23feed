"""The suites that ship with accuracy in them, on stand-ins for the data that their heads name."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from orchestrator.config import Device, load_suite
from orchestrator.datasets import feeding_of, prepare_shards, resolve
from orchestrator.frameworks.parts import preprocessing_of
from orchestrator.plan import make_plan
from orchestrator.trial import InputSpec
from tests.unit.datasets.making import classes, picture


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def test_imagenette(home: Path) -> None:
    classes(home / "imagenette2-320" / "val", {"n03888257": 2, "n01440764": 1})
    classes(home / "imagenette2-320" / "train", {"n01440764": 1})
    suite = load_suite("imagenette")
    assert suite.accuracy is not None
    section, drawn = resolve(suite.accuracy, Path(), seed=1)
    assert sorted(each.label or 0 for each in drawn.items) == [0, 701, 701]
    (model,) = suite.models
    feedings = [
        feeding_of(section, drawn, model, preprocessing_of(framework, model), ())
        for framework in suite.frameworks
    ]
    assert len(feedings) == 2 and feedings[0] == feedings[1]  # one network, the same pixels
    geometry = feedings[0].geometry
    (shard,) = prepare_shards(drawn, geometry, section.shard_size, home / "cache")
    assert (shard.count, shard.size_bytes) == (3, 128 + 3 * 224 * 224 * 3)
    here = Device.model_validate({"name": "here", "transport": "local"})
    made = make_plan([here], suite.model_copy(update={"accuracy": section}), seed=1).devices[0]
    assert {g.factors.runner: g.schemes for g in made.groups} == {
        "torch": (
            "float32",
            "static_int8_max",
            "static_int8_percentile",
            "static_int8_entropy",
            "qat_int8",
        ),
        "litert": ("float32", "float16", "dynamic_range", "full_int8", "weight_only_int8"),
    }


def test_coco_detection(home: Path) -> None:
    coco = home / "coco"
    picture(coco / "val2017" / "000000000139.jpg", size=(64, 48))
    (coco / "annotations").mkdir()
    image = {"id": 139, "file_name": "000000000139.jpg", "width": 64, "height": 48}
    box = {"id": 1, "image_id": 139, "category_id": 90, "bbox": [1, 1, 9, 9], "iscrowd": 0}
    categories = [{"id": 1, "name": "person"}, {"id": 90, "name": "toothbrush"}]
    (coco / "annotations" / "instances_val2017.json").write_text(
        json.dumps({"images": [image], "annotations": [box], "categories": categories})
    )
    (coco / "ssd_mobilenet_v2.tflite").touch()
    (coco / "ssd_mobilenet_v2_full_int8.tflite").touch()
    suite = load_suite("coco-detection")
    assert len(suite.user_models[0].files) == 2
    assert suite.accuracy is not None
    section, drawn = resolve(suite.accuracy, Path(), seed=1)
    assert (drawn.category_ids[0], drawn.category_ids[89]) == (1, 90)
    inputs = (InputSpec((1, 320, 320, 3)),)
    fed = feeding_of(section, drawn, "ssd_mobilenet_v2", None, inputs)
    (shard,) = prepare_shards(drawn, fed.geometry, section.shard_size, home / "cache")
    assert (shard.count, fed.mean) == (1, (127.5,))


def test_mask_rcnn(home: Path) -> None:
    coco = home / "coco"
    picture(coco / "val2017" / "000000000139.jpg", size=(64, 48))
    (coco / "annotations").mkdir()
    image = {"id": 139, "file_name": "000000000139.jpg", "width": 64, "height": 48}
    box = {"id": 1, "image_id": 139, "category_id": 90, "bbox": [1, 1, 9, 9], "iscrowd": 0}
    box |= {"segmentation": [[1, 1, 10, 1, 10, 10]]}
    categories = [{"id": 1, "name": "person"}, {"id": 90, "name": "toothbrush"}]
    (coco / "annotations" / "instances_val2017.json").write_text(
        json.dumps({"images": [image], "annotations": [box], "categories": categories})
    )
    for scheme in ("", "_float16", "_weight_only_int8"):
        (coco / f"mask_rcnn{scheme}.onnx").touch()
    suite = load_suite("mask-rcnn")
    assert suite.accuracy is not None and suite.accuracy.outputs is not None
    assert suite.accuracy.outputs.masks_cover == "box"
    section, drawn = resolve(suite.accuracy, Path(), seed=1)
    assert drawn.category_ids == (1, 90) and drawn.truth is not None
    assert drawn.truth["annotations"][0]["segmentation"] == box["segmentation"]
    inputs = (InputSpec((3, 800, 1088)),)
    fed = feeding_of(section, drawn, "mask_rcnn", None, inputs)
    (shard,) = prepare_shards(drawn, fed.geometry, section.shard_size, home / "cache")
    assert (shard.count, shard.size_bytes) == (1, 128 + 800 * 1088 * 3)
    assert fed.geometry is not None and fed.geometry.colour == "bgr"
