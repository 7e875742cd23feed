"""What is known while devices measure: the table before there is the table.

A thread of its own looks at the run's folder when a trial has ended, as anybody could, so that
nothing that drives a device waits for it. That is the moment at which it disturbs least where this
machine is the one that is measured: the next process starts, and has not begun to measure. It rests
fifty times as long as it has worked, at least, so that a large run costs no more than a small one.
"""

from __future__ import annotations

import importlib
import threading
import time
from collections.abc import Iterator, Sequence
from types import TracebackType

from orchestrator.analysis import MIN_PAIRS, analyse
from orchestrator.analysis.table import Speedup, SpeedupTable
from orchestrator.console import Console, ResultLine
from orchestrator.errors import OrchestrateError
from orchestrator.report import figures
from orchestrator.report.notes import varied
from orchestrator.report.pivot import column_of
from orchestrator.runs.directory import RunDirectory

#: The least time from one look to the next, in seconds, and the least rest after a look, as a
#: multiple of the time that it took.
_LEAST_S = 2.0
_REST = 50.0
#: Where nothing is redrawn, an interval is told again when it is so much narrower.
_WORTH_A_LINE = 0.5


class SoFar:
    """Keeps the console's results up to date from :meth:`begin` until it is left."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._news = threading.Event()
        self._over = threading.Event()
        self._thread: threading.Thread | None = None
        #: What was told last of each comparison, where nothing is redrawn: its precision.
        self._told: dict[tuple[str, str, str], float | None] = {}

    def begin(self, directory: RunDirectory) -> None:
        """Begin to look at a run, whose devices do not measure yet."""
        # what takes a while to import is imported before the first trial
        importlib.import_module("scipy.special")
        self._thread = threading.Thread(
            target=self._watch, args=(directory,), name="so far", daemon=True
        )
        self._console.on_trial_end = self._news.set
        self._thread.start()

    def __enter__(self) -> SoFar:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._over.set()
        self._news.set()
        if self._thread is not None:
            self._thread.join()
        self._console.show_results(())  # the table itself follows

    def _watch(self, directory: RunDirectory) -> None:
        while True:
            self._news.wait()
            self._news.clear()
            if self._over.is_set():
                return
            began = time.monotonic()
            try:
                table = analyse(directory.read())
            except OrchestrateError:
                return  # whoever reads the run at its end is told what is wrong with it
            self._show(table)
            took = time.monotonic() - began
            self._over.wait(max(_LEAST_S, _REST * took))

    def _show(self, table: SpeedupTable) -> None:
        if self._console.redraws:
            self._console.show_results(lines(table))
            return
        for row, line in zip(_known(table), lines(table), strict=True):
            if row.speedup is not None and self._is_news(row, line):
                self._console.say(f"so far, {_sentence(line)}")

    def _is_news(self, row: Speedup, line: ResultLine) -> bool:
        key = (line.device, line.model, line.scheme)
        before, now = self._told.get(key, 0.0), row.achieved_precision
        if key in self._told and (
            now is None or (before is not None and now > _WORTH_A_LINE * before)
        ):
            return False
        self._told[key] = now
        return True


def lines(table: SpeedupTable) -> Sequence[ResultLine]:
    """What is known of each comparison of which something is, in the order of the table."""
    settings = [name for name in varied(table.rows) if name != "isa"]
    return [
        ResultLine(
            column_of(row),
            row.model,
            " ".join((row.scheme, *(f"{name}={row.level(name)}" for name in settings))),
            *_figures(row),
        )
        for row in _known(table)
    ]


def _known(table: SpeedupTable) -> Sequence[Speedup]:
    return [row for row in table.rows if row.blocks]


def _figures(row: Speedup) -> Iterator[str]:
    """The speed-up, its precision, and how many blocks that is from."""
    if row.speedup is None:
        yield from (figures.NONE, "", row.reason)
        return
    yield f"{figures.significant(row.speedup)}×"
    yield figures.precision(row) if row.achieved_precision is not None else ""
    blocks = figures.counted(row.blocks, "block")
    yield blocks if row.blocks >= MIN_PAIRS else f"{blocks}; an interval needs {MIN_PAIRS}"


def _sentence(line: ResultLine) -> str:
    said = f"{line.speedup} {line.precision}".rstrip()
    return f"{line.device}: {line.model} {line.scheme} {said} ({line.note})"
