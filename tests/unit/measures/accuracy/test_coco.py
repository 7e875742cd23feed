"""A detector's figures are pycocotools' own, and differences those of full evaluations."""

from __future__ import annotations

import copy
import sys
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from orchestrator.errors import UsageError
from orchestrator.measures.accuracy.coco import (
    CocoFigures,
    ap_at,
    encoded,
    evaluate,
    ground_truth,
)
from orchestrator.measures.accuracy.detection import Detections, Roles, read, segments
from orchestrator.measures.accuracy.resampling import average_precision, paired_ap
from orchestrator.measures.accuracy.verdicts import AccuracyVerdict
from tests.unit.measures.accuracy.scenes import (
    CATEGORIES,
    Scenes,
    as_answers,
    crops,
    outlined,
    placements,
    scenes,
    with_masks,
)

pytest.importorskip("pycocotools")


def detections(made: Scenes) -> list[Detections]:
    return [
        Detections(image_id, boxes, scores, classes)
        for image_id, (boxes, scores, classes) in zip(made.image_ids, made.found, strict=True)
    ]


def masked(made: Scenes) -> list[Detections]:
    """What was found with its masks, through all that a device tells and the controller reads."""
    answers = with_masks(as_answers(made), crops(made))
    placed = placements(made.image_ids)
    roles = Roles("boxes", "scores", "classes", "count", masks="masks")
    boxes = read(answers, roles, made.image_ids, placed)
    return [
        replace(each, segments=segments(answer, roles, each, placement, encoded))
        for each, answer, placement in zip(boxes, answers, placed, strict=True)
    ]


def directly(annotations: dict[str, Any], found: list[Detections]) -> list[float]:
    """The twelve figures of pycocotools, as its own documentation has them computed."""
    results = [
        {
            "image_id": each.image_id,
            "category_id": CATEGORIES[number],
            "bbox": [x1, y1, x2 - x1, y2 - y1],
            "score": score,
        }
        for each in found
        for (x1, y1, x2, y2), score, number in zip(
            each.boxes.tolist(), each.scores.tolist(), each.classes.tolist(), strict=True
        )
    ]
    return summarized(annotations, results, "bbox")


def directly_by_masks(annotations: dict[str, Any], found: list[Detections]) -> list[float]:
    """The same of masks, which stand in the results without a box, as COCO asks for."""
    results = [
        {
            "image_id": each.image_id,
            "category_id": CATEGORIES[number],
            "segmentation": dict(segment),
            "score": score,
        }
        for each in found
        for segment, score, number in zip(
            each.segments, each.scores.tolist(), each.classes.tolist(), strict=True
        )
    ]
    return summarized(annotations, results, "segm")


def summarized(
    annotations: dict[str, Any], results: list[dict[str, Any]], kind: str
) -> list[float]:
    """What pycocotools says of results in its own form."""
    from pycocotools.coco import COCO  # noqa: PLC0415
    from pycocotools.cocoeval import COCOeval  # noqa: PLC0415

    truth = COCO()
    truth.dataset = copy.deepcopy(annotations)
    truth.createIndex()
    run = COCOeval(truth, truth.loadRes(results), kind)
    run.evaluate()
    run.accumulate()
    run.summarize()
    return [float(each) for each in run.stats]


def as_told(figures: CocoFigures) -> list[float]:
    """Our figures in pycocotools' order, with its -1 for what is absent."""
    six = (figures.ap, figures.ap50, figures.ap75)
    areas = (figures.ap_small, figures.ap_medium, figures.ap_large)
    return [-1.0 if each is None else each for each in (*six, *areas, figures.ar100)]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("ties", [True, False])
def test_figures_are_those_of_pycocotools(seed: int, ties: bool) -> None:
    """With crowds, images without objects, a category that never occurs and scores that tie."""
    made = scenes(40, seed, ties=ties)
    found = detections(made)
    evaluation = evaluate(ground_truth(made.annotations), found, CATEGORIES)
    stats = directly(made.annotations, found)
    assert as_told(evaluation.figures) == pytest.approx([*stats[:6], stats[8]], abs=1e-12)
    assert 0.2 < (evaluation.figures.ap or 0) < 0.9
    again = average_precision(evaluation, np.ones(40, np.int64))
    assert again == pytest.approx(stats[0], abs=1e-12)


