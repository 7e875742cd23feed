"""What is known while devices measure: shown in place on a terminal, in lines elsewhere."""

from __future__ import annotations

import io
from dataclasses import replace

from orchestrator.analysis import analyse
from orchestrator.answers.so_far import SoFar, lines
from orchestrator.console import Console
from tests.analysis_runs import BASELINE, FACTORS, blocks_of, run_of

TIMES = {BASELINE: 10_000.0, "full_int8": 4_000.0}


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def shown_as_blocks_end(stream: io.StringIO) -> list[str]:
    """What a run of eight blocks adds to the stream, block by block, and at its end."""
    trials, seen = blocks_of(TIMES, 8), []
    with Console(stream) as console:
        known = SoFar(console)
        for block in range(1, 9):
            known.show(analyse(run_of(trials[: 3 * block])))
            seen.append(stream.getvalue())
    known.show(analyse(run_of(trials)))  # too late: the table itself is shown
    seen.append(stream.getvalue())
    return [text.removeprefix(before) for before, text in zip(["", *seen[:-1]], seen, strict=True)]


def test_a_terminal_shows_the_first_block_and_then_the_interval() -> None:
    first, *_, sixth, seventh, eighth, last = shown_as_blocks_end(Terminal())
    assert "So far; verdicts follow" in first
    assert "1 block; an interval needs 6" in first and "±" not in first
    assert "6 blocks" in sixth and "±" in sixth
    assert "7 blocks" in seventh and "8 blocks" in eighth
    assert "blocks" not in last  # the table itself follows


def test_elsewhere_a_line_says_what_is_new() -> None:
    added = shown_as_blocks_end(io.StringIO())
    assert added[0].startswith("so far, here: mobilenet_v1 full_int8 2.")
    assert added[0].endswith("(1 block; an interval needs 6)\n")
    assert added[1:5] == [""] * 4
    assert "±" in added[5] and "(6 blocks)" in added[5]
    assert added[8] == ""


def test_settings_of_one_device_are_told_apart() -> None:
    threads = [replace(FACTORS, threads=n) for n in (1, 4)]
    trials = [trial for each in threads for trial in blocks_of(TIMES, 2, factors=each)]
    found = lines(analyse(run_of(trials)))
    assert [line.scheme for line in found] == ["full_int8 threads=1", "full_int8 threads=4"]
    assert all(line.note.startswith("2 blocks; ") for line in found)


def test_what_is_not_measured_yet_has_no_line() -> None:
    assert lines(analyse(run_of(blocks_of(TIMES, 1)[:1]))) == []
