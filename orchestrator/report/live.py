"""Shows a run while it goes on: as a page that refreshes itself, and on a terminal.

The page has no script, and so cannot know how old it is: it says when it was written, and by when
it is written anew while somebody watches over the run.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta, timezone

from orchestrator.analysis.table import Speedup, SpeedupTable
from orchestrator.printable import duration
from orchestrator.report import figures
from orchestrator.report.clean import clean
from orchestrator.report.grid import render_grid
from orchestrator.report.jsonable import jsonable
from orchestrator.report.markup import Markup, element, join
from orchestrator.report.notes import SIGNS, section_labels, section_of
from orchestrator.report.page import PageSection, grid, page, row_of
from orchestrator.runs.standing import DeviceStanding

#: A browser reads the page again so often, in seconds.
REFRESH_S = 5
#: While a run goes on, its page is written anew at least so often, in seconds; and a page older
#: than the second is one that nobody writes any more.
HEARTBEAT_S = 30
STALE_S = 90
#: Of the table, so many lines; the report has all of them.
MOST_ROWS = 400


@dataclass(frozen=True)
class LiveView:
    """What is shown of a run. ``ended`` is empty while it goes on, else how it ended, in a
    sentence; ``report``: report.html stands beside the page. ``note`` is of the table, ``writer``
    says who writes the run, where somebody else looks."""

    run_id: str
    created: str
    suite: str
    precision: float | None
    devices: tuple[DeviceStanding, ...]
    table: SpeedupTable | None
    table_trials: int
    trials: int
    last_event: str
    note: str = ""
    writer: str = ""
    ended: str = ""
    report: bool = False


def to_page(view: LiveView, written: datetime) -> str:
    """The page as of ``written``, which has a time zone."""
    state = "ended" if view.ended else "going on"
    return page(
        f"Run {view.run_id}: {state}",
        view.run_id,
        _lead(view, written),
        _parts(view),
        refresh_s=None if view.ended else REFRESH_S,
    )


def is_going_on(text: str) -> bool:
    """Whether a page says that its run goes on."""
    return 'http-equiv="refresh"' in text[:1000]


def _lead(view: LiveView, written: datetime) -> Iterable[Markup]:
    begun = clean(view.created[:19].replace("T", " "))
    yield element(
        "p", f"Suite {view.suite or 'unnamed'}, begun {begun} UTC. {_progress(view)}."
    )  # fmt: skip
    if view.ended:
        yield element("p", element("b", clean(view.ended)))
        yield element("p", f"Written {_moment(written)}, for the last time.", class_="quiet")
    else:
        due = written + timedelta(seconds=HEARTBEAT_S)
        stale = written + timedelta(seconds=STALE_S)
        yield element(
            "p",
            f"Written {_moment(written)}; the next one is due by {_clock(due)}. If it is past ",
            element("b", _clock(stale)),
            f" and this line is still here, nobody writes this page any more: the controller was "
            f"stopped or its machine is down. What was measured is kept; orchestrate watch "
            f"{clean(view.run_id)} says where it stands, orchestrate run --resume "
            f"{clean(view.run_id)} goes on.",
            class_="quiet",
        )
    if view.report:
        yield element("p", "The whole report: ", element("a", "report.html", href="report.html"))


def _moment(when: datetime) -> str:
    utc = when.astimezone(timezone.utc)
    return f"{utc:%Y-%m-%d %H:%M:%S} UTC ({when.astimezone():%H:%M:%S %z} here)"


def _clock(when: datetime) -> str:
    return f"{when.astimezone(timezone.utc):%H:%M:%S} UTC"


def _progress(view: LiveView) -> str:
    """``31 of 118 trials, 2 not ok; about 4 min 10 s to go``."""
    done = sum(device.done for device in view.devices)
    expected = [device.expected for device in view.devices]
    known = [each for each in expected if each is not None]
    whole = f" of {sum(known)}" if len(known) == len(expected) and known else ""
    failed = sum(device.failed for device in view.devices)
    words = f"{done}{whole} trials"
    words += f", {failed} not ok" if failed else ""
    left = [device.eta_s for device in view.devices if device.eta_s and not view.ended]
    return words + (f"; about {duration(max(left))} to go" if left else "")


# -- devices --------------------------------------------------------------------------------------

_HEADER = ("Device", "State", "Trials", "To go", "°C", "Load", "MHz", "Throttled", "Last finding")


def _cells(view: LiveView) -> Iterable[tuple[str, ...]]:
    return (_cells_of(device, ended=bool(view.ended)) for device in view.devices)


def _cells_of(device: DeviceStanding, *, ended: bool) -> tuple[str, ...]:
    doing = f"{device.state}: {device.detail}" if device.detail else device.state
    counts = f"{device.done}" + (f"/{device.expected}" if device.expected is not None else "")
    counts += f" ({device.failed} not ok)" if device.failed else ""
    seen = device.finding
    named = (
        f"{device.device} ({device.microarchitecture})"
        if device.microarchitecture
        else device.device
    )
    return tuple(
        clean(cell)
        for cell in (
            named,
            doing,
            counts,
            duration(device.eta_s) if device.eta_s and not ended else figures.NONE,
            _number(device.temperature_c, 0),
            _number(device.load, 2),
            _number(device.mhz, 0),
            device.throttled or figures.NONE,
            f"{seen.finding.code} ({seen.model} {seen.scheme})" if seen else figures.NONE,
        )
    )


def _number(value: float | None, digits: int) -> str:
    return figures.NONE if value is None else f"{value:.{digits}f}"


def _findings(view: LiveView) -> Iterable[str]:
    """Say what the devices' last findings saw, each once with the devices that have it."""
    seen: dict[str, list[str]] = {}
    for device in view.devices:
        if device.finding is not None:
            found = device.finding.finding
            words = f"{found.code}: {found.message}. Remedy: {found.remedy}"
            seen.setdefault(words, []).append(device.device)
    return (clean(f"{', '.join(devices)}, {words}") for words, devices in seen.items())


