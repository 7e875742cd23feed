"""Detectors of a run, by boxes and by masks: to the table, every planted mistake named in it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest

from orchestrator.analysis import SpeedupTable, analyse
from orchestrator.analysis.accuracy import detecting
from orchestrator.measures.accuracy import rereading
from orchestrator.measures.accuracy.answers import SampleAnswer
from orchestrator.measures.accuracy.coco import encoded, evaluate, ground_truth
from orchestrator.measures.accuracy.detection import Detections, Roles, read, segments
from orchestrator.measures.accuracy.resampling import paired_ap
from orchestrator.measures.accuracy.samples import FeedRecord, SampleSet, ShardRecord
from orchestrator.report import charts, render
from orchestrator.runs.records import RunRecord
from tests.analysis_runs import BASELINE
from tests.unit.analysis.test_accuracy import INT8, answered, told
from tests.unit.measures.accuracy.made import answer
from tests.unit.measures.accuracy.scenes import (
    CATEGORIES,
    HEIGHT,
    INPUT,
    WIDTH,
    as_answers,
    crops,
    outlined,
    placements,
    scenes,
    with_masks,
)

pytest.importorskip("pycocotools")

MADE = scenes(60, noise=6.0, ties=False)
#: The same images, and boxes that lie a little beside.
SHAKEN = replace(
    MADE, found=tuple((boxes + 8.0, scores, classes) for boxes, scores, classes in MADE.found)
)
OUTPUTS = {
    "boxes": "boxes",
    "scores": "scores",
    "classes": "classes",
    "count": "count",
    "format": "yxyx",
    "units": "normalized",
}
MASKS = {**OUTPUTS, "masks": "masks", "masks_cover": "box"}
ROLES = Roles("boxes", "scores", "classes", "count", masks="masks")


@pytest.fixture(autouse=True, scope="module")
def quick() -> Iterator[None]:
    """Intervals and charts are looked at elsewhere, and take most of the time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(charts, "available", lambda: False)
        patch.setattr(rereading, "MOST_MASKED_IMAGES", 15)
        patch.setattr(detecting, "paired_ap", partial(paired_ap, resamples=20))
        yield


@pytest.fixture(scope="module")
def judged(quick: None) -> SpeedupTable:
    """The masks of both sides, of which the treatment's device left some out."""
    answers = with_masks(as_answers(SHAKEN), crops(MADE))
    first = answers[0]
    masks = next(each for each in first.outputs if each.masks is not None)
    assert masks.masks is not None
    fewer = replace(masks, masks=replace(masks.masks, left_out=7))
    others = [each for each in first.outputs if each.masks is None]
    changed = [answer(first.key_index, *others, fewer), *answers[1:]]
    return analyse(run_of(samples_of("segmentation"), None, changed))


def samples_of(task: str, outputs: Any = None, **changes: Any) -> SampleSet:
    count = len(MADE.image_ids)
    masks = task == "segmentation"
    return SampleSet(
        task=task,
        margin=1.0,
        source="~/coco",
        digest="d" * 64,
        keys=tuple(map(str, MADE.image_ids)),
        labels=(None,) * count,
        feeds=(
            FeedRecord(
                "mobilenet_v1", "", 0, (), (), (ShardRecord("a" * 64, 1, 0, count),),
                height=INPUT, width=INPUT, resize="stretch",
            ),
        ),
        outputs=outputs or (MASKS if masks else OUTPUTS),
        truth=outlined(MADE) if masks else MADE.annotations,
        image_ids=MADE.image_ids,
        sizes=((WIDTH, HEIGHT),) * count,
        category_ids=CATEGORIES,
        **changes,
    )  # fmt: skip


def run_of(
    samples: SampleSet,
    baseline: Sequence[SampleAnswer] | None = None,
    treatment: Sequence[SampleAnswer] | None = None,
) -> RunRecord:
    masks = samples.task == "segmentation"
    sides = [as_answers(MADE), as_answers(SHAKEN)]
    if masks:
        sides = [with_masks(side, crops(MADE)) for side in sides]
    return answered(samples, {BASELINE: baseline or sides[0], INT8: treatment or sides[1]})


