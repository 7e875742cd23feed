"""Figures beside the time: how a trial tells them, how two sides of one compare."""

from __future__ import annotations

import math
from dataclasses import replace
from types import MappingProxyType

import pytest

from orchestrator import figures
from orchestrator.analysis import analyse, comparison_precision
from orchestrator.analysis.table import FigureComparison, FigureVerdict
from orchestrator.figures import Comparison, Direction, Figure
from orchestrator.measurement import Invocations, Measurement, Samples
from orchestrator.runs.records import TrialRecord
from tests.analysis_runs import BASELINE, ok, run_of

SPEED = Figure("generation_tokens_per_s", "generation", "tokens/s", Direction.HIGHER)
SHARE = Figure("top1_share", "top-1", "share", Direction.HIGHER, Comparison.DIFFERENCE)


@pytest.fixture(autouse=True)
def two_more_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    known = {figure.name: figure for figure in (*figures.FIGURES.values(), SPEED, SHARE)}
    monkeypatch.setattr(figures, "FIGURES", MappingProxyType(known))


def without_time(scheme: str, block: int, replicate: int = 0, **found: float) -> TrialRecord:
    record = ok(scheme, block, 1000.0, replicate=replicate)
    assert record.measurement is not None
    samples = {name: Samples(5, mean=value) for name, value in found.items()}
    return replace(record, measurement=replace(record.measurement, steady=None, figures=samples))


def records(treatment: float, *, blocks: int = 8, noise: float = 0.01) -> list[TrialRecord]:
    """Blocks of a baseline of 10 tokens/s and 0.75 right, and of a treatment of ``treatment``
    times the speed that is right as often."""
    made = []
    for block in range(blocks):
        wobble = 1 + noise * math.sin(block)
        for replicate in (0, 1):
            speed = 10.0 * (wobble if replicate else 1 / wobble)
            made.append(
                without_time(
                    BASELINE, block, replicate, generation_tokens_per_s=speed, top1_share=0.75
                )
            )
        made.append(
            without_time(
                "full_int8",
                block,
                generation_tokens_per_s=10.0 * treatment * wobble,
                top1_share=0.75,
            )
        )
    return made


def of(rows: tuple[FigureComparison, ...], figure: Figure) -> FigureComparison:
    (row,) = [row for row in rows if row.figure == figure]
    return row


def test_more_tokens_a_second_are_better_and_fewer_are_worse() -> None:
    row = of(analyse(run_of(records(2.0))).figures, SPEED)
    assert row.verdict is FigureVerdict.BETTER
    assert row.gain == pytest.approx(2.0, rel=0.03) and row.low is not None and row.low > 1.9
    assert row.baseline == pytest.approx(10, rel=0.02) and row.blocks == 8
    row = of(analyse(run_of(records(0.5))).figures, SPEED)
    assert row.verdict is FigureVerdict.WORSE and row.gain == pytest.approx(0.5, rel=0.03)


def test_a_share_is_compared_as_a_difference() -> None:
    row = of(analyse(run_of(records(2.0))).figures, SHARE)
    assert (row.gain, row.low, row.high) == (0.0, 0.0, 0.0)
    assert row.verdict is FigureVerdict.INDISTINGUISHABLE and "includes 0" in row.reason


def test_an_effect_within_the_noise_floor_is_none() -> None:
    row = of(analyse(run_of(records(1.002, noise=0.05))).figures, SPEED)
    assert row.verdict is FigureVerdict.INDISTINGUISHABLE
    assert row.noise_floor is not None and row.noise_floor > 1.02


def test_a_group_without_a_time_has_no_speedup() -> None:
    table = analyse(run_of(records(2.0)))
    assert table.rows == () and table.noise_floors == () and len(table.figures) == 2


def test_a_group_with_times_has_both() -> None:
    timed = [
        replace(r, measurement=replace(r.measurement, steady=Invocations(30, median_us=1000.0)))
        for r in records(2.0)
        if r.measurement is not None
    ]
    table = analyse(run_of(timed))
    assert len(table.rows) == 1 and len(table.figures) == 2


def test_a_finding_that_forbids_a_comparison_forbids_that_of_its_figures() -> None:
    alone = [r for r in records(2.0) if r.trial.variant.scheme == BASELINE]
    beside = [
        replace(r, trial=replace(r.trial, block=r.trial.block + 100))
        for r in records(2.0)
        if r.trial.variant.scheme != BASELINE
    ]
    row = of(analyse(run_of(alone + beside)).figures, SPEED)
    assert row.verdict is FigureVerdict.INVALID and row.gain is None and row.reason


def test_precision_is_that_of_the_figures_where_there_is_no_time() -> None:
    (width,) = comparison_precision(records(2.0), BASELINE).values()
    assert width is not None and 0 < width < 0.05


def test_a_figure_that_nobody_knows_is_left_out() -> None:
    made = [
        replace(r, measurement=replace(r.measurement, figures={"of_a_later_version": Samples(1)}))
        for r in records(2.0)
        if r.measurement is not None
    ]
    assert analyse(run_of(made)).figures == ()


def test_the_journal_keeps_figures_and_old_lines_have_none() -> None:
    measured = Measurement(
        init_us=None,
        first_us=None,
        warmup=None,
        steady=None,
        figures={SPEED.name: Samples(5, minimum=9.0, maximum=11.0, mean=10.0, median=10.1)},
    )
    assert Measurement.from_json(measured.to_json()) == measured
    assert measured.centre(SPEED.name) == 10.1 and measured.centre("inference_us") is None
    timed = replace(measured, steady=Invocations(30, mean_us=5.0), figures={})
    assert "figures" not in timed.to_json() and timed.centre("inference_us") == 5.0
    with pytest.raises(ValueError, match="needs another figure"):
        replace(measured, figures={})


@pytest.mark.parametrize(
    ("figure", "baseline", "treatment", "shown"),
    [
        (figures.INFERENCE_TIME, 20.0, 10.0, 2.0),
        (SPEED, 10.0, 20.0, 2.0),
        (SHARE, 0.75, 0.70, -0.05),
    ],
)
def test_a_gain_is_positive_where_the_treatment_is_better(
    figure: Figure, baseline: float, treatment: float, shown: float
) -> None:
    assert figure.shown(figure.gain(baseline, treatment)) == pytest.approx(shown)


def test_what_a_logarithm_cannot_take_is_not_usable() -> None:
    assert SPEED.usable(0.0) is None and SHARE.usable(0.0) == 0.0
    assert SPEED.usable(math.nan) is None and SHARE.usable(math.inf) is None
