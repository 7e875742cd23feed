"""What is known while devices measure: shown in place on a terminal, in lines elsewhere."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any, cast

import pytest

from orchestrator.analysis import analyse
from orchestrator.answers import so_far
from orchestrator.answers.so_far import SoFar, lines
from orchestrator.console import Console
from orchestrator.errors import JournalError
from orchestrator.fleet.progress import DeviceProgress, State
from orchestrator.runs.directory import RunDirectory
from orchestrator.runs.records import RunRecord, TrialRecord
from tests.analysis_runs import BASELINE, FACTORS, blocks_of, run_of
from tests.lab import wait_until

TIMES = {BASELINE: 10_000.0, "full_int8": 4_000.0}


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class GrowingRun:
    """A run's folder in which a block more is there at each look."""

    def __init__(self, trials: list[TrialRecord]) -> None:
        self._trials = trials
        self.looks = 0
        self.looked_from: set[str] = set()

    def read(self) -> RunRecord:
        self.looks += 1
        self.looked_from.add(threading.current_thread().name)
        return run_of(self._trials[: 3 * self.looks])


@pytest.fixture(autouse=True)
def restless(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(so_far, "_LEAST_S", 0.0)
    monkeypatch.setattr(so_far, "_REST", 0.0)


def as_folder(run: Any) -> RunDirectory:
    return cast("RunDirectory", run)


def a_trial_ends(console: Console, done: int) -> None:
    console.observe(DeviceProgress("here", State.RUNNING, "", done, 24))


def watched(stream: io.StringIO, run: Any, until: Callable[[str], bool]) -> str:
    with Console(stream) as console, SoFar(console) as known:
        known.begin(as_folder(run))
        a_trial_ends(console, 0)
        done = 0

        def goes_on() -> bool:
            nonlocal done
            done += 1
            a_trial_ends(console, done)
            return until(stream.getvalue())

        wait_until(goes_on, "what is known so far")
    return stream.getvalue()


def test_a_terminal_shows_the_first_block_and_then_the_interval() -> None:
    run = GrowingRun(blocks_of(TIMES, 8))
    shown = watched(Terminal(), run, lambda text: "8 blocks" in text)
    first, later = (shown.index(each) for each in ("1 block; an interval needs 6", "8 blocks"))
    assert first < later
    assert "±" not in shown[:first]
    assert "±" in shown[first:]
    assert "So far; verdicts follow" in shown
    assert run.looked_from == {"so far"}


def test_elsewhere_a_line_says_what_is_new() -> None:
    run = GrowingRun(blocks_of(TIMES, 8))
    shown = watched(io.StringIO(), run, lambda _: run.looks > 9)
    said = [line for line in shown.splitlines() if line.startswith("so far, ")]
    assert said[0].startswith("so far, here: mobilenet_v1 full_int8 2.")
    assert "(1 block; an interval needs 6)" in said[0]
    assert "±" in said[1] and "(6 blocks)" in said[1]
    assert len(said) <= 3


def test_a_run_that_cannot_be_read_is_left_to_whoever_reads_it_at_its_end() -> None:
    class Broken:
        looks = 0

        def read(self) -> RunRecord:
            self.looks += 1
            raise JournalError("damaged")

    run = Broken()
    assert "so far" not in watched(io.StringIO(), run, lambda _: run.looks > 0)


def test_settings_of_one_device_are_told_apart() -> None:
    threads = [replace(FACTORS, threads=n) for n in (1, 4)]
    trials = [trial for each in threads for trial in blocks_of(TIMES, 2, factors=each)]
    found = lines(analyse(run_of(trials)))
    assert [line.scheme for line in found] == ["full_int8 threads=1", "full_int8 threads=4"]
    assert all(line.note.startswith("2 blocks; ") for line in found)
