"""Two detectors over the same annotated images, by their boxes or by their masks. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from orchestrator.analysis.accuracy.classifying import MOST_CHANGED, MOST_CLASSES
from orchestrator.analysis.accuracy.score import Score
from orchestrator.analysis.table import ChangedAnswer, ClassChange, ScoredShare
from orchestrator.errors import UsageError
from orchestrator.measurement import Finding
from orchestrator.measures.accuracy import audit
from orchestrator.measures.accuracy.answers import SampleAnswer, matched_outputs
from orchestrator.measures.accuracy.coco import (
    CocoFigures,
    Evaluation,
    GroundTruth,
    ap_at,
    encoded,
    evaluate,
    ground_truth,
)
from orchestrator.measures.accuracy.detection import (
    Detections,
    Roles,
    masks_of,
    postprocess_roles,
    read,
    segments,
)
from orchestrator.measures.accuracy.geometry import Geometry, Placement, placement_of
from orchestrator.measures.accuracy.rereading import misplaced, misread
from orchestrator.measures.accuracy.resampling import paired_ap
from orchestrator.measures.accuracy.samples import FeedRecord, SampleSet

#: The figure that is judged, by task.
METRICS: Mapping[str, str] = {"detection": "AP", "segmentation": "mask AP"}
_MASKS = "segmentation"
_OTHERS: Mapping[str, str] = {
    "AP50": "ap50",
    "AP75": "ap75",
    "AP small": "ap_small",
    "AP medium": "ap_medium",
    "AP large": "ap_large",
    "AR100": "ar100",
}


def score_detectors(
    samples: SampleSet,
    feed: FeedRecord,
    ours: Sequence[SampleAnswer],
    theirs: Sequence[SampleAnswer],
) -> Score:
    """Score what baseline and treatment found in the same images, in the same order."""
    try:
        return _scored(samples, feed, ours, theirs)
    except (ValueError, KeyError, TypeError, IndexError, UsageError) as exc:
        why = str(exc) if isinstance(exc, ValueError | UsageError) else repr(exc)
        return Score(
            METRICS[samples.task],
            findings=(
                Finding(
                    "not_scored",
                    f"the detections cannot be scored: {why}",
                    "describe the model's outputs under `outputs:` of the suite, and see that "
                    "pycocotools is installed where the report is made",
                    forbids=True,
                ),
            ),
        )


@dataclass(frozen=True)
class _Images:
    """What both sides were asked about; ``masks``: whether their masks are judged."""

    truth: Mapping[str, Any]
    annotated: GroundTruth
    ids: Sequence[int]
    placements: Sequence[Placement]
    categories: Sequence[int]
    masks: bool

    def found(self, answers: Sequence[SampleAnswer], roles: Roles) -> tuple[Detections, ...]:
        """What one side found, with its masks where they are judged."""
        boxes = read(answers, roles, self.ids, self.placements)
        if not self.masks:
            return boxes
        return tuple(
            replace(each, segments=segments(answer, roles, each, placement, encoded))
            for each, answer, placement in zip(boxes, answers, self.placements, strict=True)
        )

    def evaluated(self, found: Sequence[Detections], *, masks: bool) -> Evaluation:
        """The figures of what was found."""
        return evaluate(self.annotated, found, self.categories, masks=masks)

    def ap_at(self, found: Sequence[Detections], iou: float) -> float:
        """Average precision at one overlap, of what is judged."""
        return ap_at(self.annotated, found, self.categories, iou=iou, masks=self.masks)


def _scored(
    samples: SampleSet,
    feed: FeedRecord,
    ours: Sequence[SampleAnswer],
    theirs: Sequence[SampleAnswer],
) -> Score:
    truth, masks = samples.truth or {}, samples.task == _MASKS
    ids = [samples.image_ids[each.key_index] for each in ours]
    placements = [_placement(samples, feed, each.key_index) for each in ours]
    annotated = ground_truth(truth, ids, masks=masks)
    images = _Images(truth, annotated, ids, placements, samples.category_ids, masks)
    own = _roles(samples, ours)
    sides = (ours, own), (theirs, _renamed(own, ours, theirs))
    found = [images.found(*side) for side in sides]
    base, treated = (images.evaluated(each, masks=masks) for each in found)
    difference = paired_ap(base, treated, samples.margin)
    others = _others(base.figures, treated.figures)
    if masks:
        boxes = [images.evaluated(each, masks=False).figures for each in found]
        others |= {"box AP": (boxes[0].ap, boxes[1].ap), "box AP50": (boxes[0].ap50, boxes[1].ap50)}
    findings = [
        *misread(ours, own, ids, placements, annotations=truth, category_ids=samples.category_ids),
        *audit.detector_at_chance(base.figures),
        *audit.no_scores(found[1]),
        *audit.places_not_finite(found[1]),
        *audit.too_few_images(difference),
    ]
    if masks:
        findings += misplaced(ours, own, ids, placements, truth=annotated, stated=found[0])
        findings += _left_out(ours, theirs)
    if samples.iou is not None:
        at = [images.ap_at(each, samples.iou) for each in found]
        others[f"AP at IoU {samples.iou:g}"] = at[0], at[1]
        findings += audit.lenient_threshold(samples.iou, at[0], base.figures.ap50 or 0.0)
    return Score(
        METRICS[samples.task],
        ScoredShare(base.figures.ap),
        ScoredShare(treated.figures.ap),
        difference,
        others,
        classes=_changes(truth, base, treated),
        changed=_changed(samples, base, treated),
        changes=int(np.count_nonzero(base.found_in != treated.found_in)),
        findings=tuple(findings),
    )


def _changes(
    truth: Mapping[str, Any], base: Evaluation, treated: Evaluation
) -> tuple[ClassChange, ...]:
    """The classes that changed, those that lost most first: average precision, and the objects that
    one side alone found at an IoU of 0.5."""
    names = {each["id"]: str(each.get("name") or each["id"]) for each in truth["categories"]}
    changes = [
        ClassChange(
            names[one.category_id],
            len(one.found),
            one.ap,
            other.ap,
            int(np.count_nonzero(one.found & ~other.found)),
            int(np.count_nonzero(~one.found & other.found)),
        )
        for one, other in zip(base.categories, treated.categories, strict=True)
        if one.ap != other.ap or (one.found != other.found).any()
    ]
    return tuple(sorted(changes, key=lambda each: each.treatment - each.baseline)[:MOST_CLASSES])


def _changed(
    samples: SampleSet, base: Evaluation, treated: Evaluation
) -> tuple[ChangedAnswer, ...]:
    """The images in which the sides found another number of objects, those that lost most first."""
    keys = dict(zip(samples.image_ids, samples.keys, strict=True))
    gained = treated.found_in - base.found_in
    places = [place for place in np.argsort(gained, kind="stable") if gained[place]]
    return tuple(
        ChangedAnswer(
            keys[base.image_ids[place]],
            *(
                _objects(int(side[place]))
                for side in (base.objects_in, base.found_in, treated.found_in)
            ),
        )
        for place in places[:MOST_CHANGED]
    )


def _objects(count: int) -> str:
    return "1 object" if count == 1 else f"{count} objects"


def _left_out(*sides: Sequence[SampleAnswer]) -> Iterable[Finding]:
    """How many masks were not told, of either side."""
    counts = [sum(masks_of(answer).left_out for answer in side) for side in sides]
    yield from audit.masks_left_out(counts[0], counts[1], len(sides[0]))


def _roles(samples: SampleSet, answers: Sequence[SampleAnswer]) -> Roles:
    described = samples.outputs
    if not isinstance(described, Mapping):
        return postprocess_roles(answers)
    known: dict[str, Any] = {
        name: described[name] for name in Roles.__dataclass_fields__ if name in described
    }
    return Roles(**{"classes": None, **known})


def _renamed(roles: Roles, ours: Sequence[SampleAnswer], theirs: Sequence[SampleAnswer]) -> Roles:
    """The baseline's roles under the names that the treatment's outputs have.

    The baseline's, because outputs of a dead treatment cannot be told apart by what they hold;
    where names say nothing, by that all the same. Outputs whose length is how much was found have
    unlike shapes on either side, and go by name.
    """
    name_of = dict(matched_outputs(ours[0], theirs[0]))
    held = (roles.boxes, roles.scores, roles.classes, roles.count)
    if all(each is None or each in name_of for each in held):
        boxes, scores, classes, count = (None if each is None else name_of[each] for each in held)
        return replace(roles, boxes=boxes or "", scores=scores or "", classes=classes, count=count)
    shapes = {
        tuple(output.shape for output in each.outputs) for side in (ours, theirs) for each in side
    }
    return roles if len(shapes) > 1 else postprocess_roles(theirs)


def _placement(samples: SampleSet, feed: FeedRecord, index: int) -> Placement:
    width, height = samples.sizes[index]
    resize: Any = feed.resize
    return placement_of(width, height, Geometry(feed.height, feed.width, resize))


def _others(
    baseline: CocoFigures, treatment: CocoFigures
) -> dict[str, tuple[float | None, float | None]]:
    return {
        name: (getattr(baseline, field), getattr(treatment, field))
        for name, field in _OTHERS.items()
    }
