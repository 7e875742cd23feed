"""Reports: what a reader sees, what a program reads, and what a hostile device cannot do."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.analysis import SpeedupTable, Verdict, analyse
from orchestrator.errors import OrchestrateError, UsageError
from orchestrator.measurement import Finding, Memory, Outcome
from orchestrator.report import FORMATS, figures, render, write_reports
from orchestrator.report.clean import clean, csv_cell, markdown
from orchestrator.report.flat import COLUMNS, to_frame
from orchestrator.trial import Group, Variant
from tests.analysis_runs import (
    BASELINE,
    FACTORS,
    artifacts,
    bad,
    blocks_of,
    memory_trial,
    ok,
    run_of,
    with_finding,
)

INT8 = "full_int8"
TRUNCATED = Finding("truncated", "29 runs of the 30 asked for", "raise the timeout")
CONTRACT = (
    "run_id, device, microarchitecture, isa, runner, runtime_version, delegate, threads, batch, "
    "model, scheme, baseline_scheme, blocks, baseline_ms, treatment_ms, speedup, ci_low, ci_high, "
    "noise_floor, verdict, baseline_size_mb, treatment_size_mb, baseline_memory_mb, "
    "treatment_memory_mb, findings"
)


@pytest.fixture(scope="module")
def table() -> SpeedupTable:
    """Two devices measured, one lost; a scheme of each verdict; a finding, a failure."""
    times = {BASELINE: 11_200.0, "float16": 11_200.0, INT8: 3_500.0, "dynamic_range": 16_000.0}
    trials = []
    for device in ("here", "cascadelake-1"):
        trials += blocks_of(times, 10, device=device, seed=len(device))
        trials.append(bad("weight_only_int8", 0, Outcome.TIMEOUT, "took 300 s", device=device))
        trials.append(memory_trial(BASELINE, Memory(peak_bytes=61_000_000), device=device))
        trials.append(memory_trial(INT8, Memory(peak_bytes=40_200_000), device=device))
    trials = [
        with_finding(t, TRUNCATED)
        if t.trial.variant.scheme == INT8 and t.trial.device == "here" and t.trial.block == 1
        else t
        for t in trials
    ]
    group = Group("here", "mobilenet_v1", FACTORS, (), BASELINE)
    return analyse(
        run_of(
            trials,
            artifacts=artifacts((*times, "weight_only_int8")),
            devices=("here", "cascadelake-1", "pi"),
            lost={"pi": "connection refused"},
            stopped={group.key: "precision of 2 % reached"},
        )
    )


@pytest.fixture(scope="module")
def hostile() -> SpeedupTable:
    evil = "\x1b]0;owned\x07\x1b[31mred\x9b2J | <script>alert(1)</script> `x` [y](z)\u202e\r\n=1+1"
    trials = [*blocks_of({BASELINE: 2000.0, INT8: 1000.0}, 6), bad(INT8, 6, reason=evil)]
    trials[0] = with_finding(trials[0], Finding("odd;code", evil, evil))
    measured = trials[0].measurement
    assert measured is not None
    trials = [
        dataclasses.replace(
            t,
            measurement=dataclasses.replace(
                t.measurement, runtime_name=f"=cmd {evil}", runtime_version="1"
            ),
        )
        if t.measurement
        else t
        for t in trials
    ]
    return analyse(
        run_of(trials, facts={"here": {"cpu": {"microarchitecture": evil}}}, lost={"gone": evil})
    )


# -- text


def lines(table: SpeedupTable, width: int) -> list[str]:
    return render(table, "text", width=width).splitlines()


def the_line(found: list[str], *words: str) -> str:
    (line,) = [line for line in found if all(word in line for word in words)]
    return line


def section(found: list[str], title: str) -> list[str]:
    start = next(i for i, line in enumerate(found) if line.startswith(title))
    end = next((i for i in range(start + 1, len(found)) if not found[i]), len(found))
    return found[start:end]


@pytest.mark.parametrize("width", [80, 100, 120, 160])
def test_no_line_is_wider_than_the_terminal(table: SpeedupTable, width: int) -> None:
    assert max(map(len, lines(table, width))) <= width


@pytest.mark.parametrize("width", [80, 120])
def test_a_device_has_a_line_a_scheme(table: SpeedupTable, width: int) -> None:
    here = section(lines(table, width), "here (cascadelake)")
    assert here[1] == (
        "litert (ai-edge-litert 2.3.0), delegate xnnpack, 1 thread, batch 1, isa native"
    )
    assert re.search(
        r"full_int8 +3\.\d\d× \[3\.\d\d, 3\.\d\d\] .*▲ faster +11\.\d → 3\.\d\d ",
        the_line(here, INT8),
    )
    assert re.search(r"float16 .*= indistinguishable", the_line(here, "float16"))
    assert re.search(r"dynamic_range +0\.\d{3}× .*▼ slower", the_line(here, "dynamic_range"))
    assert re.search(
        r"weight_only_int8 +– .*✗ invalid", the_line(here, "weight_only_int8", "invalid")
    )
    assert the_line(here, "took 300 s").startswith("    no timing trial")
    assert the_line(here, "! truncated").startswith("    ")
    joined = " ".join(here)
    assert re.search(r"mobilenet_v1: noise floor 1\.\d{3} \(A/A \S+× \[\S+ \S+ 10 blocks\)", joined)
    assert "stopped: precision of 2 % reached" in joined
    assert "16.9 → 4.40" in joined
    assert "61.0 → 40.2" in joined


def test_below_the_tables_stand_the_notes_once(table: SpeedupTable) -> None:
    found = lines(table, 200)
    explained = the_line(found, "truncated (1 comparison)")
    assert "29 runs of the 30 asked for (in trials: 1 full_int8). Remedy: raise the timeout." in (
        explained
    )
    assert the_line(found, "here mobilenet_v1 weight_only_int8: 1 timing trial ended timeout")
    assert the_line(found, "pi: connection refused")
    assert found[1] == "106 trials: 104 ok, 2 timeout"


def test_a_lost_device_is_one_short_section(table: SpeedupTable) -> None:
    lost = section(lines(table, 100), "pi (microarchitecture unknown)")
    assert lost[1:] == [
        "not measured",
        "  ✗ mobilenet_v1: float16, full_int8, dynamic_range, weight_only_int8",
        "    the device was lost before this was measured: connection refused",
    ]


def test_devices_stand_side_by_side(table: SpeedupTable) -> None:
    across = section(lines(table, 100), "Across devices")
    assert across[1].split() == ["here", "cascadelake-1", "pi"]
    assert across[2] == "mobilenet_v1"
    interval = r"3\.\d\d× \[3\.\d\d, 3\.\d\d\] ▲"
    assert re.search(rf"full_int8 +{interval} ³ +{interval} +✗ invalid ¹$", the_line(across, INT8))
    assert across[-1].startswith("▲ faster, ▼ slower, = indistinguishable, ✗ invalid")


def test_a_footnote_is_a_finding(table: SpeedupTable) -> None:
    found = lines(table, 200)
    numbered = [line.split()[:2] for line in section(found, "Findings")[1:]]
    assert [n for n, _ in numbered] == ["¹", "²", "³", "⁴"][: len(numbered)]
    assert ["³", "truncated"] in numbered


def test_many_devices_are_split_to_fit(table: SpeedupTable) -> None:
    (some, *_) = table.rows
    rows = tuple(
        dataclasses.replace(some, device=f"a-rather-long-device-name-{i}") for i in range(9)
    )
    found = lines(dataclasses.replace(table, rows=rows, devices=()), 80)
    assert sum(line == "Across devices" for line in found) == 5
    assert max(map(len, found)) <= 80


def test_what_was_not_planned_has_no_empty_levels_in_the_pivot(table: SpeedupTable) -> None:
    (some, *_) = table.rows
    assert some.factors is not None
    threads = [dataclasses.replace(some.factors, threads=count) for count in (1, 4)]
    rows = [dataclasses.replace(some, factors=each) for each in threads]
    rows.append(dataclasses.replace(some, model="resnet50", factors=None, speedup=None))
    rows += [dataclasses.replace(row, device="other") for row in rows]
    across = section(lines(dataclasses.replace(table, rows=tuple(rows)), 100), "Across devices")
    of_scheme = [line.split() for line in across if line.startswith(f"  {some.scheme}")]
    levels = [[word for word in words if word.startswith("threads")] for words in of_scheme]
    assert levels == [["threads=1"], ["threads=4"], []]


def test_the_pivot_says_what_its_columns_do_not_share(table: SpeedupTable) -> None:
    rows = tuple(
        dataclasses.replace(row, runtime_version="2.14.0") if row.device != "here" else row
        for row in table.rows
    )
    found = lines(dataclasses.replace(table, rows=rows), 100)
    assert "Across devices (not the same on each: runtime_version)" in found


def test_one_device_needs_no_pivot() -> None:
    one = analyse(run_of(blocks_of({BASELINE: 2000.0, INT8: 1000.0}, 6)))
    assert "Across devices" not in render(one, "text")


def test_colour_adds_nothing_but_colour(table: SpeedupTable) -> None:
    coloured = render(table, "text", width=100, color=True)
    plain = render(table, "text", width=100)
    assert "\x1b[" in coloured
    assert "\x1b" not in plain
    without = re.sub(r"\x1b\[[0-9;]*m", "", coloured)
    assert [line.rstrip() for line in without.splitlines()] == plain.splitlines()


def test_an_empty_table_says_so() -> None:
    empty = analyse(run_of([], artifacts={}, devices=("here",)))
    assert "Nothing was compared" in render(empty, "text")
    for report_format in FORMATS:
        assert render(empty, report_format)


# -- csv and json


def test_conditions_and_energy_are_said_where_they_are_known(table: SpeedupTable) -> None:
    first, *others = (
        dataclasses.replace(row, control="uncontrolled: no governor") for row in table.rows
    )
    known = dataclasses.replace(first, baseline_energy_mj=2.5, energy_source="RAPL")
    told = dataclasses.replace(table, rows=(known, *others))
    assert "conditions uncontrolled: no governor" in lines(told, 100)
    assert "energy from RAPL." in render(told, "markdown").splitlines()
    found = json.loads(render(told, "json"))["speedups"][0]
    assert (found["control"], found["baseline_energy_mj"]) == ("uncontrolled: no governor", 2.5)
    header = tuple(render(told, "csv").splitlines()[0].split(","))
    assert header == (*COLUMNS, "baseline_energy_mj")  # a contract: only appended to


def test_csv_has_the_columns_of_the_contract_and_a_line_a_row(table: SpeedupTable) -> None:
    assert ", ".join(COLUMNS) == CONTRACT
    read = list(csv.DictReader(io.StringIO(render(table, "csv"))))
    assert tuple(read[0]) == COLUMNS
    assert len(read) == len(table.rows) == 12
    for cells, row in zip(read, table.rows, strict=True):
        assert (cells["device"], cells["scheme"]) == (row.device, row.scheme)
        assert cells["verdict"] == row.verdict.value
        assert cells["findings"] == ";".join(f.code for f in row.findings)
        if row.speedup is None:
            assert cells["speedup"] == cells["ci_low"] == cells["ci_high"] == ""
        else:
            assert float(cells["speedup"]) == pytest.approx(row.speedup, rel=1e-5)
    assert read[0]["threads"] == "1"
    assert read[-1]["threads"] == ""


def test_exports_are_measured_and_told_apart() -> None:
    """Each beside its own baseline, with its own files."""
    fixed = dataclasses.replace(FACTORS, export="fixed")
    trials = [
        *blocks_of({BASELINE: 2e5, INT8: 2e5}, 6, factors=FACTORS),
        *blocks_of({BASELINE: 5e4, INT8: 2e5}, 6, factors=fixed),
    ]
    files = artifacts(exports=("open", "fixed"))
    small = Variant("mobilenet_v1", INT8, "fixed")
    files[small] = dataclasses.replace(files[small], size_bytes=3 * 10**6)
    both = analyse(run_of(trials, artifacts=files))
    read = list(csv.DictReader(io.StringIO(render(both, "csv"))))
    assert tuple(read[0]) == (*COLUMNS, "export")
    told = {r["export"]: (r["verdict"], float(r["treatment_size_mb"])) for r in read}
    assert told == {"open": ("indistinguishable", 4.4), "fixed": ("slower", 3.0)}
    headings = [each for each in lines(both, 120) if each.startswith("litert (")]
    assert len(headings) == 2
    assert ["export fixed" in each for each in headings] == [True, False]


def test_json_holds_all_there_is(table: SpeedupTable) -> None:
    read = json.loads(render(table, "json"))
    assert read["format"] == 1
    assert read["run_id"] == table.run_id
    assert len(read["speedups"]) == len(table.rows)
    row = next(r for r in read["speedups"] if r["scheme"] == INT8 and r["device"] == "here")
    assert set(COLUMNS) <= set(row)
    assert row["verdict"] == "faster"
    assert row["findings"][0]["remedy"] == "raise the timeout"
    assert row["p_adjusted"] <= 0.05
    assert row["aa_low"] <= row["aa_ratio"] <= row["aa_high"]
    assert row["achieved_precision"] < 0.02
    assert row["stopped"] == "precision of 2 % reached"
    assert (row["memory_kind"], row["baseline_memory_mb"]) == ("peak", 61)
    assert read["outcomes"] == {"ok": 104, "timeout": 2}
    assert read["problems"][0]["outcome"] == "timeout"
    assert read["lost"] == {"pi": "connection refused"}


# -- markdown


def test_markdown_tables_are_whole(table: SpeedupTable) -> None:
    found = render(table, "markdown").splitlines()
    rows = [line for line in found if line.startswith("|")]
    assert {len(re.findall(r"(?<!\\)\|", row)) for row in rows} == {11}
    assert len([row for row in rows if "| mobilenet_v1 |" in row]) == len(table.rows)
    assert any(
        re.match(
            r"\| mobilenet_v1 \| full_int8 \| 3\.\d\d× \[3.* \| faster \| .* \| truncated \|", r
        )
        for r in rows
    )
    assert any(line.startswith("- **truncated** (1 comparison)") for line in found)
    assert "- pi: connection refused" in found


# -- what a device says


@pytest.mark.parametrize("report_format", FORMATS)
def test_no_control_character_reaches_a_report(hostile: SpeedupTable, report_format: str) -> None:
    shown = render(hostile, report_format, width=100)
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", shown)
    assert "owned" not in shown or report_format == "json"


def test_csv_cells_are_no_formulas(hostile: SpeedupTable) -> None:
    (row,) = csv.DictReader(io.StringIO(render(hostile, "csv")))
    assert row["runtime_version"].startswith("'=cmd")
    assert "odd_code" in row["findings"].split(";")
    assert float(row["speedup"]) == pytest.approx(2, rel=0.02)


def test_markdown_has_no_markup_of_a_device(hostile: SpeedupTable) -> None:
    shown = render(hostile, "markdown")
    assert "<script>" not in shown
    assert "&lt;script&gt;" in shown
    assert not re.search(r"(?<!\\)`x", shown)
    assert not re.search(r"(?<!\\)\[y", shown)


def test_cleaning() -> None:
    assert clean("a\x1b[1;31mb\x1b]8;;http://x\x1b\\c\x1b(Bd\te\nf\u200bg\x00") == "abcd e fg"
    assert clean("\x1b]0;never ended") == ""
    assert len(clean("x" * 10_000)) == 400
    assert markdown("a|b <i> & `c`") == "a\\|b &lt;i&gt; &amp; \\`c\\`"
    assert [csv_cell(t) for t in ("=1", "+1", "-1", "@x", "\t=1", "1=")] == [
        "'=1",
        "'+1",
        "'-1",
        "'@x",
        "'=1",
        "1=",
    ]


# -- figures


@pytest.mark.parametrize(
    ("value", "shown"),
    [(3.2371, "3.24"), (0.98765, "0.988"), (9.996, "10.0"), (123.4, "123"), (1234.5, "1230"),
     (1.0, "1.00"), (0.00012345, "0.000123"), (0.0, "0")],
)  # fmt: skip
def test_three_significant_digits(value: float, shown: str) -> None:
    assert figures.significant(value) == shown


@pytest.mark.parametrize(
    ("ratio", "shown"),
    [
        ((3.24, 3.21, 3.27), "3.24× [3.21, 3.27]"),
        ((3.24, 3.2199, 3.2701), "3.24× [3.21, 3.28]"),  # bounds go outwards
        ((1.0, 0.99512, 1.0049), "1.000× [0.995, 1.005]"),
        ((1.5, None, None), "1.50× [no interval]"),
        ((None, None, None), "–"),
    ],
)
def test_ratios(ratio: tuple[float | None, float | None, float | None], shown: str) -> None:
    assert figures.ratio(*ratio) == shown


# -- files


def test_reports_are_written_whole(table: SpeedupTable, tmp_path: Path) -> None:
    (tmp_path / "speedup.csv").write_text("old")
    written = write_reports(table, tmp_path)
    names = ["speedup.csv", "speedup.json", "speedup.md", "report.html"]
    assert [path.name for path in written] == names
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(p.name for p in written)
    assert (tmp_path / "speedup.csv").read_text(encoding="utf-8") == render(table, "csv")
    assert (tmp_path / "speedup.md").stat().st_mode & 0o777 == 0o644


def test_a_folder_that_cannot_be_written_is_named(table: SpeedupTable, tmp_path: Path) -> None:
    with pytest.raises(OrchestrateError, match=r"speedup\.csv: cannot be written .*journal"):
        write_reports(table, tmp_path / "missing")


def test_an_unknown_format_is_refused_with_those_there_are(table: SpeedupTable) -> None:
    with pytest.raises(UsageError, match="text, csv, json, markdown, latex, html"):
        render(table, "pdf")


def test_importing_reports_and_analysis_waits_with_heavy_libraries() -> None:
    code = (
        "import sys, orchestrator.report, orchestrator.analysis;"
        "print([m for m in ('numpy', 'scipy', 'pandas', 'rich') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_an_invalid_row_can_have_no_speed_up(table: SpeedupTable) -> None:
    with pytest.raises(ValueError, match="invalid, yet a speed-up"):
        dataclasses.replace(table.rows[0], verdict=Verdict.INVALID)


def test_a_single_block_shows_that_there_is_no_interval() -> None:
    run = run_of([ok(BASELINE, 0, 3000.0), ok(INT8, 0, 2000.0)])
    assert "1.50× [no interval]" in render(analyse(run), "text")


def test_a_notebook_gets_the_same_table_typed(table: SpeedupTable) -> None:
    frame = to_frame(table)
    assert tuple(frame.columns) == COLUMNS
    assert frame["blocks"].tolist() == [row.blocks for row in table.rows]
    measured = [row.speedup for row in table.rows if row.speedup is not None]
    assert frame["speedup"].dropna().tolist() == measured
    assert frame["threads"].isna().sum() == sum(row.factors is None for row in table.rows)


# -- weights


def test_every_report_says_where_the_weights_come_from(table: SpeedupTable) -> None:
    assert "weights: random(seed=0) (mobilenet_v1)" in lines(table, 100)
    assert "Weights: random(seed=0) (mobilenet_v1)." in render(table, "markdown").splitlines()
    assert json.loads(render(table, "json"))["weights"] == "random(seed=0) (mobilenet_v1)"


def test_weights_of_several_sources_are_told_apart(table: SpeedupTable) -> None:
    rows = [
        dataclasses.replace(table.rows[0], model="vgg16", baseline_weights="imagenet",
                            treatment_weights="imagenet"),
        *table.rows,
    ]  # fmt: skip
    mixed = dataclasses.replace(table, rows=tuple(rows))
    document = json.loads(render(mixed, "json"))
    assert document["weights"] == "imagenet (vgg16), random(seed=0) (mobilenet_v1)"