def masked(answers: Sequence[SampleAnswer]) -> list[Detections]:
    placed = placements(MADE.image_ids)
    boxes = read(answers, ROLES, MADE.image_ids, placed)
    return [
        replace(each, segments=segments(own, ROLES, each, placement, encoded))
        for each, own, placement in zip(boxes, answers, placed, strict=True)
    ]


def test_masks_are_judged_and_boxes_told_beside_them_in_every_format(judged: SpeedupTable) -> None:
    table = judged
    (row,) = table.accuracy
    truth = ground_truth(outlined(MADE), masks=True)
    for side, made in ((row.baseline, MADE), (row.treatment, SHAKEN)):
        found = masked(with_masks(as_answers(made), crops(MADE)))
        figures = evaluate(truth, found, CATEGORIES, masks=True).figures
        assert side.value == figures.ap
        place = int(made is SHAKEN)
        assert row.others["AP75"][place] == figures.ap75
        assert row.others["box AP"][place] == evaluate(truth, found, CATEGORIES).figures.ap
    assert row.metric == "mask AP" and row.verdict == "worse"
    assert told(table) == {"masks_left_out": False}
    assert "of 0 places of the baseline and of 7 of the scheme" in render(table, "text", width=300)
    for form in ("text", "markdown", "latex", "html", "csv", "json"):
        said = render(table, form, width=160)
        assert "mask AP" in said, form
        # that is the table of speed-ups; accuracy.csv has the others
        assert "box AP" in said or form == "csv", form
    assert {each.name for each in row.classes} == {"thing 1", "thing 2", "thing 5"}
    assert all(each.treatment < each.baseline for each in row.classes)
    assert row.changed and row.changed[0].key in samples_of("segmentation").keys
    assert row.changed[0].treatment < row.changed[0].baseline <= row.changed[0].label
    assert "it loses most in thing" in render(table, "text", width=500)
    assert table.rows[0].accuracy_metric == "mask AP"


def with_outputs(task: str, **changes: Any) -> SpeedupTable:
    described = {**(MASKS if task == "segmentation" else OUTPUTS), **changes}
    return analyse(run_of(samples_of(task, described)))


@pytest.mark.parametrize(
    ("task", "planted", "code"),
    [
        ("detection", {"format": "xyxy"}, "axes_swapped"),
        ("detection", {"format": "cycxhw"}, "box_format"),
        ("detection", {"units": "pixels"}, "not_scaled"),
        ("segmentation", {"class_base": 1}, "labels_shifted"),
    ],
    ids=str,
)
def test_a_planted_mistake_is_named_in_the_table(
    task: str, planted: dict[str, Any], code: str
) -> None:
    table = with_outputs(task, **planted)
    assert told(table)[code] is True
    assert table.accuracy[0].verdict == "invalid"
    assert code in render(table, "text", width=160)


def test_masks_that_are_laid_over_the_wrong_part_are_named_in_the_table() -> None:
    assert told(with_outputs("segmentation", masks_cover="input")).get("masks_misplaced") is True


def test_an_overlap_that_lets_swapped_axes_pass_is_named_beside_them() -> None:
    """What one of the seeds did: at an IoU of 0.01 swapped axes score a good part of the right."""
    right = analyse(run_of(samples_of("detection", iou=0.01)))
    assert told(right) == {"lenient_threshold": False}
    (row,) = right.accuracy
    before, after = row.others["AP at IoU 0.01"]
    assert before is not None and after is not None
    assert row.baseline.value is not None and before > row.baseline.value
    assert "AP at IoU 0.01" in render(right, "text", width=200)
    swapped = analyse(run_of(samples_of("detection", {**OUTPUTS, "format": "xyxy"}, iou=0.01)))
    found = told(swapped)
    assert found["axes_swapped"] and found["lenient_threshold"] is True
    assert "lenient_threshold" not in told(analyse(run_of(samples_of("detection", iou=0.6))))


