"""Whether two sides compute something, and the same: what each answered to the same inputs."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from orchestrator.analysis import Verdict, analyse
from orchestrator.analysis.sides.outputs import error_between
from orchestrator.measurement import Outcome, Outputs
from orchestrator.report import render
from orchestrator.runs.records import RunRecord
from orchestrator.trial import TrialKind
from tests.analysis_runs import FACTORS, answer, answering, ok

LIVE = answer(0.5, -1.0, 2.0, 0.25)
NEAR = answer(0.51, -1.02, 1.97, 0.26)
ZEROS = answer(0.0, 0.0, 0.0, 0.0)
OTHER = answer(-2.0, 1.0, -2.0, 3.0)


def codes(run: RunRecord) -> set[str]:
    about = ("computes", "outputs_", "scale_")
    return {f.code for row in analyse(run).rows for f in row.findings if f.code.startswith(about)}


def test_answers_that_are_alike_are_no_finding() -> None:
    assert codes(answering(LIVE, NEAR)) == set()


def test_a_runner_that_shows_nothing_is_compared_as_before() -> None:
    run = answering(LIVE, LIVE)
    blind = tuple(
        replace(r, measurement=replace(r.measurement, outputs=None)) if r.measurement else r
        for r in run.trials
    )
    (row,) = analyse(replace(run, trials=blind)).rows
    assert row.verdict is Verdict.FASTER


@pytest.mark.parametrize(
    "dead", [ZEROS, answer(0.3, 0.3, 0.3, 0.3), answer(1.0, math.nan, 2.0, 3.0)]
)
def test_a_side_that_computes_nothing_has_no_speed(dead: Outputs) -> None:
    for run in (answering(LIVE, dead), answering(dead, LIVE)):
        (row,) = analyse(run).rows
        assert row.verdict is Verdict.INVALID and row.speedup is None
        assert codes(run) == {"computes_nothing"}


def test_infinite_answers_are_named() -> None:
    (row,) = analyse(answering(LIVE, answer(*[-math.inf] * 4))).rows
    assert "4 of 4 values that are not finite" in row.reason


def test_random_weights_may_scatter_and_are_told() -> None:
    run = answering(LIVE, OTHER, weights="random(seed=0)")
    (row,) = analyse(run).rows
    assert codes(run) == {"outputs_disagree"} and row.verdict is Verdict.FASTER
    assert codes(answering(LIVE, OTHER)) == {"computes_otherwise"}


def test_the_steps_of_a_coarse_output_explain_their_own_error() -> None:
    assert codes(answering(answer(0.2, 0.9), answer(0.0, 1.0))) == set()
    assert codes(answering(answer(0.2, 0.4), answer(0.0, 0.5))) == {"outputs_disagree"}
    assert codes(answering(answer(0.2, 0.4), answer(0.0, 0.5, step=0.5))) == set()


def test_what_was_fed_otherwise_is_not_compared() -> None:
    assert codes(answering(LIVE, replace(OTHER, input_error=0.4))) == set()


def test_one_file_that_answers_otherwise_elsewhere_is_doubtful_in_both_places() -> None:
    here = answering(LIVE, NEAR)
    there = answering(OTHER, OTHER, factors=replace(FACTORS, delegate="none"))
    both = analyse(replace(here, trials=(*here.trials, *there.trials)))
    assert [row.verdict for row in both.rows] == [Verdict.INVALID] * 2
    assert "the same file of float32 answers otherwise under" in both.rows[0].reason
    same = answering(NEAR, LIVE, factors=replace(FACTORS, delegate="none"))
    assert codes(replace(here, trials=(*here.trials, *same.trials))) == set()


def test_other_inputs_are_no_other_place() -> None:
    here = answering(LIVE, NEAR)
    batch = answering(OTHER, OTHER, factors=replace(FACTORS, batch=2))
    assert codes(replace(here, trials=(*here.trials, *batch.trials))) == set()


def test_a_detector_that_finds_one_more_is_not_called_another_network() -> None:
    """Its outputs are as long as what it finds: nothing stands where it stood."""
    found = answering(answer(0.9, 0.8, name="scores"), answer(-9.0, 0.1, 0.8, name="scores"))
    assert "computes_otherwise" not in codes(found)
    assert "computes_otherwise" in codes(
        answering(answer(0.9, 0.8, name="scores"), answer(-9.0, 0.1, name="scores"))
    )


def detector(*, count: float, odd: float) -> Outputs:
    """What a detector with three places answers, of which ``count`` are written; ``odd`` stands in
    the last one."""
    every = {
        "boxes": ((1, 3, 4), [0.1, 0.2, 0.3, 0.4, 0.2, 0.2, 0.5, 0.6, odd, odd, odd, odd]),
        "classes": ((1, 3), [1.0, 0.0, odd]),
        "scores": ((1, 3), [0.9, 0.6, odd]),
        "count": ((1,), [count]),
    }
    made = []
    for name, (shape, values) in every.items():
        (summary,) = answer(*values, name=name).summaries
        made.append(replace(summary, shape=shape))
    return Outputs(tuple(made), 0.0)


def test_what_a_detector_never_wrote_need_not_be_a_number() -> None:
    right, beyond = detector(count=3, odd=0.5), detector(count=2, odd=math.nan)
    assert "computes_nothing" not in codes(answering(right, beyond))
    within = detector(count=3, odd=math.nan)
    assert "computes_nothing" in codes(answering(right, within))


def test_the_error_is_relative_to_the_reference() -> None:
    (one,), (other,) = answer(3.0, 4.0).summaries, answer(3.0, 3.0).summaries
    assert error_between(one, other) == pytest.approx(0.2)
    (zero,) = answer(0.0, 0.0).summaries
    assert error_between(zero, one) is None


BINARY = replace(FACTORS, runner="benchmark_model", runtime="")


def timed_blind(base: Outputs | None, treated: Outputs | None, reason: str = "") -> RunRecord:
    """A run of a runner that shows no outputs, whose files another one looked at."""
    seen = answering(LIVE, LIVE, factors=BINARY)
    trials = tuple(
        replace(r, measurement=replace(r.measurement, outputs=None)) if r.measurement else r
        for r in seen.trials
    )
    checks = []
    for scheme, outputs in (("float32", base), ("full_int8", treated)):
        made = ok(scheme, -1, 1.0, kind=TrialKind.CHECK)
        if outputs is None and not reason:
            continue
        if made.measurement is not None and outputs is not None:
            checks.append(replace(made, measurement=replace(made.measurement, outputs=outputs)))
        else:
            checks.append(
                replace(made, outcome=Outcome.INCOMPATIBLE, measurement=None, reason=reason)
            )
    return replace(seen, trials=trials, checks=tuple(checks))


def test_a_network_that_computes_nothing_is_seen_by_another_runtime() -> None:
    table = analyse(timed_blind(LIVE, ZEROS))
    (row,) = table.rows
    assert row.verdict is Verdict.INVALID
    assert "answers nothing but zeros" in row.reason
    assert "(seen under ai-edge-litert 2.3.0, not in what was timed)" in row.reason


def test_a_report_says_who_looked_at_what_was_computed() -> None:
    (row,) = analyse(timed_blind(LIVE, NEAR)).rows
    assert row.verdict is Verdict.FASTER
    said = "outputs looked at once by ai-edge-litert 2.3.0, in the place of benchmark_model, which"
    assert said in render(analyse(timed_blind(LIVE, NEAR)), "markdown")
    for run, why in (
        (timed_blind(None, None), "no other runtime looked in its place"),
        (timed_blind(LIVE, None, "there is no TFLite runtime"), "there is no TFLite runtime"),
    ):
        (row,) = analyse(run).rows
        assert row.verdict is Verdict.FASTER and row.looked_at.startswith("by nobody: ")
        assert why in render(analyse(run), "markdown")
    assert analyse(answering(LIVE, NEAR)).rows[0].looked_at == ""
