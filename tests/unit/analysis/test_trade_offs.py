"""What a scheme's speed costs: which schemes no other one of the model is as good as."""

from __future__ import annotations

from dataclasses import replace

from orchestrator.analysis import analyse
from orchestrator.analysis.accuracy.trade_offs import with_front
from orchestrator.analysis.table import TradeOff
from orchestrator.report import charts, render
from orchestrator.report.drawings import describe
from tests.analysis_runs import BASELINE, FACTORS, blocks_of, run_of
from tests.unit.analysis.test_accuracy import INT8, answered, random_weights, samples_of, scores
from tests.unit.measures.accuracy import made


def off(scheme: str, speedup: float, points: float, size_mb: float | None) -> TradeOff:
    return TradeOff(
        device="here", model="m", factors=FACTORS, scheme=scheme, speedup=speedup, ci_low=None,
        ci_high=None, difference=points / 100, low=None, high=None, size_mb=size_mb,
        size_share=None,
    )  # fmt: skip


def front(*some: TradeOff) -> set[str]:
    return {each.scheme for each in with_front(some) if each.front}


def test_a_scheme_that_another_one_beats_in_everything_is_behind_the_front() -> None:
    base = off(BASELINE, 1.0, 0.0, 16.0)
    fast, slow = off("int8", 2.0, -1.0, 4.0), off("int4", 0.8, -9.0, 5.0)
    assert front(base, fast, slow) == {BASELINE, "int8"}


def test_being_the_smallest_is_enough_for_the_front_and_equals_share_it() -> None:
    base = off(BASELINE, 1.0, 0.0, 16.0)
    small = off("int4", 0.8, -9.0, 2.0)
    twins = off("one", 2.0, -1.0, 4.0), off("other", 2.0, -1.0, 4.0)
    assert front(base, small, *twins) == {BASELINE, "int4", "one", "other"}


def test_one_of_unknown_size_is_never_said_to_be_beaten() -> None:
    assert front(off(BASELINE, 1.0, 0.0, 16.0), off("int4", 0.8, -9.0, None)) == {BASELINE, "int4"}


def test_a_run_has_the_baseline_and_every_scheme_of_which_both_are_known() -> None:
    base, labels = scores(3)
    outputs = {BASELINE: made.answers(base), INT8: made.answers(base)}
    table = analyse(answered(samples_of(labels), outputs))
    first, second = table.trade_offs
    (row,), (accuracy,) = table.rows, table.accuracy
    assert (first.scheme, first.speedup, first.difference) == (BASELINE, 1.0, 0.0)
    assert (second.speedup, second.ci_low) == (row.speedup, row.ci_low)
    assert (second.difference, second.low) == (accuracy.difference, accuracy.low)
    assert second.size_share == 4.4 / 16.9
    # as right as the baseline, quicker and smaller
    assert not first.front and second.front


def test_what_has_no_accuracy_costs_nothing_that_could_be_said() -> None:
    assert analyse(random_weights()).trade_offs == ()
    timed = analyse(run_of(blocks_of({BASELINE: 100.0, INT8: 50.0}, 6)))
    assert timed.trade_offs == () and "trade_offs" not in render(timed, "json")


def test_the_chart_has_a_mark_for_each_with_both_intervals_and_its_size() -> None:
    if not charts.available():
        return
    base, labels = scores(3)
    outputs = {BASELINE: made.answers(base), INT8: made.answers(-base)}
    table = analyse(answered(samples_of(labels), outputs))
    (chart,) = (each for each in describe(table) if each.kind == "trade-off")
    (values,) = chart.specification["datasets"].values() if "datasets" in chart.specification else (
        chart.specification["data"]["values"],
    )  # fmt: skip
    by_scheme = {each["scheme"]: each for each in values}
    row, (accuracy,) = table.rows[0], table.accuracy
    assert accuracy.low is not None
    assert by_scheme[INT8]["left"] == row.ci_low and by_scheme[INT8]["low"] == 100 * accuracy.low
    assert by_scheme[INT8]["share"] < 1 and by_scheme[INT8]["front"]
    assert by_scheme[BASELINE]["share"] == 1
    page = render(table, "html")
    assert "What the speed costs" in page and 'id="trade-off"' in page
    none = replace(table, trade_offs=())
    assert 'id="trade-off"' not in render(none, "html")