def test_places_behind_the_count_are_of_earlier_images_and_do_not_count() -> None:
    """`as_answers` leaves what an earlier image had there, as the operator's fast form does."""
    (row,) = analyse(run_of(samples_of("detection", "postprocess"))).accuracy
    bare = [
        Detections(image_id, boxes, scores, classes)
        for image_id, (boxes, scores, classes) in zip(MADE.image_ids, MADE.found, strict=True)
    ]
    figures = evaluate(ground_truth(MADE.annotations), bare, CATEGORIES).figures
    assert row.baseline.value == pytest.approx(figures.ap, abs=1e-3)  # float32 on the way
    all_places = {name: value for name, value in OUTPUTS.items() if name != "count"}
    (stale,) = analyse(run_of(samples_of("detection", all_places))).accuracy
    assert stale.baseline.value is not None and figures.ap is not None
    assert stale.baseline.value < 0.9 * figures.ap


@pytest.mark.parametrize("place", ["counted", "beyond"])
def test_only_places_that_count_have_to_be_numbers(place: str) -> None:
    """Beyond the count stands what the memory held before."""
    spoilt = []
    for each in as_answers(SHAKEN):
        named = {output.name: output for output in each.outputs}
        scores = np.array(named["scores"].values)
        count = int(np.asarray(named["count"].values)[0])
        scores[count if place == "beyond" else 0] = np.nan
        named["scores"] = replace(named["scores"], values=scores, finite=False)
        spoilt.append(answer(each.key_index, *named.values()))
    found = told(analyse(run_of(samples_of("detection"), None, spoilt)))
    assert ("not_finite" in found) is (place == "counted")


def of_any_length(*, fewer: int = 0) -> list[SampleAnswer]:
    """The same masks from a network that gives as many places as it finds, or ``fewer``."""
    made = []
    answers = with_masks(as_answers(MADE), crops(MADE))
    for each, (_, scores, _) in zip(answers, MADE.found, strict=True):
        named = {output.name: output for output in each.outputs}
        count = max(0, len(scores) - fewer)
        cut = [
            replace(
                named[name],
                shape=(count, *named[name].shape[1:]),
                values=np.asarray(named[name].values)[:count],
            )
            for name in ("boxes", "scores", "classes")
        ]
        made.append(answer(each.key_index, *cut, named["masks"]))
    return made


def test_outputs_as_long_as_what_was_found_go_by_name(judged: SpeedupTable) -> None:
    described = {name: value for name, value in MASKS.items() if name != "count"}
    samples = samples_of("segmentation", described)
    (row,) = analyse(run_of(samples, of_any_length(), of_any_length(fewer=1))).accuracy
    (expected,) = judged.accuracy
    assert row.baseline.value == pytest.approx(expected.baseline.value, abs=1e-12)
    assert row.treatment.value is not None and row.baseline.value is not None
    assert 0.1 < row.treatment.value < row.baseline.value
    assert not [each for each in row.findings if each.forbids]


def test_masks_that_are_not_shares_and_none_at_all_are_told() -> None:
    bare = [as_answers(MADE), as_answers(SHAKEN)]
    (row,) = analyse(run_of(samples_of("segmentation"), *bare)).accuracy
    (finding,) = [each for each in row.findings if each.code == "not_scored"]
    assert "the device told no masks" in finding.message and row.verdict == "invalid"
    logits = with_masks(bare[0], [8 * each - 4 for each in crops(MADE)])
    (row,) = analyse(run_of(samples_of("segmentation"), logits, logits)).accuracy
    (finding,) = [each for each in row.findings if each.code == "not_scored"]
    assert "masks are shares from 0 to 1; end the network in a sigmoid" in finding.message
