"""Progress and log lines on stderr; stdout is for answers alone.

A live line per device on a terminal, plain lines elsewhere. Everything shown comes from devices
and files that we do not trust, so control characters are taken out first.
"""

from __future__ import annotations

import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import TextIO

from rich.console import Console as RichConsole
from rich.console import Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from orchestrator.fleet.progress import DeviceProgress, Observer, State
from orchestrator.printable import duration, printable, show

#: A push reports every chunk; it is shown this often at most, in seconds. Everything else is rare
#: by itself, two events a trial, and is drawn at once: nothing redraws while a trial runs, because
#: this may be the machine that is measured.
PUSH_REDRAW_S = 0.5

#: With more devices than this something happens all the time, and is shown as often as a push.
MANY_DEVICES = 20
#: Lines of the terminal that the table leaves for what is said above it and the count below.
SPARE_LINES = 4

_QUIET = frozenset({State.PUSHING, State.RUNNING})
#: Where not every device has a line, those have one that somebody should look at.
_FIRST = (
    State.LOST,
    State.RETRYING,
    State.WAITING,
    State.INTERRUPTED,
    State.CONNECTING,
    State.PUSHING,
)


def progress_line(progress: DeviceProgress) -> str:
    """One device on one line, for a place that is not a terminal."""
    counts = f" {progress.done}/{progress.expected}" if progress.expected else ""
    eta = f" (about {duration(progress.eta_s)} to go)" if progress.eta_s else ""
    detail = f": {printable(progress.detail)}" if progress.detail else ""
    return f"[{printable(progress.device)}] {progress.state.value}{counts}{detail}{eta}"


@dataclass(frozen=True)
class ResultLine:
    """What is known so far of one comparison, as text: ``2.13×``, ``±22%``, ``9 blocks``."""

    device: str
    model: str
    scheme: str
    speedup: str
    precision: str
    note: str


class Console:
    """Shows what happens, on stderr. Its methods may be called from any thread."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr
        self._guard = threading.Lock()
        self._devices: dict[str, DeviceProgress] = {}
        self._live: _LiveTable | None = None
        self._open = False
        #: Whoever else is told what is shown.
        self._others: list[Observer] = []

    def tell_also(self, other: Observer) -> None:
        """Tell ``other`` each device's news from now on."""
        self._others.append(other)

    @property
    def is_open(self) -> bool:
        """Whether it shows what happens; once it was left, what follows is the answer."""
        return self._open

    @property
    def redraws(self) -> bool:
        """Whether what is shown changes in place, as on a terminal; elsewhere lines are added."""
        return self._live is not None

    def say(self, text: str) -> None:
        """One line for the log."""
        with self._guard:
            if self._live is not None:
                self._live.say(printable(text))
            else:
                show(self._stream, printable(text) + "\n")

    def observe(self, progress: DeviceProgress) -> None:
        """A device's news; see ``fleet.progress.Observer``."""
        for other in self._others:
            other(progress)
        with self._guard:
            before = self._devices.get(progress.device)
            self._devices[progress.device] = progress
            if self._live is not None:
                if progress.state is State.LOST:  # its line in the table is cut off at the edge
                    self._live.say(progress_line(progress))
                self._live.show(self._devices, often=progress.state is State.PUSHING)
            elif _is_news(before, progress):
                show(self._stream, progress_line(progress) + "\n")

    def show_results(self, rows: Sequence[ResultLine]) -> None:
        """Show what is known so far below the devices, in the place of what was known before;
        where nothing is redrawn this does nothing."""
        with self._guard:
            if self._live is not None:
                self._live.results = tuple(rows)
                self._live.show(self._devices, often=False)

    def __enter__(self) -> Console:
        self._open = True
        if self._stream.isatty():
            self._live = _LiveTable(self._stream)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._open = False
        with self._guard:
            if self._live is not None:
                self._live.results = ()  # the table itself follows
                self._live.close(self._devices)
                self._live = None


def _is_news(before: DeviceProgress | None, now: DeviceProgress) -> bool:
    """Whether a plain line is worth it: a new state, or one more trial done."""
    if before is None or before.state is not now.state:
        return True
    if now.state is State.WAITING:
        return now.detail != before.detail
    return now.done != before.done or now.state not in _QUIET


