"""Charts are drawn by a child process: what it refuses, and what it dies of, costs that chart."""

from __future__ import annotations

import dataclasses
import os
import resource
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.analysis import analyse
from orchestrator.report import charts, render, write_charts, write_reports
from orchestrator.report.draughtsman import Draughtsman, NotDrawnError
from orchestrator.report.drawing import Drawing
from tests.analysis_runs import BASELINE, FACTORS, blocks_of, run_of

pytest.importorskip("vl_convert", reason="needs the extra `charts`")

ROOT = Path(__file__).parents[3]
REFERENCE = next((ROOT / "results" / "reference").glob("*Z-*"))
SWEPT = [
    trial
    for threads in (1, 2)
    for trial in blocks_of(
        {BASELINE: 1e3, "full_int8": 500.0},
        6,
        factors=dataclasses.replace(FACTORS, threads=threads),
    )
]
BAR = {"data": {"values": [{"a": 1}]}, "mark": "bar", "encoding": {"x": {"field": "a"}}}


def drawing(**specification: object) -> Drawing:
    return Drawing("heat-map", "heat-map", "", specification)


@pytest.fixture
def draughtsman() -> Draughtsman:
    return Draughtsman()


def test_both_shapes_come_from_one_child(draughtsman: Draughtsman) -> None:
    assert draughtsman.draw(drawing(**BAR), "svg").startswith(b"<svg")
    child = draughtsman._child
    assert draughtsman.draw(drawing(**BAR), "png").startswith(b"\x89PNG")
    assert draughtsman._child is child and child is not None
    draughtsman.close()
    assert child.returncode == 0


def test_a_chart_that_is_refused_costs_no_other(draughtsman: Draughtsman) -> None:
    with pytest.raises(NotDrawnError, match=r"heat-map cannot be drawn .*the tables have its"):
        draughtsman.draw(drawing(mark={"type": 7}), "svg")
    assert draughtsman.draw(drawing(**BAR), "svg").startswith(b"<svg")
    draughtsman.close()


def test_what_cannot_be_described_is_told_by_its_error(draughtsman: Draughtsman) -> None:
    with pytest.raises(NotDrawnError, match=r"the charts cannot be drawn \(AttributeError: .*rows"):
        draughtsman.describe("table", "no table", (), None, validate=False)
    assert draughtsman.draw(drawing(**BAR), "svg").startswith(b"<svg")
    draughtsman.close()


def test_one_death_is_forgiven_and_two_end_the_drawing(draughtsman: Draughtsman) -> None:
    for _ in range(2):
        draughtsman.draw(drawing(**BAR), "svg")
        assert draughtsman._child is not None
        os.kill(draughtsman._child.pid, signal.SIGKILL)
        with pytest.raises(NotDrawnError, match=r"died of it \(signal SIGKILL\)"):
            draughtsman.draw(drawing(**BAR), "svg")
    with pytest.raises(NotDrawnError, match="SIGKILL"):
        draughtsman.draw(drawing(**BAR), "svg")
    assert draughtsman._child is None


@pytest.fixture
def cramped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever process of ours is started gets 100 MB of addresses: too few to load a library."""
    wrapper = tmp_path / "python"
    wrapper.write_text(f'#!/bin/sh\nulimit -v 100000\nexec {shlex.quote(sys.executable)} "$@"\n')
    wrapper.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(wrapper))
    monkeypatch.setattr(charts, "_DRAUGHTSMAN", Draughtsman())


@pytest.mark.usefixtures("cramped")
def test_where_charts_cannot_even_be_described_the_tables_are_there(tmp_path: Path) -> None:
    told: list[str] = []
    table = analyse(run_of(SWEPT))
    text = " ".join(render(table, "html").split())
    assert "the charts cannot be drawn (the chart library died of it" in text
    assert "the tables have their figures" in text and "full_int8" in text
    assert "<svg" not in text and 'id="method"' in text
    assert [p.name for p in write_reports(table, tmp_path, say=told.append)][-1] == "report.html"
    assert write_charts(table, tmp_path / "charts", say=told.append) == ()
    assert len(told) == 2 and all("cannot be drawn" in each for each in told)


def test_the_process_with_the_tables_never_loads_a_chart_library() -> None:
    script = (
        "import sys\n"
        "from orchestrator import cli\n"
        f"assert cli.main(['report', {str(REFERENCE)!r}, '--format', 'html']) == 0\n"
        "assert not {'altair', 'vl_convert'} & sys.modules.keys()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "<svg" in done.stdout


def test_a_limit_of_addresses_costs_charts_and_no_table(tmp_path: Path) -> None:
    """Of 4 GB, which batch systems set, the chart library's engine gets no room."""
    for shape in ("html", "csv"):
        done = subprocess.run(
            [sys.executable, "-m", "orchestrator", "report", REFERENCE, "--format", shape],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30)),
        )
        assert done.returncode == 0, done.stderr
        assert "mobilenet_v1" in done.stdout
        if shape == "html":
            assert "cannot be drawn (the chart library died of it" in done.stdout
            assert "ulimit -v" in done.stdout and "<svg" not in done.stdout
