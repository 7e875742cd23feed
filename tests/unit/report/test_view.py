"""One model of the table behind every format: what one shows, all show."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import pytest

from orchestrator import figures
from orchestrator.analysis import SpeedupTable, analyse
from orchestrator.figures import Comparison, Direction, Figure
from orchestrator.measurement import Finding, Samples
from orchestrator.report import FORMATS, render, write_reports
from orchestrator.report.figures import difference
from orchestrator.report.view import COLUMNS, view_of
from tests.analysis_runs import BASELINE, blocks_of, run_of

SPEED = Figure("generation_tokens_per_s", "generation", "tokens/s", Direction.HIGHER)
SHARE = Figure("top1_share", "top-1", "share", Direction.HIGHER, Comparison.DIFFERENCE)


@pytest.fixture(autouse=True)
def two_more_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    known = {figure.name: figure for figure in (*figures.FIGURES.values(), SPEED, SHARE)}
    monkeypatch.setattr(figures, "FIGURES", MappingProxyType(known))


@pytest.fixture
def table() -> SpeedupTable:
    return analyse(run_of(blocks_of({BASELINE: 11_200.0, "full_int8": 3_500.0}, 8)))


@pytest.fixture
def with_figures() -> SpeedupTable:
    trials = []
    for record in blocks_of({BASELINE: 11_200.0, "full_int8": 3_500.0}, 8):
        treated = record.trial.variant.scheme != BASELINE
        found = {
            SPEED.name: Samples(5, mean=(20.0 if treated else 10.0) + record.trial.block / 100),
            SHARE.name: Samples(5, mean=0.73 if treated else 0.75),
        }
        assert record.measurement is not None
        trials.append(replace(record, measurement=replace(record.measurement, figures=found)))
    return analyse(run_of(trials))


@pytest.mark.parametrize("report_format", ["text", "markdown", "latex", "html", "csv", "json"])
def test_energy_and_co2_stand_in_every_format(table: SpeedupTable, report_format: str) -> None:
    known = [
        replace(
            row,
            baseline_energy_mj=81.5,
            treatment_energy_mj=27.25,
            baseline_co2_ug=9.25,
            treatment_co2_ug=3.125,
        )
        for row in table.rows
    ]
    told = render(replace(table, rows=tuple(known)), report_format, width=140)
    assert all(number in told for number in ("81.5", "27.2", "9.25", "3.12"))
    assert "energy" in told.lower() or "mJ" in told
    plain = render(table, report_format, width=140)
    assert "mJ" not in plain and "CO₂" not in plain


def test_what_a_narrow_terminal_has_no_column_for_stands_below_the_line(
    table: SpeedupTable,
) -> None:
    known = [replace(row, baseline_energy_mj=81.5, treatment_energy_mj=27.25) for row in table.rows]
    lines = render(replace(table, rows=tuple(known)), "text", width=80).splitlines()
    assert any("energy 81.5 → 27.2 mJ" in line for line in lines)


@pytest.mark.parametrize("report_format", FORMATS)
def test_figures_beside_the_time_stand_in_every_format_but_the_table_of_speedups(
    with_figures: SpeedupTable, report_format: str
) -> None:
    told = render(with_figures, report_format, width=140)
    if report_format == "csv":
        assert "tokens" not in told, "speedup.csv is a contract; figures.csv has them"
    else:
        assert "tokens" in told and "better" in told and "worse" in told


def test_figures_have_a_file_of_their_own(
    with_figures: SpeedupTable, table: SpeedupTable, tmp_path: Path
) -> None:
    folder = tmp_path
    write_reports(with_figures, folder)
    speed, share = csv.DictReader(io.StringIO((folder / "figures.csv").read_text()))
    assert (speed["figure"], speed["unit"], speed["verdict"]) == (SPEED.name, "tokens/s", "better")
    assert float(speed["gain"]) == pytest.approx(2, rel=0.01) and speed["blocks"] == "8"
    assert (share["comparison"], share["verdict"]) == ("difference", "worse")
    assert float(share["gain"]) == pytest.approx(-0.02)
    assert (speed["runner"], speed["threads"]) == ("litert", "1")
    (folder / "figures.csv").unlink()
    write_reports(table, folder)
    assert not (folder / "figures.csv").exists()


def test_what_was_found_of_a_comparison_without_a_time_is_explained_once() -> None:
    remark = Finding("requantized", "it was quantized before", "take the first weights")
    trials = []
    for record in blocks_of({BASELINE: 11_200.0, "full_int8": 3_500.0}, 8):
        found = {each.name: Samples(5, mean=0.5) for each in (SPEED, SHARE)}
        assert record.measurement is not None
        told = replace(record.measurement, steady=None, warmup=None, figures=found)
        trials.append(replace(record, measurement=told))
    run = run_of(trials)
    files = {v: replace(a, remarks=(remark,)) for v, a in run.artifacts.items()}
    (said,) = [
        each
        for each in view_of(analyse(replace(run, artifacts=files))).explanations
        if each.code == remark.code
    ]
    assert said.comparisons == 1 and "it was quantized before" in said.message


def test_a_table_without_figures_says_nothing_of_them(table: SpeedupTable) -> None:
    assert "figures" not in json.loads(render(table, "json"))
    assert view_of(table).figures == ()


def test_a_column_is_named_once_for_all_formats(table: SpeedupTable) -> None:
    markdown, html, latex = (render(table, f) for f in ("markdown", "html", "latex"))
    for name in ("time", "size"):
        title, header = COLUMNS[name].title, COLUMNS[name].header
        assert title in markdown and title in html and header in latex


@pytest.mark.parametrize(
    ("centre", "low", "high", "shown"),
    [
        (-0.0123, -0.0312, 0.0081, "−0.012 [−0.032, +0.009]"),
        (0.0, 0.0, 0.0, "0.0000 [0.0000, 0.0000]"),
        (0.25, None, None, "+0.25 [no interval]"),
        (None, None, None, "–"),
    ],
)
def test_differences(
    centre: float | None, low: float | None, high: float | None, shown: str
) -> None:
    assert difference(centre, low, high) == shown
