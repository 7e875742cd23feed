"""Images with boxes, annotated as COCO's are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from PIL import Image

from orchestrator.config.accuracy import Outputs
from orchestrator.datasets import Dataset, Geometry, draw, find_dataset, prepare_shards
from orchestrator.errors import UsageError
from orchestrator.measures.accuracy.answers import NOTHING
from orchestrator.measures.accuracy.coco import ground_truth
from orchestrator.measures.accuracy.detection import FORMATS, UNITS
from tests.unit.datasets.making import picture, section

CATEGORIES = [{"id": 1, "name": "person"}, {"id": 2, "name": "bicycle"}]
WITH_GAPS = [{"id": 1, "name": "person"}, {"id": 3, "name": "car"}, {"id": 90, "name": "brush"}]


def annotated(folder: Path, **changes: Any) -> Path:
    """Three images, 40 × 30, the last of which has no object."""
    images = []
    for number in (7, 8, 9):
        picture(folder / "val" / f"{number}.jpg", seed=number, size=(40, 30))
        images.append({"id": number, "file_name": f"{number}.jpg", "width": 40, "height": 30})
    boxes = [
        {"id": 1, "image_id": 7, "category_id": 1, "bbox": [1, 2, 10, 9.5], "iscrowd": 0},
        {"id": 2, "image_id": 8, "category_id": 2, "bbox": [0, 0, 5, 5], "segmentation": [[1]]},
    ]
    data = {"images": images, "annotations": boxes, "categories": CATEGORIES, **changes}
    (folder / "a.json").write_text(json.dumps(data))
    return folder


def found(folder: Path, **keys: Any) -> Dataset:
    place = {"images": str(folder / "val"), "annotations": str(folder / "a.json")}
    return find_dataset(section(place, "detection", outputs="postprocess", **keys), folder)


def test_every_image_is_a_sample_and_the_truth_is_that_of_the_drawn_ones(tmp_path: Path) -> None:
    dataset = found(annotated(tmp_path))
    assert [(e.key, e.image_id, e.size) for e in dataset.items] == [
        ("7.jpg", 7, (40, 30)),
        ("8.jpg", 8, (40, 30)),
        ("9.jpg", 9, (40, 30)),
    ]
    assert (dataset.category_ids, dataset.classes) == ((1, 2), ("person", "bicycle"))
    for samples in (1, 2, 3):
        drawn = draw(dataset, samples, seed=4)
        truth = json.loads(json.dumps(drawn.truth))
        ids = {each.image_id for each in drawn.items}
        assert {each["id"] for each in truth["images"]} == ids
        assert {each["image_id"] for each in truth["annotations"]} <= ids
        assert len(truth["categories"]) == 2
        assert "segmentation" not in json.dumps(truth)


OUTPUTS = {
    **{"boxes": "b", "scores": "s", "format": "xyxy", "units": "pixels"},
    **{"masks": "m", "masks_cover": "box"},
}
POLYGON = [[1, 2, 11, 2, 11, 11.5, 1, 11.5]]
CROWD: dict[str, Any] = {"size": [30, 40], "counts": [0, 30, 1170]}


def with_masks(folder: Path, *shapes: Any) -> Dataset:
    boxes = [
        {"id": n, "image_id": 7, "category_id": 1, "bbox": [1, 2, 10, 9.5], "segmentation": shape}
        for n, shape in enumerate(shapes, start=1)
    ]
    annotated(folder, annotations=boxes)
    place = {"images": str(folder / "val"), "annotations": str(folder / "a.json")}
    return find_dataset(section(place, "segmentation", outputs=OUTPUTS), folder)


def test_masks_are_kept_where_they_are_scored(tmp_path: Path) -> None:
    mask = pytest.importorskip("pycocotools.mask")
    packed = mask.frPyObjects(CROWD, 30, 40)
    packed = {**packed, "counts": packed["counts"].decode()}
    truth = with_masks(tmp_path, POLYGON, CROWD, packed).truth
    assert truth is not None
    assert [each["segmentation"] for each in truth["annotations"]] == [POLYGON, CROWD, packed]
    ready = ground_truth(truth, masks=True)
    areas = [each["area"] for each in ready.api.dataset["annotations"]]
    assert areas[1:] == [30.0, 30.0] and areas[0] == pytest.approx(95, abs=10)


@pytest.mark.parametrize(
    "shape",
    [
        None,
        [],
        [[1, 2, 3, 4]],
        [[1, 2, 3, 4, 5, 6, 7]],
        [["a"] * 6],
        {"size": [40, 30], "counts": [1200]},
        {"size": [30, 40], "counts": [7]},
        {"size": [30, 40]},
    ],
    ids=str,
)
def test_what_is_no_mask_of_its_image_is_named(tmp_path: Path, shape: Any) -> None:
    with pytest.raises(UsageError, match=r"annotations\[1\]: `segmentation` is neither polygons"):
        with_masks(tmp_path, POLYGON, shape)


def test_the_truth_is_what_the_evaluator_takes(tmp_path: Path) -> None:
    pytest.importorskip("pycocotools")
    truth = found(annotated(tmp_path)).truth
    assert truth is not None
    ready = ground_truth(truth)
    assert (ready.image_ids, ready.category_ids, ready.objects) == ((7, 8, 9), (1, 2), 2)


def test_a_changed_box_is_another_data_set(tmp_path: Path) -> None:
    before = draw(found(annotated(tmp_path)), None, seed=0).digest
    assert draw(found(annotated(tmp_path)), None, seed=0).digest == before
    box = {"id": 1, "image_id": 7, "category_id": 1, "bbox": [1, 2, 10, 9]}
    assert draw(found(annotated(tmp_path, annotations=[box])), None, 0).digest != before
    assert draw(found(annotated(tmp_path), categories="ids"), None, 0).digest == before


def test_which_class_is_which_category_is_said_where_it_is_not_plain(tmp_path: Path) -> None:
    annotated(tmp_path, categories=WITH_GAPS, annotations=[])
    with pytest.raises(UsageError, match=r"3 categories have ids from 1 to 90.*`categories: ids`"):
        found(tmp_path)
    assert found(tmp_path, categories="order").category_ids == (1, 3, 90)
    by_id = found(tmp_path, categories="ids")
    assert (len(by_id.category_ids), by_id.category_ids[:4]) == (90, (1, NOTHING, 3, NOTHING))
    assert (by_id.classes[2], by_id.classes[1]) == ("car", "")
    names = tmp_path / "labels.txt"
    names.write_text("???\nbrush\ncar\nPerson\n")
    assert found(tmp_path, labels=str(names)).category_ids == (NOTHING, 90, 3, 1)
    names.write_text("brush\ncar\n")
    with pytest.raises(UsageError, match="has no line for person"):
        found(tmp_path, labels=str(names))
    names.write_text("tench\n")
    with pytest.raises(UsageError, match="not one of the labels is the name of a category"):
        found(tmp_path, labels=str(names))


def test_ids_from_0_are_in_order_alone(tmp_path: Path) -> None:
    zero = [{"id": 0, "name": "person"}, {"id": 1, "name": "car"}]
    annotated(tmp_path, categories=zero, annotations=[])
    assert found(tmp_path).category_ids == (0, 1)
    with pytest.raises(UsageError, match="begin at 0"):
        found(tmp_path, categories="ids")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"images": []}, r"holds no `images`"),
        ({"categories": None}, r"holds no `categories`"),
        ({"annotations": {}}, r"`annotations` is not a list"),
        ({"categories": [*CATEGORIES, CATEGORIES[0]]}, r"the id 1 is twice in `categories`"),
        ({"annotations": [[]]}, r"annotations\[0\] is not keys and values"),
        (
            {"annotations": [{"image_id": 5, "category_id": 1, "bbox": [0, 0, 1, 1]}]},
            r"annotations\[0\]: `image_id` is `5`, which nothing listed has",
        ),
        (
            {"annotations": [{"image_id": 7, "category_id": 3, "bbox": [0, 0, 1, 1]}]},
            r"annotations\[0\]: `category_id` is `3`",
        ),
        (
            {"annotations": [{"image_id": 7, "category_id": 1, "bbox": [0, 0, "1", 1]}]},
            r"annotations\[0\]: `bbox` is not four numbers",
        ),
        (
            {"annotations": [{"image_id": 7, "category_id": 1, "bbox": [9, 9, -1, 1]}]},
            r"has a negative size",
        ),
        (
            {"images": [{"id": 7, "file_name": "../a.json", "width": 1, "height": 1}]},
            r"does not lie in its folder",
        ),
        ({"images": [{"id": 7, "file_name": "7.jpg"}]}, r"images\[0\] has no `width`"),
        (
            {"images": [{"id": 7, "file_name": "6.jpg", "width": 1, "height": 1}]},
            r"there is no image `6\.jpg`",
        ),
    ],
)
def test_annotations_that_are_wrong_are_answered_with_the_place(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with_images = changes if "images" in changes else {**changes}
    if changes.get("images"):
        with_images = {**changes, "annotations": []}
    annotated(tmp_path, **with_images)
    with pytest.raises(UsageError, match=message):
        found(tmp_path)


@pytest.mark.parametrize("text", ["", "[" * 100_000, "[]", "<html>"])
def test_what_is_not_json_is_refused(tmp_path: Path, text: str) -> None:
    annotated(tmp_path)
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(UsageError, match=r"a\.json: not "):
        found(tmp_path)


def test_boxes_are_for_the_image_as_its_annotations_say_it_lies(tmp_path: Path) -> None:
    """A camera's orientation is applied only where the annotations are for the turned image."""
    folder = annotated(tmp_path, annotations=[])
    upright = np.zeros((30, 40, 3), np.uint8)
    upright[:, :20] = 255  # white on the left
    turn = Image.Exif()
    turn[0x0112] = 6
    path = folder / "val" / "7.jpg"
    geometry = Geometry(8, 8, "stretch")

    def first() -> Any:
        drawn = draw(found(folder), None, seed=0)
        (shard,) = prepare_shards(drawn, geometry, 8, tmp_path / "cache")
        place = next(n for n, each in enumerate(drawn.items) if each.image_id == 7)
        return np.load(shard.path)[place]

    Image.fromarray(upright).save(path, exif=turn.tobytes(), quality=95)  # stored as annotated
    assert first()[:, 0].min() > 200 and first()[:, -1].max() < 50
    turned = np.rot90(upright)
    Image.fromarray(turned.copy()).save(path, exif=turn.tobytes(), quality=95)
    assert first()[:, 0].min() > 200 and first()[:, -1].max() < 50
    Image.fromarray(upright[:20]).save(path)
    with pytest.raises(UsageError, match=r"7\.jpg: has 40 × 20 .*annotations are for 40 × 30"):
        first()


def test_the_suite_s_formats_are_those_that_are_read() -> None:
    fields = Outputs.model_fields
    for key, known in (("format", set(FORMATS)), ("units", set(UNITS))):
        literal, _ = get_args(fields[key].annotation)
        assert set(get_args(literal)) <= known