@pytest.mark.parametrize("ties", [True, False])
def test_figures_of_masks_are_those_of_pycocotools(ties: bool) -> None:
    """With crowds, objects in parts, images without objects, a category that never occurs."""
    made = scenes(40, 2, ties=ties)
    annotations = outlined(made)
    found = masked(made)
    truth = ground_truth(annotations, masks=True)
    evaluation = evaluate(truth, found, CATEGORIES, masks=True)
    stats = directly_by_masks(annotations, found)
    assert as_told(evaluation.figures) == pytest.approx([*stats[:6], stats[8]], abs=1e-12)
    assert 0.2 < (evaluation.figures.ap or 0) < 0.9
    again = average_precision(evaluation, np.ones(40, np.int64))
    assert again == pytest.approx(stats[0], abs=1e-12)
    # of the same ground truth and detections the boxes are scored as ever
    boxes = directly(annotations, found)
    assert as_told(evaluate(truth, found, CATEGORIES).figures)[:6] == pytest.approx(
        boxes[:6], abs=1e-12
    )
    assert paired_ap(evaluation, evaluation, 1.0, resamples=20).difference == 0


def test_a_detection_without_a_mask_counts_as_not_found() -> None:
    made = scenes(12, 2)
    found = masked(made)
    truth = ground_truth(outlined(made), masks=True)
    bare = [replace(each, segments=(None,) * len(each)) for each in found]
    assert evaluate(truth, bare, CATEGORIES, masks=True).figures.ap == 0.0
    assert ap_at(truth, bare, CATEGORIES, masks=True) == 0.0
    assert ap_at(truth, found, CATEGORIES, masks=True, agnostic=True) > 0.4


def test_a_missing_area_is_that_of_the_mask() -> None:
    made = scenes(12, 2)
    annotations = outlined(made)
    for each in annotations["annotations"]:
        del each["area"]
    truth = ground_truth(annotations, masks=True)
    (first, *_) = truth.api.dataset["annotations"]
    box = first["bbox"][2] * first["bbox"][3]
    assert 0.4 * box < first["area"] < 0.9 * box
    del annotations["annotations"][3]["segmentation"]
    with pytest.raises(ValueError, match="annotation 3 has no segmentation"):
        ground_truth(annotations, masks=True)
    annotations["annotations"][3]["segmentation"] = [["a"]]
    with pytest.raises(ValueError, match="neither polygons nor run lengths"):
        ground_truth(annotations, masks=True)


def test_it_is_known_which_objects_were_found_and_where() -> None:
    made = scenes(40, 2)
    evaluation = evaluate(ground_truth(made.annotations), detections(made), CATEGORIES)
    real = [each for each in made.annotations["annotations"] if not each["iscrowd"]]
    in_image = [sum(a["image_id"] == i for a in real) for i in evaluation.image_ids]
    assert evaluation.objects_in.tolist() == in_image and sum(in_image) == evaluation.objects
    assert (evaluation.found_in <= evaluation.objects_in).all()
    found = sum(int(each.found.sum()) for each in evaluation.categories)
    assert 0 < found == evaluation.found_in.sum() < evaluation.objects
    mean = np.mean([each.ap for each in evaluation.categories])
    assert mean == pytest.approx(evaluation.figures.ap, abs=1e-12)
    nothing = evaluate(ground_truth(made.annotations), [], CATEGORIES)
    assert not nothing.found_in.any() and not any(e.found.any() for e in nothing.categories)


def test_nothing_is_printed(capfd: pytest.CaptureFixture[str]) -> None:
    made = scenes(5)
    evaluate(ground_truth(made.annotations), detections(made), CATEGORIES)
    assert capfd.readouterr() == ("", "")


def test_a_detector_that_finds_nothing_scores_zero_where_pycocotools_fails() -> None:
    made = scenes(20)
    truth = ground_truth(made.annotations)
    figures = evaluate(truth, [], CATEGORIES).figures
    assert (figures.ap, figures.ap50, figures.ar100) == (0.0, 0.0, 0.0)


def test_images_without_an_object_have_no_figure() -> None:
    made = scenes(20)
    nothing = {**made.annotations, "annotations": []}
    evaluation = evaluate(ground_truth(nothing), detections(made), CATEGORIES)
    assert evaluation.figures.ap is None and evaluation.objects == 0
    with pytest.raises(ValueError, match="no object: there is no AP"):
        paired_ap(evaluation, evaluation, 1.0)