def _failures(view: LiveView) -> Iterable[str]:
    """Each kind of failure with what to do about it, and why devices do nothing more."""
    for device in view.devices:
        if device.state == "lost":
            yield clean(f"{device.device} was lost: {device.detail}")
        for each in device.failures:
            trials = figures.counted(each.count, f"{each.kind} trial")
            why = f"{device.device} {each.model} {each.scheme}: {trials} ended {each.outcome}: "
            what = each.remedy or (f"see {each.log}" if each.log else "see the raw logs")
            yield clean(why + each.reason)[:300] + f". Remedy: {clean(what)}"


# -- the table so far -----------------------------------------------------------------------------

_TABLE_HEADER = ("Device", "Model", "Scheme", "Speed-up, 95 % interval", "±", "Verdict so far", "n")


def _rows(view: LiveView) -> list[tuple[Speedup, tuple[str, ...]]]:
    """The comparisons of which anything was measured."""
    if view.table is None:
        return []
    measured = [row for row in view.table.rows if row.blocks or row.speedup is not None]
    labels = section_labels(measured)
    return [
        (
            row,
            (
                labels[section_of(row)],
                clean(row.model),
                clean(row.scheme),
                figures.speedup(row),
                figures.precision(row),
                f"{SIGNS[row.verdict]} {row.verdict.value}",
                str(row.blocks),
            ),
        )
        for row in measured[:MOST_ROWS]
    ]


def _table_note(view: LiveView) -> str:
    if view.table is None:
        return view.note or "No block is complete yet."
    words = f"Of the first {view.table_trials} of {view.trials} trials that ended."
    if view.precision is not None and not view.ended:
        words += (
            f" Intervals shrink as blocks come, to ±{100 * view.precision:g}% where the suite's "
            f"precision is reached; until then a verdict may change."
        )
    return words


# -- formats --------------------------------------------------------------------------------------


def _parts(view: LiveView) -> Iterable[PageSection]:
    body = [
        row_of(
            element("th", cells[0], scope="row"),
            cells[1],
            *(element("td", cell, class_="number") for cell in cells[2:7]),
            *cells[7:],
        )
        for cells in _cells(view)
    ]
    yield PageSection("devices", "Devices", join([grid(_HEADER, body), _items(_findings(view))]))
    failures = _items(_failures(view))
    yield PageSection("failures", "What did not end well, and what to do", failures)
    rows = [
        row_of(*cells[:3], element("td", cells[3], class_="number"),
               element("td", cells[4], class_="number"),
               element("td", element("span", cells[5], class_=f"verdict {row.verdict.value}")),
               cells[6])
        for row, cells in _rows(view)
    ]  # fmt: skip
    note = element("p", clean(_table_note(view)), class_="quiet")
    yield PageSection(
        "table", "So far", join([grid(_TABLE_HEADER, rows), note] if rows else [note])
    )


def _items(lines: Iterable[str]) -> Markup:
    items = [element("li", line) for line in lines]
    return element("ul", *items) if items else Markup()


def to_text(view: LiveView, *, width: int, color: bool) -> str:
    """Lines for a terminal, which say what the page says."""
    head = f"run {clean(view.run_id)}, suite {clean(view.suite) or 'unnamed'}: {_progress(view)}\n"
    last = f"last event {clean(view.last_event[:19])} UTC" if view.last_event else "no event yet"
    state = view.ended or view.writer
    out = [head, f"{clean(state)} ({last})\n" if state else f"{last}\n"]
    devices = [_short(cells) for cells in _cells(view)]
    out.append(render_grid(_SHORT_HEADER, devices, width=width, color=color))
    failures = list(_failures(view))
    out += ["What did not end well\n", *(f"  {line}\n" for line in failures), "\n"] * bool(failures)
    rows = [cells for _, cells in _rows(view)]
    if rows:
        out.append(render_grid(_TABLE_HEADER, rows, width=width, color=color))
    out.append(f"{clean(_table_note(view))}\n")
    return "".join(out)


_SHORT_HEADER = ("device", "state", "trials", "to go", "°C", "load", "throttled")


def _short(cells: Sequence[str]) -> tuple[str, ...]:
    """Without clocks and findings, which a terminal has no room for."""
    return (*cells[:6], cells[7])


#: Version of the JSON's shape. 1: the first.
JSON_FORMAT = 1


def to_json(view: LiveView) -> str:
    """Where each device stands, and each comparison's figures so far. ASCII only."""
    rows = [
        {
            "device": row.device,
            "model": row.model,
            "scheme": row.scheme,
            "speedup": row.speedup,
            "ci_low": row.ci_low,
            "ci_high": row.ci_high,
            "blocks": row.blocks,
            "verdict": row.verdict.value,
        }
        for row, _ in _rows(view)
    ]
    document = {
        "format": JSON_FORMAT,
        "run_id": view.run_id,
        "suite": view.suite,
        "trials": view.trials,
        "last_event": view.last_event,
        "ended": view.ended,
        "devices": [jsonable(asdict(device)) for device in view.devices],
        "speedups": jsonable(rows),
    }
    return json.dumps(document, indent=1, allow_nan=False) + "\n"
