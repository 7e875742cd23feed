"""``accuracy:`` of a suite: what it says, how it travels, and how many trials it makes.

What is wrong with one is answered in ``data/config/bad/suite-accuracy-*``.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from orchestrator.config import Accuracy, Suite, load_suite, with_overrides
from orchestrator.config.problems import revived
from orchestrator.errors import ConfigError

CATALOGUE = "models: [resnet50]\nschemes: [float32]\n"


def suite_of(folder: Path, section: str, models: str = CATALOGUE) -> Suite:
    path = folder / "mine.yaml"
    path.write_text(f"{models}accuracy: {section}\n", encoding="utf-8")
    return load_suite(str(path))


def section_of(folder: Path, section: str) -> Accuracy:
    found = suite_of(folder, section).accuracy
    assert found is not None
    return found


def test_a_suite_without_the_section_is_as_before(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(CATALOGUE)
    suite = load_suite(str(tmp_path / "mine.yaml"))
    assert suite.accuracy is None
    assert "accuracy" not in suite.to_json()
    assert Suite.from_json(suite.to_json()) == suite


def test_the_short_form_has_the_model_s_own_preprocessing_and_a_point_of_margin(
    tmp_path: Path,
) -> None:
    found = section_of(tmp_path, "{task: classification, dataset: nette, preprocessing: auto}")
    assert found.dataset is not None
    assert found.dataset.path == tmp_path / "nette"
    assert (found.preprocessing, found.margin, found.samples) == (None, 1.0, None)


@pytest.mark.parametrize(
    "section",
    [
        "{task: classification, dataset: nette, split: val, samples: 1500, labels: names.txt}",
        "{task: classification, dataset: d.npz, class_offset: 1, margin: 0.5}",
        "{task: classification, dataset: nette, preprocessing: {size: [240, 320], resize: stretch,"
        " colour: bgr, mean: [1, 2, 3.5], std: 2}}",
        "{task: agreement}",
    ],
)
def test_it_comes_back_from_a_manifest_and_from_the_command_line(
    tmp_path: Path, section: str
) -> None:
    suite = suite_of(tmp_path, section)
    assert Suite.from_json(json.loads(json.dumps(suite.to_json()))) == suite
    assert with_overrides(suite, blocks=(6, 6)).accuracy == suite.accuracy
    assert suite.accuracy is not None
    drawn = suite.accuracy.resolved(10, "0" * 64)
    assert revived(Accuracy, drawn.model_dump(mode="json", exclude_none=True), "it") == drawn


def test_a_run_that_is_passed_on_does_not_say_whose_home_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home" / "somebody"
    home.mkdir(parents=True)
    monkeypatch.setenv("HOME", str(home))
    suite = suite_of(
        home, "{task: classification, dataset: ~/nette, labels: names.txt, samples: 4}"
    )
    kept = suite.for_a_run()
    assert str(home) not in json.dumps(kept)
    assert (kept["accuracy"]["dataset"], kept["accuracy"]["labels"]) == ("~/nette", "~/names.txt")
    assert Suite.from_json(kept) == suite  # and going on finds it


def test_a_detector_is_the_user_s_own_and_says_which_output_is_what(tmp_path: Path) -> None:
    (tmp_path / "ssd.tflite").write_bytes(b"")
    own = "models: [{file: ssd.tflite}]\n"
    data = "dataset: {images: val, annotations: a.json}"
    feed = "preprocessing: {size: 300, resize: stretch, mean: 127.5, std: 127.5}"
    suite = suite_of(tmp_path, f"{{task: detection, {data}, {feed}, outputs: postprocess}}", own)
    assert suite.accuracy is not None and suite.accuracy.outputs is not None
    assert suite.accuracy.outputs.postprocess
    assert suite.to_json()["accuracy"]["outputs"] == "postprocess"
    named = "outputs: {boxes: b, scores: s, format: xyxy, units: pixels, class_base: 1}"
    other = suite_of(tmp_path, f"{{task: detection, {data}, {feed}, {named}}}", own)
    assert other.accuracy is not None and other.accuracy.outputs is not None
    assert (other.accuracy.outputs.boxes, other.accuracy.outputs.classes) == ("b", None)
    for each in (suite, other):
        assert Suite.from_json(each.to_json()).accuracy == each.accuracy


def test_a_segmenter_says_which_output_holds_masks_and_of_what(tmp_path: Path) -> None:
    (tmp_path / "mask.tflite").write_bytes(b"")
    own = "models: [{file: mask.tflite}]\n"
    data = "dataset: {images: val, annotations: a.json}"
    feed = "preprocessing: {size: 300, resize: letterbox, mean: 127.5, std: 127.5}"
    outputs = "{boxes: b, scores: s, format: xyxy, units: pixels, masks: m, masks_cover: box}"
    section = f"{{task: segmentation, {data}, {feed}, outputs: {outputs}, iou: 0.3}}"
    found = suite_of(tmp_path, section, own)
    assert found.accuracy is not None and found.accuracy.outputs is not None
    assert (found.accuracy.outputs.masks, found.accuracy.iou) == ("m", 0.3)
    assert Suite.from_json(found.to_json()).accuracy == found.accuracy
    assert found.accuracy.resolved(17, "0" * 64).shards == 3


def test_nobody_knows_the_preprocessing_of_a_user_s_own_file(tmp_path: Path) -> None:
    (tmp_path / "own.tflite").write_bytes(b"")
    own = "models: [resnet50, {file: own.tflite}]\nschemes: [float32]\n"
    with pytest.raises(ConfigError, match=r"3:11: .*auto.*`own` is your own.*`preprocessing: \{"):
        suite_of(tmp_path, "{task: classification, dataset: images}", own)
    # arrays are fed as they are
    assert suite_of(tmp_path, "{task: classification, dataset: d.npz}", own).accuracy


@pytest.mark.parametrize(
    ("task", "samples", "shards"),
    [("classification", 1500, 2), ("classification", 1024, 1), ("agreement", 65, 2)],
)
def test_the_number_of_trials_follows_from_the_number_of_samples(
    tmp_path: Path, task: str, samples: int, shards: int
) -> None:
    found = section_of(tmp_path, f"{{task: {task}, dataset: images, samples: {samples}}}")
    assert found.shards == shards
    with pytest.raises(ValueError, match="once the data set was looked at"):
        _ = section_of(tmp_path, f"{{task: {task}, dataset: images}}").shards