def test_only_the_drawn_images_are_scored() -> None:
    made = scenes(30)
    drawn = made.image_ids[:12]
    part = {
        **made.annotations,
        "images": [i for i in made.annotations["images"] if i["id"] in drawn],
        "annotations": [a for a in made.annotations["annotations"] if a["image_id"] in drawn],
    }
    found = detections(made)
    evaluation = evaluate(ground_truth(made.annotations, drawn), found, CATEGORIES)
    stats = directly(part, found[:12])
    assert evaluation.image_ids == tuple(sorted(drawn))
    assert as_told(evaluation.figures) == pytest.approx([*stats[:6], stats[8]], abs=1e-12)


def test_numbers_of_annotations_do_not_matter() -> None:
    """pycocotools takes a match with an annotation of the number 0 for none."""
    made = scenes(20)
    zero = copy.deepcopy(made.annotations)
    for each in zero["annotations"]:
        each["id"] -= 1
    found = detections(made)
    one, other = (
        evaluate(ground_truth(each), found, CATEGORIES) for each in (made.annotations, zero)
    )
    assert one.figures == other.figures
    assert directly(zero, found)[0] < (one.figures.ap or 0)


def test_annotations_that_are_not_coco_s_say_what_is_missing() -> None:
    made = scenes(3)
    with pytest.raises(ValueError, match="no list `categories`"):
        ground_truth({**made.annotations, "categories": None})
    with pytest.raises(ValueError, match="do not know 1 images, 7 first"):
        ground_truth(made.annotations, [7])
    with pytest.raises(ValueError, match="annotation 0 has no category_id"):
        ground_truth({**made.annotations, "annotations": [{"image_id": 1, "bbox": [0, 0, 1, 1]}]})
    with pytest.raises(ValueError, match="have no images"):
        ground_truth({**made.annotations, "images": [], "annotations": []})


def test_without_pycocotools_it_is_said_what_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pycocotools.coco", None)
    with pytest.raises(UsageError, match=r"orchestrate-quantized\[detection\]"):
        ground_truth(scenes(3).annotations)


def test_wrong_classes_count_only_where_classes_matter() -> None:
    made = scenes(30)
    truth, right = ground_truth(made.annotations), detections(made)
    wrong = [Detections(d.image_id, d.boxes, d.scores, d.classes + 40) for d in right]
    assert ap_at(truth, wrong, CATEGORIES) == 0
    agnostic = ap_at(truth, wrong, CATEGORIES, agnostic=True)
    assert agnostic == ap_at(truth, right, CATEGORIES, agnostic=True) > 0.4
    ap50 = evaluate(truth, right, CATEGORIES).figures.ap50
    assert ap_at(truth, right, CATEGORIES) == pytest.approx(ap50, abs=1e-12)


# -- differences


def resampled(made: Scenes, copies: list[int]) -> tuple[dict[str, Any], list[Detections]]:
    """The same annotations and detections with every image as often as ``copies`` says."""
    images: list[Any] = []
    annotations: list[Any] = []
    found = []
    by_id = {each.image_id: each for each in detections(made)}
    for image_id, times in zip(sorted(made.image_ids), copies, strict=True):
        for _ in range(times):
            new = len(images) + 1
            images.append({"id": new})
            for each in made.annotations["annotations"]:
                if each["image_id"] == image_id:
                    annotations.append({**each, "id": len(annotations) + 1, "image_id": new})
            old = by_id[image_id]
            found.append(Detections(new, old.boxes, old.scores, old.classes))
    return {**made.annotations, "images": images, "annotations": annotations}, found


@pytest.mark.parametrize("ties", [True, False])
def test_a_resample_equals_a_full_evaluation_of_the_copies(ties: bool) -> None:
    made = scenes(30, 3, ties=ties)
    evaluation = evaluate(ground_truth(made.annotations), detections(made), CATEGORIES)
    rng = np.random.default_rng(1)
    for _ in range(10):
        copies = np.bincount(rng.integers(0, 30, 30), minlength=30)
        stats = directly(*resampled(made, copies.tolist()))
        assert average_precision(evaluation, copies) == pytest.approx(stats[0], abs=1e-12)


def test_a_category_that_a_resample_lost_does_not_count_in_it() -> None:
    made = scenes(30, 3)
    evaluation = evaluate(ground_truth(made.annotations), detections(made), CATEGORIES)
    first = sorted(made.image_ids)[0]
    copies = (np.array(sorted(made.image_ids)) == first).astype(np.int64) * 30
    stats = directly(*resampled(made, copies.tolist()))
    assert average_precision(evaluation, copies) == pytest.approx(stats[0], abs=1e-12)
    assert average_precision(evaluation, copies * 0) is None


