"""Two detectors over the same annotated images. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from orchestrator.analysis.accuracy.score import Score
from orchestrator.analysis.table import ScoredShare
from orchestrator.errors import UsageError
from orchestrator.measurement import Finding
from orchestrator.measures.accuracy import audit
from orchestrator.measures.accuracy.answers import SampleAnswer, matched_outputs
from orchestrator.measures.accuracy.coco import CocoFigures, evaluate, ground_truth
from orchestrator.measures.accuracy.detection import Placement, Roles, postprocess_roles, read
from orchestrator.measures.accuracy.geometry import Geometry, placement_of
from orchestrator.measures.accuracy.rereading import misread
from orchestrator.measures.accuracy.resampling import paired_ap
from orchestrator.measures.accuracy.samples import FeedRecord, SampleSet

METRIC = "AP"
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
    """Score the boxes of baseline and treatment in the same images, in the same order."""
    try:
        return _scored(samples, feed, ours, theirs)
    except (ValueError, KeyError, TypeError, IndexError, UsageError) as exc:
        why = str(exc) if isinstance(exc, ValueError | UsageError) else repr(exc)
        return Score(
            METRIC,
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


def _scored(
    samples: SampleSet,
    feed: FeedRecord,
    ours: Sequence[SampleAnswer],
    theirs: Sequence[SampleAnswer],
) -> Score:
    truth = samples.truth or {}
    ids = [samples.image_ids[each.key_index] for each in ours]
    placements = [_placement(samples, feed, each.key_index) for each in ours]
    own = _roles(samples, ours)
    roles = (own, _renamed(own, ours[0], theirs))
    found = [
        read(side, of, ids, placements) for side, of in zip((ours, theirs), roles, strict=True)
    ]
    annotated = ground_truth(truth, ids)
    base, treated = (evaluate(annotated, side, samples.category_ids) for side in found)
    difference = paired_ap(base, treated, samples.margin)
    findings = (
        *misread(
            ours, roles[0], ids, placements, annotations=truth, category_ids=samples.category_ids
        ),
        *audit.detector_at_chance(base.figures),
        *audit.no_scores(found[1]),
        *audit.too_few_images(difference),
    )
    return Score(
        METRIC,
        ScoredShare(base.figures.ap),
        ScoredShare(treated.figures.ap),
        difference,
        _others(base.figures, treated.figures),
        findings=findings,
    )


def _roles(samples: SampleSet, answers: Sequence[SampleAnswer]) -> Roles:
    described = samples.outputs
    if not isinstance(described, Mapping):
        return postprocess_roles(answers)
    known: dict[str, Any] = {
        name: described[name] for name in Roles.__dataclass_fields__ if name in described
    }
    return Roles(**{"classes": None, **known})


def _renamed(roles: Roles, ours: SampleAnswer, theirs: Sequence[SampleAnswer]) -> Roles:
    """The baseline's roles under the names that the treatment's outputs have.

    The baseline's, because outputs of a dead treatment cannot be told apart by what they hold;
    where names say nothing, by that all the same.
    """
    name_of = dict(matched_outputs(ours, theirs[0]))
    held = (roles.boxes, roles.scores, roles.classes, roles.count)
    if any(each is not None and each not in name_of for each in held):
        return postprocess_roles(theirs)
    boxes, scores, classes, count = (None if each is None else name_of[each] for each in held)
    return replace(roles, boxes=boxes or "", scores=scores or "", classes=classes, count=count)


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
