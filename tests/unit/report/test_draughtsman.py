"""Charts are drawn by a child process: what it refuses, and what it dies of, costs that chart."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.report.draughtsman import Draughtsman, NotDrawnError
from orchestrator.report.drawings import Drawing

pytest.importorskip("vl_convert", reason="needs the extra `charts`")

ROOT = Path(__file__).parents[3]
REFERENCE = next((ROOT / "results" / "reference").glob("*Z-*"))
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