def of(made: Scenes, change: Any) -> list[Detections]:
    return [change(each) for each in detections(made)]


def test_a_broken_detector_is_worse_and_the_same_one_is_no_worse() -> None:
    made = scenes(60, ties=False)
    truth = ground_truth(made.annotations)
    base = evaluate(truth, detections(made), CATEGORIES)
    same = paired_ap(base, base, 1.0, resamples=100)
    assert (same.difference, same.low, same.high, same.p) == (0.0, 0.0, 0.0, 1.0)
    assert same.verdict is AccuracyVerdict.NO_WORSE
    dead = evaluate(truth, [], CATEGORIES)
    lost = paired_ap(base, dead, 1.0, resamples=100)
    assert lost.verdict is AccuracyVerdict.WORSE and lost.p < 1e-6
    assert lost.difference == -(base.figures.ap or 0)
    assert lost.low < lost.difference < lost.high < 0


def test_a_small_loss_needs_more_images_and_it_is_said_how_many() -> None:
    made = scenes(60, ties=False)
    rng = np.random.default_rng(2)
    truth = ground_truth(made.annotations)
    base = evaluate(truth, detections(made), CATEGORIES)
    shaken = of(
        made,
        lambda d: Detections(
            d.image_id, d.boxes + rng.normal(0, 2, d.boxes.shape), d.scores, d.classes
        ),
    )
    found = paired_ap(base, evaluate(truth, shaken, CATEGORIES), 1.0, resamples=200)
    assert found.low < found.difference < found.high
    adjusted = found.adjusted(1.0)
    assert adjusted.verdict is AccuracyVerdict.CANNOT_TELL
    assert adjusted.samples_that_would_tell is None or adjusted.samples_that_would_tell > 60


def test_evaluations_of_unlike_images_are_not_compared() -> None:
    made = scenes(20)
    found = detections(made)
    one = evaluate(ground_truth(made.annotations), found, CATEGORIES)
    other = evaluate(ground_truth(made.annotations, made.image_ids[:10]), found, CATEGORIES)
    with pytest.raises(ValueError, match="same images and annotations"):
        paired_ap(one, other, 1.0)


def test_figures_of_the_resampling_are_the_same_for_the_same_seed() -> None:
    made = scenes(20)
    truth = ground_truth(made.annotations)
    one = evaluate(truth, detections(made), CATEGORIES)
    other = evaluate(truth, detections(made)[:15], CATEGORIES)
    first = paired_ap(one, other, 1.0, resamples=50, seed=4)
    assert first == paired_ap(one, other, 1.0, resamples=50, seed=4)
    assert first != paired_ap(one, other, 1.0, resamples=50, seed=5)


def test_the_interval_is_wider_than_the_bootstrap_s_own_by_what_few_images_do_not_know() -> None:
    made = scenes(20)
    truth = ground_truth(made.annotations)
    one = evaluate(truth, detections(made), CATEGORIES)
    other = evaluate(truth, detections(made)[:15], CATEGORIES)
    found = paired_ap(one, other, 1.0, resamples=300, seed=4)
    rng, drawn = np.random.default_rng(4), []
    for _ in range(300):
        copies = np.bincount(rng.integers(0, 20, 20), minlength=20)
        pair = average_precision(one, copies), average_precision(other, copies)
        assert pair[0] is not None and pair[1] is not None
        drawn.append(pair[1] - pair[0])
    low, high = np.quantile(drawn, [0.025, 0.975])
    assert found.low < low < high <= found.high
    # t of 19 degrees of freedom, times the root of 20/19: 2.147 standard errors, 1.6 % a side
    assert found.low == pytest.approx(np.quantile(drawn, 0.0159), abs=1e-4)


def test_a_single_image_says_nothing_of_others() -> None:
    made = scenes(1)
    truth = ground_truth(made.annotations)
    nothing = evaluate(truth, [], CATEGORIES)
    found = paired_ap(evaluate(truth, detections(made), CATEGORIES), nothing, 1.0)
    assert found.p == 1.0 and found.verdict is AccuracyVerdict.CANNOT_TELL
    with pytest.raises(ValueError, match="at least two, not 1"):
        paired_ap(nothing, nothing, 1.0, resamples=1)
