"""The table that is read first: short, and it says what it leaves out."""

from __future__ import annotations

import re
from dataclasses import replace

from orchestrator.analysis import SpeedupTable, analyse
from orchestrator.measurement import Finding
from orchestrator.report import render
from orchestrator.trial import Group
from tests import pages
from tests.analysis_runs import BASELINE, FACTORS, artifacts, bad, blocks_of, run_of, with_finding

INT8 = "full_int8"
TIMES = {BASELINE: 10_000.0, INT8: 4_000.0, "float16": 10_000.0}
DOUBT = Finding("truncated", "29 runs of the 30 asked for", "raise the timeout")


def table(**changes: object) -> SpeedupTable:
    trials = [*blocks_of(TIMES, 8), bad("dynamic_range", 0, reason="it broke")]
    trials[1] = with_finding(trials[1], DOUBT)
    made = run_of(trials, artifacts=artifacts((*TIMES, "dynamic_range")), lost={"pi": "no route"})
    return analyse(replace(made, **changes))  # type: ignore[arg-type]


def short(table: SpeedupTable, width: int = 100) -> str:
    return render(table, "text", width=width, verbose=False)


def test_a_line_has_the_speed_up_its_precision_and_the_verdict() -> None:
    shown = short(table())
    assert re.search(r"^  full_int8 +2\.\d\d× +±\d\.\d+% +▲ faster$", shown, re.MULTILINE)
    assert re.search(r"^  float16 +\S+× +±\S+% +(=|▲|▼) \w+$", shown, re.MULTILINE)
    assert "[" not in shown.split("Findings")[0]


def test_without_a_number_there_is_its_reason() -> None:
    shown = short(table())
    assert re.search(r"^  dynamic_range +– +– +✗ invalid$", shown, re.MULTILINE)
    assert re.search(r"^  here mobilenet_v1 dynamic_range: .*it broke", shown, re.MULTILINE)


def test_what_is_left_out_is_counted_and_where_to_find_it_said() -> None:
    shown = short(table())
    assert "Remedy" not in shown
    assert re.search(r"^Findings: \d+ on \d of 3 comparisons \(.*truncated 1", shown, re.MULTILINE)
    assert "orchestrate report 20260101T000000Z-abcdef --verbose" in " ".join(shown.split())
    assert "pi: no route" in shown
    assert "Remedy: raise the timeout" in " ".join(render(table(), "text").split())


def test_why_no_more_was_measured_is_said_once() -> None:
    key = Group("here", "mobilenet_v1", FACTORS, (), BASELINE).key
    shown = short(table(stopped={key: "budget of 240 s spent"}))
    assert shown.count("stopped: budget of 240 s spent (mobilenet_v1)") == 1


def test_devices_stand_side_by_side() -> None:
    shown = short(analyse(pages.run(devices=3, models=2)), width=120)
    assert "cascadelake-1 (cascadelake): litert (ai-edge-litert 2.3.0)" in shown
    across = shown[shown.index("Across devices") :]
    assert re.search(r"^  dynamic_range +\S+× ±\S+% [▲▼=]  +\S+× ±\S+% [▲▼=]", across, re.MULTILINE)
    assert shown.count("dynamic_range") == 2  # once a model
    assert "⁰" not in shown and "¹" not in shown


def test_nothing_of_it_is_wider_than_the_terminal() -> None:
    for width in (60, 80, 100):
        assert max(map(len, short(table(), width).splitlines())) <= width
