"""Percentiles of single inferences: counted as LoadGen counts, resampled by processes."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from orchestrator.analysis import analyse
from orchestrator.analysis.table import SpeedupTable, Tail
from orchestrator.analysis.tails import (
    early_stopping_rank,
    inferences_needed,
    with_quick_tails,
    with_tails,
)
from orchestrator.report import render
from orchestrator.report.flat import tails_to_csv
from orchestrator.runs.records import RunRecord, TrialRecord
from tests.analysis_runs import BASELINE, bad, blocks_of, run_of

INT8 = "full_int8"
CENTRES = {BASELINE: 100_000.0, INT8: 50_000.0}


@pytest.mark.parametrize(("percentile", "needs"), [(50, 11), (90, 64), (95, 130), (99, 662)])
def test_a_percentile_needs_what_loadgen_asks_for(percentile: int, needs: int) -> None:
    """64 and 662 are what LoadGen prints as the fewest queries of a single stream."""
    assert inferences_needed(percentile) == needs
    assert early_stopping_rank(needs, percentile) == 1
    assert early_stopping_rank(needs - 1, percentile) is None


@pytest.mark.parametrize(
    ("inferences", "discarded"), [(2048, 172), (2116, 178), (2145, 181), (7469, 685)]
)
def test_the_bound_is_loadgen_s(inferences: int, discarded: int) -> None:
    """Of published results: "Would discard 172 highest latency queries", of 2048, for p90."""
    rank = early_stopping_rank(inferences, 90)
    assert rank is not None and rank - 1 == discarded


def steady(record: TrialRecord, count: int, stretch: float = 1.0) -> tuple[float, ...]:
    """Times of a process around its centre, 1 % apart; the last twentieth takes ``stretch``."""
    assert record.measurement is not None
    centre = record.measurement.timing.centre_us or 0.0
    slow = count - count // 20
    return tuple(
        centre * (0.99 + 0.02 * place / count) * (stretch if place >= slow else 1)
        for place in range(count)
    )


def told(times_of: Callable[[TrialRecord], tuple[float, ...]], blocks: int = 8) -> RunRecord:
    return replace(run_of(blocks_of(CENTRES, blocks)), times_of=times_of)


def table_of(run: RunRecord) -> SpeedupTable:
    return with_tails(run, analyse(run))


def tail(table: SpeedupTable, scheme: str, percentile: int) -> Tail:
    (found,) = [t for t in table.tails if (t.scheme, t.percentile) == (scheme, percentile)]
    return found


def test_percentiles_are_of_all_inferences_and_speed_ups_of_percentiles() -> None:
    run = told(lambda r: steady(r, 100, 3.0 if r.trial.variant.scheme == INT8 else 1.0))
    table = table_of(run)
    every = sorted(
        time
        for record in run.trials
        if record.trial.variant.scheme == INT8
        for time in run.times_of(record)
    )
    for percentile in (50, 90, 95, 99):
        found = tail(table, INT8, percentile)
        assert (found.processes, found.inferences) == (8, 800)
        assert found.ms == every[800 * percentile // 100] / 1000
        assert found.low_ms is not None and found.high_ms is not None
        assert found.low_ms <= found.ms <= found.high_ms
        assert found.at_most_ms is not None and found.at_most_ms >= found.ms
    # twice as fast, but for the twentieth that takes three times as long
    middle, end = tail(table, INT8, 50), tail(table, INT8, 99)
    assert middle.speedup == pytest.approx(2, rel=0.05)
    assert middle.speedup_low is not None and middle.speedup_low > 1.8
    assert end.speedup == pytest.approx(2 / 3, rel=0.05)
    assert end.speedup_high is not None and end.speedup_high < 1
    assert table == table_of(run)


def test_an_interval_knows_that_processes_differ_and_inferences_do_not() -> None:
    """Ten times as many inferences of the same processes say no more."""
    widths = []
    for count in (50, 500):
        run = told(lambda r, n=count: steady(r, n))  # type: ignore[misc]
        found = tail(table_of(run), BASELINE, 50)
        assert found.low_ms is not None and found.high_ms is not None
        widths.append(found.high_ms - found.low_ms)
    assert widths[1] == pytest.approx(widths[0], rel=0.2)
    assert np.ptp([r.measurement.timing.centre_us for r in run.trials if r.measurement]) > 0


def test_too_few_inferences_are_said_and_have_no_interval() -> None:
    table = table_of(told(lambda r: steady(r, 10)))
    short = tail(table, INT8, 99)
    assert (short.inferences, short.needs, short.at_most_ms) == (80, 662, None)
    assert short.low_ms is None and short.speedup_low is None and short.speedup is not None
    assert tail(table, INT8, 90).speedup_low is not None
    text = render(table, "markdown")
    assert "80 inferences are too few: p95 needs 130, p99 needs 662" in text


def test_the_worst_has_no_interval() -> None:
    worst = tail(table_of(told(lambda r: steady(r, 200))), INT8, 100)
    assert worst.needs == 0 and worst.at_most_ms is None
    assert worst.speedup is not None and worst.speedup_low is None


def test_fewer_than_six_processes_have_no_interval() -> None:
    found = tail(table_of(told(lambda r: steady(r, 100), blocks=5)), INT8, 50)
    assert found.processes == 5 and found.low_ms is None and found.speedup_high is None


def test_what_may_not_be_compared_has_no_speed_up() -> None:
    good = [r for r in blocks_of(CENTRES, 6) if r.trial.variant.scheme != BASELINE]
    run = run_of([*good, *(bad(BASELINE, block) for block in range(6))])
    table = table_of(replace(run, times_of=lambda r: steady(r, 100)))
    assert {t.scheme for t in table.tails} == {INT8}
    assert all(t.speedup is None and t.baseline_ms is None for t in table.tails)


def test_without_single_times_there_are_no_tails() -> None:
    table = table_of(run_of(blocks_of(CENTRES, 6)))
    assert table.tails == ()
    assert "tails" not in json.loads(render(table, "json"))
    for form in ("text", "markdown", "latex", "html"):
        assert "Tail latency" not in render(table, form)


def test_a_block_that_one_side_lacks_counts_for_neither() -> None:
    run = told(
        lambda r: () if (r.trial.block, r.trial.variant.scheme) == (0, INT8) else steady(r, 100)
    )
    table = table_of(run)
    assert tail(table, INT8, 50).processes == 7
    assert tail(table, BASELINE, 50).processes == 8


def test_every_format_shows_them_and_programs_read_them() -> None:
    table = table_of(told(lambda r: steady(r, 100)))
    for form in ("text", "markdown", "latex", "html"):
        shown = render(table, form, width=200)
        assert "Tail latency" in shown and "p95" in shown and "worst" in shown
    rows = list(csv.DictReader(io.StringIO(tails_to_csv(table))))
    assert [row["percentile"] for row in rows] == ["50", "90", "95", "99", "100"] * 2
    assert rows[0]["speedup"] == "" and float(rows[5]["speedup"]) == pytest.approx(2, rel=0.05)
    assert len(json.loads(render(table, "json"))["tails"]) == 10


def test_a_large_run_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    run = told(lambda r: steady(r, 100))
    table = analyse(run)
    assert with_quick_tails(run, table).tails
    monkeypatch.setattr("orchestrator.analysis.tails._MOST_LOGS", 3)
    assert with_quick_tails(run, table) is table
