"""Masks travel as a device tells them, and mean the pixels that Mask R-CNN's authors give them."""

from __future__ import annotations

import base64
import json
import math
import zlib
from typing import Any

import numpy as np
import pytest

from orchestrate_agent.children.masks import (
    MOST_BYTES,
    MOST_PLACES,
    best_places,
    mask_place,
    masks_of,
    runs_of,
)
from orchestrate_agent.children.measuring import ChildError
from orchestrate_agent.children.samples import answer_of
from orchestrator.config.accuracy import SEGMENTATION, Accuracy
from orchestrator.config.problems import revived
from orchestrator.measures.accuracy.geometry import Geometry, Placement, placement_of
from orchestrator.measures.accuracy.masks import Masks, of_image, pasted, spread
from orchestrator.measures.accuracy.wire import AnswerError, read_answers
from tests.unit.measures.accuracy.made import as_masks, child_output, decoded


def told(values: Any, scores: Any = None) -> Masks:
    ranked = None if scores is None else child_output("scores", scores)
    shape = np.shape(values)
    found = as_masks(masks_of(child_output("masks", values), ranked), shape).masks
    assert found is not None
    return found


# -- what a device tells


@pytest.mark.parametrize("shape", [(3, 28, 28), (3, 1, 28, 28), (1, 3, 28, 28), (3, 90, 70)])
def test_masks_come_back_as_they_were(shape: tuple[int, ...]) -> None:
    values = np.random.default_rng(1).integers(0, 256, shape) / 255
    masks = told(values)
    back = dict(masks.decoded())
    assert list(back) == [0, 1, 2] and (masks.low, masks.high) == (0.0, 1.0)
    expected = np.rint(values * 255).astype(np.uint8).reshape(3, *shape[-2:])
    if math.prod(shape[-2:]) > 64 * 64:  # of a large one the two halves alone are told
        expected = np.where(expected > 127, 255, 0).astype(np.uint8)
    for place, mask in back.items():
        assert np.array_equal(mask, expected[place])


@pytest.mark.parametrize(
    "levels", [b"", b"\x00", b"\xff", b"\x7f\x80", bytes(9) + b"\xff" * 3 + b"\x00", b"\xff\x00"]
)
def test_runs_begin_dark_and_fill_the_mask(levels: bytes) -> None:
    runs = np.frombuffer(runs_of(levels), "<u4")
    lit = np.repeat(np.arange(len(runs)) % 2, runs)
    assert lit.tolist() == [int(level > 127) for level in levels]


def test_masks_that_begin_lit_are_told_from_those_before_them() -> None:
    values = np.zeros((4, 65, 65))
    values[1], values[2, :30] = 1, 1
    values[3, 0, 0] = values[3, -1, -1] = 1
    back = dict(told(values).decoded())
    for place, mask in back.items():
        assert np.array_equal(mask > 127, values[place] > 0.5), place


def test_the_best_places_are_told_and_the_others_counted() -> None:
    values = np.zeros((150, 4, 4)) + np.arange(150)[:, None, None] / 255
    scores = np.random.default_rng(0).permutation(150).astype(float)
    masks = told(values, scores)
    assert masks.places == tuple(np.argsort(-scores)[:MOST_PLACES].tolist())
    assert masks.left_out == 50
    for place, mask in masks.decoded():
        assert (mask == place).all()


def test_scores_may_have_a_column_a_class_and_equals_stand_in_their_order() -> None:
    table = child_output("scores", [[0.1, 0.9], [0.9, 0.2], [0.0, 0.95], [math.nan, 0.0]])
    assert best_places(table, 4) == [2, 0, 1, 3]
    assert best_places(child_output("scores", [1.0]), 3) == [0, 1, 2]
    assert best_places(None, 2) == [0, 1]


def test_what_a_trial_answers_fits_what_an_agent_keeps() -> None:
    """Even of noise, which nothing makes smaller."""
    noise = np.random.default_rng(2).random((100, 40, 40))
    found = masks_of(child_output("masks", noise), None)
    assert len(found["data"]) <= MOST_BYTES and found["left_out"] > 0
    assert len(found["places"]) + found["left_out"] == 100
    assert decoded(as_masks(found, noise.shape)).keys() == set(found["places"])
    section = {
        "task": SEGMENTATION,
        "dataset": {"images": "a", "annotations": "b"},
        "outputs": {
            **{"boxes": "b", "scores": "s", "format": "xyxy", "units": "pixels"},
            **{"masks": "m", "masks_cover": "box"},
        },
    }
    accuracy = revived(Accuracy, section, "the test")
    line = json.dumps(answer_of([child_output("b", np.zeros((100, 4)))], 2560))
    assert accuracy.shard_size * (MOST_BYTES + 4 * len(line) + 500) < 2**20


def test_the_output_of_masks_is_the_named_one_else_the_largest() -> None:
    outputs = [child_output(name, np.zeros(n)) for name, n in (("a", 4), ("b", 900), ("c", 9))]
    assert (mask_place(outputs, "c"), mask_place(outputs, "masks")) == (2, 1)
    with pytest.raises(ChildError, match=r"output b of shape \[900\] holds no masks"):
        answer_of(outputs, 64, "masks")


