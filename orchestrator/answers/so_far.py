"""What is known while devices measure: the table before there is the table, without verdicts.

A verdict at every block would be one look among many, and wrong more often than one time in twenty.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from orchestrator.analysis import MIN_PAIRS
from orchestrator.analysis.table import Speedup, SpeedupTable
from orchestrator.console import Console, ResultLine
from orchestrator.report import figures
from orchestrator.report.notes import varied
from orchestrator.report.pivot import column_of

#: Where nothing is redrawn, an interval is told again when it is so much narrower.
_WORTH_A_LINE = 0.5


class SoFar:
    """Shows each table that is made while a run goes on: in place on a terminal, else what is new
    in it in a line each."""

    def __init__(self, console: Console) -> None:
        self._console = console
        #: What was told last of each comparison, where nothing is redrawn: its precision.
        self._told: dict[tuple[str, str, str], float | None] = {}

    def show(self, table: SpeedupTable) -> None:
        """Show ``table`` in the place of the one before; nothing once the console was left."""
        if not self._console.is_open:
            return
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