def shown_of(devices: Sequence[DeviceProgress], lines: int) -> Sequence[DeviceProgress]:
    """Return as many as there are lines for: all, or those first that are in trouble or do not run
    yet."""
    if len(devices) <= lines:
        return devices
    urgent = {state: number for number, state in enumerate(_FIRST)}
    order = sorted(devices, key=lambda each: urgent.get(each.state, len(_FIRST)))
    return order[: max(1, lines)]


def left_out(devices: Sequence[DeviceProgress], shown: Sequence[DeviceProgress]) -> str:
    """The devices without a line of their own, counted by state; empty where there are none."""
    names = {each.device for each in shown}
    counts = Counter(each.state.value for each in devices if each.device not in names)
    if not counts:
        return ""
    states = ", ".join(f"{count} {state}" for state, count in counts.most_common())
    return f"and {counts.total()} more: {states}"


class _LiveTable:
    """A table of devices that redraws itself in place."""

    def __init__(self, stream: TextIO) -> None:
        self._console = RichConsole(file=stream)
        self._live = Live(console=self._console, auto_refresh=False, transient=False)
        self._live.start()
        self._drawn = 0.0
        self.results: Sequence[ResultLine] = ()

    def say(self, text: str) -> None:
        self._console.print(printable(text), markup=False, highlight=False)

    def show(self, devices: dict[str, DeviceProgress], *, often: bool) -> None:
        now = time.monotonic()
        often = often or len(devices) > MANY_DEVICES
        if not often or now - self._drawn >= PUSH_REDRAW_S:
            self._drawn = now
            self._draw(devices)

    def close(self, devices: dict[str, DeviceProgress]) -> None:
        self._draw(devices)
        self._live.stop()

    def _draw(self, devices: dict[str, DeviceProgress]) -> None:
        table = Table.grid(padding=(0, 2), expand=False)
        shown = shown_of(list(devices.values()), self._console.height - SPARE_LINES)
        for progress in shown:
            counts = f"{progress.done}/{progress.expected}" if progress.expected else ""
            eta = f"~{duration(progress.eta_s)}" if progress.eta_s else ""
            table.add_row(
                Text(printable(progress.device), style="bold"),
                Text(progress.state.value, style=_STYLES.get(progress.state, "")),
                Text(counts, justify="right"),
                Text(eta, justify="right"),
                Text(printable(progress.detail), style="dim", overflow="ellipsis", no_wrap=True),
            )
        rest = left_out(list(devices.values()), shown)
        parts: list[RenderableType] = [table, *([Text(rest, style="dim")] if rest else [])]
        room = self._console.height - SPARE_LINES - len(shown) - len(RESULTS_TITLES)
        self._live.update(Group(*parts, *_drawn(self.results, room)), refresh=True)


#: Above the results, and how many lines they take with the empty one before them.
RESULTS_TITLES = ("", "So far; verdicts follow when all is measured")


def _drawn(rows: Sequence[ResultLine], room: int) -> Iterator[Table | Text]:
    """The results as a table of at most ``room`` lines; nothing where there are none."""
    shown = rows[: max(1, room if len(rows) <= room else room - 1)]
    if not shown:
        return
    yield from (Text(line, style="dim") for line in RESULTS_TITLES)
    several = len({row.device for row in rows}) > 1
    table = Table.grid(padding=(0, 2), expand=False)
    for row in shown:
        place = [Text(printable(row.device), style="bold")] if several else []
        table.add_row(
            *place,
            Text(printable(row.model)),
            Text(printable(row.scheme)),
            Text(row.speedup, justify="right"),
            Text(row.precision, justify="right"),
            Text(printable(row.note), style="dim", overflow="ellipsis", no_wrap=True),
        )
    yield table
    if len(shown) < len(rows):
        yield Text(f"and {len(rows) - len(shown)} more", style="dim")


_STYLES = {
    State.DONE: "green",
    State.LOST: "red",
    State.RETRYING: "yellow",
    State.WAITING: "yellow",
}


class Screen:
    """A text on stderr that is drawn again in place."""

    def __init__(self, stream: TextIO | None = None) -> None:
        stream = stream or sys.stderr
        console = RichConsole(file=stream)
        self._live = Live(console=console, auto_refresh=False, transient=True)

    def show(self, text: str) -> None:
        """Draw ``text``, whose colours are our own, in the place of what stood there."""
        self._live.update(Text.from_ansi(text), refresh=True)

    def __enter__(self) -> Screen:
        self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._live.stop()
