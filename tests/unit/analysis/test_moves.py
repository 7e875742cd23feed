"""Which factor moves the accuracy: the same samples in two places that differ in one factor."""

from __future__ import annotations

import itertools
import json
import random
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
from statsmodels.stats.contingency_tables import mcnemar

from orchestrator.analysis import analyse
from orchestrator.analysis.explain.explanation import explain
from orchestrator.analysis.explain.moves import Move, moves, sign_flip_p
from orchestrator.analysis.table import AccuracyComparison, ScoredShare
from orchestrator.report.explain import FORMATS, render
from tests.analysis_runs import FACTORS
from tests.factorial_runs import factorial

SAMPLES = 400


def row(
    outcomes: str = "", *, device: str = "here", difference: float = 0.0, **factors: Any
) -> AccuracyComparison:
    """Accuracy of a scheme in one place, by what each sample says of it."""
    if outcomes:
        difference = (outcomes.count("+") - outcomes.count("-")) / len(outcomes)
    return AccuracyComparison(
        device=device, model="mobilenet_v1", factors=replace(FACTORS, **factors),
        scheme="dynamic_range", baseline_scheme="float32", metric="top-1" if outcomes else "AP",
        samples=SAMPLES, margin=1.0, baseline=ScoredShare(0.9), treatment=ScoredShare(0.9),
        difference=difference, low=difference - 0.02, high=difference + 0.02, lost=0, gained=0,
        p_value=1.0, p_adjusted=1.0, verdict="no worse", reason="", outcomes=outcomes,
    )  # fmt: skip


def outcomes(**counts: int) -> str:
    lost, gained = counts.get("lost", 0), counts.get("gained", 0)
    return "-" * lost + "+" * gained + "1" * (SAMPLES - lost - gained)


def the(found: tuple[Move, ...]) -> Move:
    (one,) = found
    return one


def test_a_factor_that_loses_samples_is_certain_and_named() -> None:
    one = row(outcomes(lost=2), runtime="ai-edge-litert==2.3.0")
    other = row(outcomes(lost=40), runtime="tflite-runtime==2.14.0")
    move = the(moves([one, other]))
    assert move.factor == "runtime" and move.certain
    assert move.change == pytest.approx(-38 / SAMPLES) and move.changed == 38
    assert move.low < move.change < move.high < 0


def test_the_same_answers_change_nothing_and_the_interval_says_how_well_that_is_known() -> None:
    one, other = row(outcomes(lost=9), threads=1), row(outcomes(lost=9), threads=2)
    move = the(moves([one, other]))
    assert (move.change, move.changed, move.certain) == (0.0, 0, False)
    assert -0.01 < move.low < 0 < move.high < 0.01 and move.p_value == 1.0


def test_as_many_lost_in_other_samples_is_no_change_that_is_certain() -> None:
    one = row("-" * 9 + "1" * (SAMPLES - 9), threads=1)
    other = row("1" * (SAMPLES - 9) + "-" * 9, threads=2)
    move = the(moves([one, other]))
    assert move.change == 0 and move.changed == 18 and not move.certain


def test_a_sample_that_a_place_did_not_answer_counts_for_nothing() -> None:
    one = row("-" * 9 + "1" * (SAMPLES - 9), threads=1)
    other = row(" " * 9 + "1" * (SAMPLES - 9), threads=2)
    assert the(moves([one, other])).changed == 0


def test_only_pairs_that_differ_in_one_factor_count_against_the_reference_level() -> None:
    same = outcomes(lost=3)
    rows = [row(same, threads=t, delegate=d) for t in (1, 2, 4) for d in ("xnnpack", "none")]
    found = moves(rows)
    pairs = {(m.factor, m.here.factors.threads, m.there.factors.threads) for m in found}
    assert ("threads", 2, 4) not in pairs
    assert len(found) == 2 * 2 + 3
    across = moves([row(same, device="a"), row(same, device="b"), row(same, device="b", threads=2)])
    assert [(m.factor, m.there.device) for m in across] == [("device", "b"), ("threads", "b")]


def test_a_row_without_accuracy_is_left_out() -> None:
    one, other = row(outcomes(), threads=1), row(outcomes(), threads=2)
    assert moves([one, replace(other, difference=None)]) == ()


def test_a_detector_is_held_against_itself_as_over_other_images() -> None:
    one, other = row(difference=-0.01, threads=1), row(difference=-0.2, threads=2)
    move = the(moves([one, other]))
    assert move.changed is None and move.certain
    assert move.high - move.change == pytest.approx(0.02 * 2**0.5)
    assert not the(moves([one, replace(one, factors=other.factors)])).certain


@pytest.mark.parametrize("steps", [[1], [1, 1, -1], [2, 1, 1, -1], [2, 2, -1], [0, 0], [2, -2, 1]])
def test_the_p_value_is_that_of_all_signs(steps: list[int]) -> None:
    total = abs(sum(steps))
    sums = [
        abs(sum(s * abs(e) for s, e in zip(signs, steps, strict=True)))
        for signs in itertools.product((-1, 1), repeat=len(steps))
    ]
    expected = sum(each >= total for each in sums) / len(sums)
    assert sign_flip_p(Counter(steps)) == pytest.approx(expected)


def test_of_single_steps_it_is_mcnemars() -> None:
    steps = [1] * 31 + [-1] * 12 + [0] * 500
    assert sign_flip_p(Counter(steps)) == pytest.approx(
        mcnemar([[0, 31], [12, 0]], exact=True).pvalue
    )


def test_the_interval_covers_a_change_that_is_known() -> None:
    draw = random.Random(5)
    true, covered, times = -0.03, 0, 300
    for _ in range(times):
        there = "".join("-" if draw.random() < 0.05 else "1" for _ in range(SAMPLES))
        here = "".join("-" if draw.random() < 0.02 else "1" for _ in range(SAMPLES))
        move = the(moves([row(here, threads=1), row(there, threads=2)]))
        covered += move.low <= true <= move.high
    assert covered / times > 0.92


def test_an_explanation_tells_it_in_every_format() -> None:
    record = factorial()
    table = analyse(record)
    places = {
        (r.device, r.factors): r for r in table.rows if r.model == "mobilenet_v1" and r.factors
    }
    rows = [
        replace(
            row(outcomes(lost=40 if "2.14" in factors.runtime else 2)), device=d, factors=factors
        )
        for d, factors in places
        if factors is not None
    ]
    found = explain(record, replace(table, accuracy=tuple(rows)))
    assert {m.factor for m in found.moves if m.certain} == {"runtime"}
    for form in FORMATS:
        text = " ".join(render(found, form, width=200).split())
        assert "What moves the accuracy" in text or form == "json"
        assert "-9.5" in text.replace("−", "-") or form == "json", form
    told = json.loads(render(found, "json"))["accuracy"]
    assert {-0.095, 0.0} == {each["change"] for each in told} and {
        "certain",
        "factor",
        "here",
        "there",
    } <= told[0].keys()
    plain = explain(record, table)
    assert plain.moves == () and "What moves the accuracy" not in render(plain, "text")
