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
from orchestrator.measures.accuracy.answers import SampleAnswer, top_of
from orchestrator.measures.accuracy.samples import FeedRecord, SampleSet, ShardRecord
from orchestrator.report import render
from orchestrator.runs.records import CalibrationRecord, RunRecord, TrialRecord
from orchestrator.trial import Factors, TrialKind
from tests.analysis_runs import BASELINE, FACTORS, artifacts, blocks_of, run_of, trial
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


def accuracy_trial(
    scheme: str,
    number: int,
    shard: ShardRecord,
    *,
    factors: Factors = FACTORS,
    digest: str = "e" * 64,
) -> TrialRecord:
    asked = trial(scheme, -1, replicate=number, kind=TrialKind.ACCURACY, factors=factors)
    measurement = Measurement(
        None, None, None, None, answers=Answers(shard.first, shard.count, digest)
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


def of(
    base: np.ndarray[Any, Any], treated: np.ndarray[Any, Any], labels: Sequence[int]
) -> RunRecord:
    outputs = {BASELINE: made.answers(base), INT8: made.answers(treated)}
    return answered(samples_of(labels), outputs)


def always_one_class() -> RunRecord:
    base, labels = scores(11)
    treated = base.copy()
    treated[:, 3] += 100
    return of(base, treated, labels)


def coarser() -> RunRecord:
    treated, labels = scores(12)
    noise = np.random.default_rng(13).normal(scale=3.0, size=treated.shape)
    return of(treated + noise.astype(np.float32), treated, labels)


def few() -> RunRecord:
    base, labels = scores(14, 100)
    return of(base, base, labels)


def guessing() -> RunRecord:
    _, labels = scores(15)
    base = np.random.default_rng(16).normal(size=(len(labels), CLASSES)).astype(np.float32)
    return of(base, base, labels)


def background_first() -> RunRecord:
    base, labels = scores(17)
    return of(np.roll(base, 1, axis=1), np.roll(base, 1, axis=1), labels)


def cut_off() -> RunRecord:
    base, labels = scores(18)
    return of(base, np.clip(np.round(base * 8) / 8, -1.0, 2.0), labels)


def cut_off_large() -> RunRecord:
    """Of so many classes that the highest five alone were told."""
    base, labels = scores(18)
    sides = [base, np.clip(np.round(base * 8) / 8, -1.0, 2.0)]
    outputs = {
        scheme: [
            made.answer(n, made.output(row, top=top_of(row, 5), keep=False, shape=(1000,)))
            for n, row in enumerate(side)
        ]
        for scheme, side in zip((BASELINE, INT8), sides, strict=True)
    }
    return answered(samples_of(labels), outputs)


def with_artifacts(run: RunRecord, **changes: Any) -> RunRecord:
    return replace(run, artifacts={v: replace(a, **changes) for v, a in run.artifacts.items()})


def below_published() -> RunRecord:
    base, labels = scores(19)  # right about half of the time
    return with_artifacts(of(base, base, labels), published_top1=0.95)


def fed(run: RunRecord, **looked: Any) -> RunRecord:
    assert run.samples is not None
    (feed,) = run.samples.feeds
    return replace(run, samples=replace(run.samples, feeds=(replace(feed, **looked),)))


def of_another_range() -> RunRecord:
    base, labels = scores(20)
    run = with_artifacts(of(base, base, labels), check_range=(-1.0, 0.992))
    return fed(run, low=0.0, high=255.0)


def black() -> RunRecord:
    base, labels = scores(21)
    return fed(of(base, base, labels), low=0.0, high=1.0, commonest=0.998)


def at_two_batches(noise: float) -> RunRecord:
    """The same samples one at a time and by eights, where int8 answers with so much noise."""
    base, labels = scores(22, 128)
    alone = answered(samples_of(labels), {BASELINE: made.answers(base), INT8: made.answers(base)})
    (shard,) = alone.samples.feeds[0].shards if alone.samples else ()
    beside = base + np.random.default_rng(23).normal(scale=noise, size=base.shape)
    told = {BASELINE: made.answers(base), INT8: made.answers(beside.astype(np.float32))}
    factors = replace(FACTORS, batch=8)
    more = list(blocks_of({BASELINE: 100.0, INT8: 50.0}, 6, factors=factors))
    answers = {}
    for scheme, side in told.items():
        digest = ("e" if scheme == BASELINE else "f") * 64
        record = accuracy_trial(scheme, 0, shard, factors=factors, digest=digest)
        more.append(record)
        answers[record.trial.trial_id] = tuple(side)

    def read(record: TrialRecord) -> tuple[SampleAnswer, ...]:
        return answers.get(record.trial.trial_id) or alone.answers_of(record)

    return replace(alone, trials=(*alone.trials, *more), answers_of=read)


def one_scale_for_a_batch() -> RunRecord:
    return at_two_batches(0.5)


def trained_on_samples() -> RunRecord:
    base, labels = scores(25)
    return with_artifacts(of(base, base, labels), trained_on_samples=5)


PROVOKED: dict[str, tuple[Callable[[], RunRecord], bool]] = {
    "random_weights": (random_weights, True),
    "outputs_unclear": (unclear, True),
    "nothing_answered": (one_side_alone, True),
    "shard_missing": (a_shard_failed, False),
    "answers_unreadable": (unreadable, True),
    "not_scored": (not_scored, True),
    "calibrated_on_evaluation": (calibrated_on_samples, True),
    "calibration_random": (calibrated_on_noise, False),
    "seen_in_training": (trained_on_samples, True),
    "one_class": (always_one_class, True),
    "coarser_is_better": (coarser, False),
    "too_few_samples": (few, False),
    "baseline_at_chance": (guessing, True),
    "labels_shifted": (background_first, True),
    "saturated_outputs": (cut_off, False),
    "constant_input": (black, True),
    "depends_on_the_batch": (one_scale_for_a_batch, False),
}
#: The three ways in which inputs that are not the training's show.
SUSPECT: dict[str, tuple[Callable[[], RunRecord], str]] = {
    "published": (below_published, "95.0 % of ImageNet's validation set are published"),
    "range": (of_another_range, "from 0 to 255, and the integers of the quantized input stand for"),
    "alike": (guessing, "the same answer to 100.0 % of the samples"),
}


@pytest.mark.parametrize("code", PROVOKED)
def test_what_leaves_no_accuracy_is_found(code: str) -> None:
    make, forbids = PROVOKED[code]
    table = analyse(make())
    assert told(table)[code] == forbids
    assert (table.accuracy[0].verdict == "invalid") == forbids
    assert code in render(table, "text", width=120)


@pytest.mark.parametrize("way", SUSPECT)
def test_what_is_fed_otherwise_than_in_training_is_suspected(way: str) -> None:
    make, said = SUSPECT[way]
    (row,) = analyse(make()).accuracy
    found = [f.message for f in row.findings if f.code == "preprocessing_suspect"]
    assert len(found) == 1 and said in found[0]


def test_what_is_fed_as_in_training_is_not_suspected() -> None:
    base, labels = scores(24)
    run = with_artifacts(of(base, base, labels), published_top1=0.5, check_range=(-1.0, 0.992))
    run = fed(run, low=0.0, high=255.0, commonest=0.1, mean=(127.5,), std=(127.5,))
    assert "preprocessing_suspect" not in told(analyse(run))
    assert "preprocessing_suspect" not in told(analyse(always_one_class()))


def test_outputs_that_were_not_told_whole_are_cut_off_all_the_same() -> None:
    assert told(analyse(cut_off_large()))["saturated_outputs"] is False


def test_rounding_is_no_dependence_on_the_batch() -> None:
    assert "depends_on_the_batch" not in told(analyse(at_two_batches(1e-6)))
    rows = {row.factors.batch: row for row in analyse(one_scale_for_a_batch()).accuracy}
    codes = {b: {f.code for f in row.findings} for b, row in rows.items()}
    assert "depends_on_the_batch" in codes[8] - codes[1]
    (found,) = [f for f in rows[8].findings if f.code == "depends_on_the_batch"]
    assert "full_int8 answers 128 of 128 samples otherwise at batch 8 than at batch 1" in (
        found.message
    )


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
