"""The accuracy of a run's schemes: scored out of what trials answered, beside the baseline's."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, top_k_accuracy_score
from statsmodels.stats.contingency_tables import mcnemar

from orchestrator.analysis import SpeedupTable, analyse
from orchestrator.analysis.table import AccuracyComparison
from orchestrator.errors import JournalError
from orchestrator.measurement import Answers, Measurement, Outcome
from orchestrator.measures.accuracy.answers import SampleAnswer
from orchestrator.measures.accuracy.samples import FeedRecord, SampleSet, ShardRecord
from orchestrator.report import render
from orchestrator.runs.records import CalibrationRecord, RunRecord, TrialRecord
from orchestrator.trial import TrialKind
from tests.analysis_runs import BASELINE, artifacts, blocks_of, run_of, trial
from tests.unit.measures.accuracy import made

INT8 = "full_int8"
CLASSES = 10
SHARD = 128


def samples_of(labels: Sequence[int], **changes: Any) -> SampleSet:
    shards = tuple(
        ShardRecord("a" * 64, 1, first, min(SHARD, len(labels) - first))
        for first in range(0, len(labels), SHARD)
    )
    found = SampleSet(
        task="classification",
        margin=1.0,
        source="digits.npz",
        digest="d" * 64,
        keys=tuple(map(str, range(len(labels)))),
        labels=tuple(labels),
        classes=tuple(f"digit {number}" for number in range(CLASSES)),
        feeds=(FeedRecord("mobilenet_v1", "", 0, (), (), shards),),
    )
    return replace(found, **changes)


def answered(
    samples: SampleSet,
    outputs: Mapping[str, Sequence[SampleAnswer]],
    *,
    weights: str = "imagenet",
    unread: bool = False,
) -> RunRecord:
    """A run whose schemes answered so, shard by shard."""
    (feed,) = samples.feeds
    trials, told = list(blocks_of({BASELINE: 100.0, INT8: 50.0}, 6)), {}
    for scheme, answers in outputs.items():
        for number, shard in enumerate(feed.shards):
            record = accuracy_trial(scheme, number, shard)
            trials.append(record)
            told[record.trial.trial_id] = answers[shard.first : shard.first + shard.count]

    def read(record: TrialRecord) -> tuple[SampleAnswer, ...]:
        if unread and record.trial.variant.scheme == INT8:
            raise JournalError("logs/x.txt: cannot be scored")
        return tuple(told.get(record.trial.trial_id, ()))

    known = {v: replace(a, weights=weights) for v, a in artifacts().items()}
    return run_of(trials, samples=samples, answers_of=read, artifacts=known)


def accuracy_trial(scheme: str, number: int, shard: ShardRecord) -> TrialRecord:
    asked = trial(scheme, -1, replicate=number, kind=TrialKind.ACCURACY)
    measurement = Measurement(
        None, None, None, None, answers=Answers(shard.first, shard.count, "e" * 64)
    )
    return TrialRecord(asked, Outcome.OK, measurement)


def row_of(run: RunRecord) -> AccuracyComparison:
    (row,) = analyse(run).accuracy
    return row


def scores(seed: int, n: int = 500) -> tuple[np.ndarray[Any, Any], list[int]]:
    """Scores of a classifier that is right about half of the time, and the labels."""
    draw = np.random.default_rng(seed)
    labels = draw.integers(0, CLASSES, n)
    values = draw.normal(size=(n, CLASSES)).astype(np.float32)
    values[np.arange(n), labels] += 2.0
    return values, labels.tolist()


def test_figures_are_those_of_a_plain_loop_over_the_libraries_of_the_field() -> None:
    base, labels = scores(1)
    treated = base + np.random.default_rng(2).normal(scale=0.5, size=base.shape).astype(np.float32)
    outputs = {BASELINE: made.answers(base), INT8: made.answers(treated)}
    row = row_of(answered(samples_of(labels), outputs))
    assert row.samples == 500 and row.metric == "top-1"
    assert row.baseline.value == accuracy_score(labels, base.argmax(1))
    assert row.treatment.value == accuracy_score(labels, treated.argmax(1))
    top5 = [top_k_accuracy_score(labels, side, k=5) for side in (base, treated)]
    assert row.others["top-5"] == tuple(top5)
    right = [side.argmax(1) == labels for side in (base, treated)]
    table = [[int((a & b).sum()) for b in (right[1], ~right[1])] for a in (right[0], ~right[0])]
    assert (row.lost, row.gained) == (table[0][1], table[1][0])
    assert row.p_value == mcnemar(table, exact=True).pvalue
    same = float(np.mean(base.argmax(1) == treated.argmax(1)))
    assert row.agreement[0].same_top1 is not None
    assert row.agreement[0].same_top1.value == same


def test_a_loss_beyond_the_margin_is_worse_and_is_told_everywhere() -> None:
    base, labels = scores(3)
    broken = np.random.default_rng(4).normal(size=base.shape).astype(np.float32)
    outputs = {BASELINE: made.answers(base), INT8: made.answers(broken)}
    table = analyse(answered(samples_of(labels), outputs))
    (row,) = table.accuracy
    assert row.verdict == "worse" and row.difference is not None and row.difference < -0.3
    assert row.classes and row.classes[0].lost > row.classes[0].gained
    assert {each.label for each in row.changed} <= set(samples_of(labels).classes)
    assert table.rows[0].accuracy_verdict == "worse"
    for form in ("text", "markdown", "latex", "html", "csv", "json"):
        assert "worse" in render(table, form, width=160), form


def told(table: SpeedupTable) -> dict[str, bool]:
    return {f.code: f.forbids for row in table.accuracy for f in row.findings}


def alike() -> tuple[Sequence[SampleAnswer], list[int]]:
    base, labels = scores(5)
    return made.answers(base), labels


def random_weights() -> RunRecord:
    base, labels = alike()
    return answered(samples_of(labels), {BASELINE: base, INT8: base}, weights="random(seed=0)")


def unclear() -> RunRecord:
    base, labels = alike()
    several = [
        made.answer(each.key_index, *each.outputs, made.output([1.0, 2.0], name="other"))
        for each in base
    ]
    return answered(samples_of(labels), {BASELINE: several, INT8: several})


def one_side_alone() -> RunRecord:
    base, labels = alike()
    return answered(samples_of(labels), {BASELINE: base})


def a_shard_failed() -> RunRecord:
    base, labels = alike()
    run = answered(samples_of(labels), {BASELINE: base, INT8: base})
    *trials, last = run.trials
    failed = replace(last, outcome=Outcome.KILLED, measurement=None, reason="it was killed")
    return replace(run, trials=(*trials, failed))


def unreadable() -> RunRecord:
    base, labels = alike()
    return answered(samples_of(labels), {BASELINE: base, INT8: base}, unread=True)


def not_scored() -> RunRecord:
    base, labels = alike()
    detection = samples_of(
        labels,
        task="detection",
        outputs={"boxes": "b", "scores": "s", "format": "yxyx", "units": "normalized"},
        truth={"images": [], "annotations": [], "categories": []},
        image_ids=tuple(range(len(labels))),
        sizes=((10, 10),) * len(labels),
        feeds=(replace(samples_of(labels).feeds[0], height=8, width=8, resize="stretch"),),
    )
    return answered(detection, {BASELINE: base, INT8: base})


def calibrated(calibration: CalibrationRecord) -> RunRecord:
    base, labels = alike()
    run = answered(samples_of(labels), {BASELINE: base, INT8: base})
    known = {
        v: replace(a, calibration=calibration) if v.scheme == INT8 else a
        for v, a in run.artifacts.items()
    }
    return replace(run, artifacts=known)


def calibrated_on_samples() -> RunRecord:
    return calibrated(CalibrationRecord("folder", 16, sampled=5))


def calibrated_on_noise() -> RunRecord:
    return calibrated(CalibrationRecord("random", 16))


PROVOKED: dict[str, tuple[Callable[[], RunRecord], bool]] = {
    "random_weights": (random_weights, True),
    "outputs_unclear": (unclear, True),
    "nothing_answered": (one_side_alone, True),
    "shard_missing": (a_shard_failed, False),
    "answers_unreadable": (unreadable, True),
    "not_scored": (not_scored, True),
    "calibrated_on_evaluation": (calibrated_on_samples, True),
    "calibration_random": (calibrated_on_noise, False),
}


@pytest.mark.parametrize("code", PROVOKED)
def test_what_leaves_no_accuracy_is_found(code: str) -> None:
    make, forbids = PROVOKED[code]
    table = analyse(make())
    assert told(table)[code] == forbids
    assert (table.accuracy[0].verdict == "invalid") == forbids
    assert code in render(table, "text", width=120)


def test_what_was_answered_by_both_is_compared_where_a_shard_failed() -> None:
    row = row_of(a_shard_failed())
    assert row.samples == 384 and row.verdict == "no worse"


def test_few_samples_that_were_calibrated_on_cannot_hide_a_loss_of_the_margin() -> None:
    table = analyse(calibrated(CalibrationRecord("folder", 16, sampled=4)))
    assert told(table)["calibrated_on_evaluation"] is False
    assert table.accuracy[0].verdict == "no worse"
    assert not told(analyse(calibrated(CalibrationRecord("folder", 16))))


def test_of_weights_that_were_never_trained_calibration_costs_nothing() -> None:
    run = calibrated_on_noise()
    untrained = {v: replace(a, weights="random(seed=0)") for v, a in run.artifacts.items()}
    assert "calibration_random" not in told(analyse(replace(run, artifacts=untrained)))


def test_random_weights_agree_all_the_same() -> None:
    row = row_of(random_weights())
    assert row.agreement[0].same_top1 is not None and row.agreement[0].same_top1.value == 1.0


def test_without_labels_nothing_is_judged_and_agreement_is_told() -> None:
    base, labels = scores(6, 64)
    unlabelled = replace(samples_of(labels), task="agreement", labels=(None,) * 64)
    outputs = {BASELINE: made.answers(base), INT8: made.answers(base + np.float32(0.01))}
    table = analyse(answered(unlabelled, outputs, weights="random(seed=0)"))
    (row,) = table.accuracy
    assert row.verdict == "" and row.difference is None and not row.findings
    text = render(table, "text", width=140)
    assert "Agreement with the baseline" in text and "Accuracy: here" not in text


def test_a_run_that_measured_none_says_that_nothing_is_known() -> None:
    table = analyse(run_of(blocks_of({BASELINE: 100.0, INT8: 50.0}, 6)))
    assert table.accuracy == () and "nothing is said of accuracy" in render(table, "text")