def test_a_sample_s_other_outputs_are_told_as_ever_and_no_mask_is_no_mask() -> None:
    outputs = [child_output("boxes", np.zeros((0, 4))), child_output("m", np.zeros((0, 1, 28, 28)))]
    boxes, masks = answer_of(outputs, 2560, "m", "scores")
    assert boxes["values"] == "" and masks["finite"] and masks["masks"]["places"] == []
    described = [{"name": name, "shape": [2, 4]} for name in ("boxes", "m")]
    told = [{**boxes, "shape": [0, 4]}, {**masks, "shape": [0, 1, 28, 28]}]
    (found,) = read_answers([json.dumps({"sample": 0, "outputs": told})], described, 0)
    assert found.outputs[0].shape == (0, 4) and not decoded(found.outputs[1])


def test_values_that_are_no_shares_are_seen() -> None:
    assert told(np.full((1, 4, 4), 1.0)).are_shares
    assert not told(np.array([[[-4.0, 3.0]]])).are_shares
    odd = masks_of(child_output("masks", np.array([[[0.5, math.nan]]])), None)
    assert odd["low"] is None
    (entry,) = answer_of([child_output("masks", np.array([[[0.5, math.nan]]]))], 9, "masks")
    assert entry["finite"] is False


@pytest.mark.parametrize(
    "change",
    [
        {"form": "pictures"},
        {"size": [0, 4]},
        {"size": [4, 5]},
        {"size": [99999, 4]},
        {"places": [0, 0]},
        {"places": [-1, 1]},
        {"places": [0, True]},
        {"left_out": -1},
        {"data": base64.b64encode(b"no deflate").decode()},
        {"data": base64.b64encode(zlib.compress(bytes(31))).decode()},
        {"data": base64.b64encode(zlib.compress(bytes(10**7))).decode()},
        {"form": "runs"},
    ],
    ids=str,
)
def test_evidence_that_no_child_tells_is_refused(change: dict[str, Any]) -> None:
    good = masks_of(child_output("masks", np.zeros((2, 4, 4))), None)
    assert as_masks(good, (2, 4, 4)).masks is not None
    with pytest.raises((AnswerError, ValueError)):
        decoded(as_masks({**good, **change}, (2, 4, 4)))


# -- what they mean


def sampled(levels: Any, box: tuple[float, ...], width: int, height: int) -> Any:
    """The same by torch's sampling of a grid, which Detectron2 pastes masks with."""
    torch = pytest.importorskip("torch")
    left, top, right, bottom = box
    y = (torch.arange(height, dtype=torch.float64) + 0.5 - top) / (bottom - top) * 2 - 1
    x = (torch.arange(width, dtype=torch.float64) + 0.5 - left) / (right - left) * 2 - 1
    grid = torch.stack([x.expand(height, width), y[:, None].expand(height, width)], dim=-1)
    mask = torch.from_numpy(levels.astype(np.float64) / 255)[None, None]
    values = torch.nn.functional.grid_sample(mask, grid[None], align_corners=False)
    return (values[0, 0] >= 0.5).numpy()


@pytest.mark.parametrize(
    "box",
    [(20.3, 10.7, 61.2, 50.1), (-9.5, -3.2, 30.0, 90.0), (70.1, 40.2, 140.0, 66.6), (5, 5, 12, 9)],
)
def test_a_mask_is_stretched_over_its_box_as_detectron_does(box: tuple[float, ...]) -> None:
    # levels whose blends are never just one half
    levels = np.random.default_rng(3).integers(0, 256, (14, 28)).astype(np.uint8)
    found = pasted(levels, box, 80, 60)
    assert np.array_equal(found, sampled(levels, box, 80, 60)) and found.any()


def test_a_box_without_an_inside_and_one_beyond_the_image_have_no_pixel() -> None:
    full = np.full((4, 4), 255, np.uint8)
    for box in ((5, 5, 5, 9), (9, 9, 5, 5), (200, 5, 230, 9), (-50, -50, -20, -20)):
        assert not pasted(full, box, 80, 60).any()
    assert pasted(full, (-1e9, -1e9, 1e9, 1e9), 80, 60).all()


def test_a_mask_of_the_input_is_laid_back_onto_the_image() -> None:
    image = Geometry(100, 200, "letterbox")
    placement = placement_of(300, 300, image)  # 100 × 100, 50 pixels from the left
    levels = np.zeros((100, 200), np.uint8)
    levels[20:40, 60:70] = 255
    found = spread(levels, "input", placement)
    assert found.shape == (300, 300)
    assert np.array_equal(np.argwhere(found)[[0, -1]], [[60, 30], [119, 59]])
    assert found.sum() == 60 * 30


def test_a_mask_of_the_image_may_be_coarser_than_it() -> None:
    placement = Placement(40, 20, 64, 64, 1.6, 3.2)
    levels = np.zeros((10, 20), np.uint8)
    levels[2:4, 5:7] = 255
    found = of_image(levels, "image", (0, 0, 1, 1), placement)
    assert np.array_equal(np.argwhere(found)[[0, -1]], [[4, 10], [7, 13]])
