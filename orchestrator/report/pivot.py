"""Shows the speed-ups side by side over devices: a row a model and scheme, a column a device."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from rich.cells import cell_len
from rich.text import Text

from orchestrator.analysis.table import Speedup, Verdict
from orchestrator.factors import FACTORS
from orchestrator.isa.levels import capped
from orchestrator.report import figures
from orchestrator.report.clean import clean
from orchestrator.report.notes import SIGNS, codes, place, varied

_GAP = "  "
_INDENT = "  "
_SUPERSCRIPT = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")


@dataclass(frozen=True)
class Pivot:
    """One table of lines ready to print; ``title`` says what its columns do not share."""

    title: str
    lines: tuple[Text, ...]


def superscript(number: int) -> str:
    return str(number).translate(_SUPERSCRIPT)


def pivots(
    rows: Sequence[Speedup],
    width: int,
    styles: Mapping[Verdict, str],
    notes: Mapping[str, int] | None,
) -> Iterable[Pivot]:
    """Make as many tables as it takes to fit ``width``; none for fewer than two devices, a capped
    instruction set counting as a device of its own.

    ``notes`` has the number of each finding's footnote, by its code; None: there are none, and a
    speed-up has its precision in the place of its interval.
    """
    devices = list(dict.fromkeys(map(column_of, rows)))
    if len(devices) < 2:
        return
    settings = [name for name in varied(rows) if name != "isa"]  # a column each
    cells = {(*_name(row, settings), column_of(row)): _cell(row, styles, notes) for row in rows}
    names: dict[str, list[str]] = {}
    for model, scheme, _ in cells:
        if scheme not in names.setdefault(model, []):
            names[model].append(scheme)
    first = max(
        [cell_len(_INDENT + scheme) for schemes in names.values() for scheme in schemes]
        + [cell_len(model) for model in names]
    )
    title = "Across devices" + _unlike(rows, settings)
    if any(capped(row.isa) for row in rows):
        title += "; capped: the instruction set, not the microarchitecture"
    for some in _chunks(devices, cells, width - first):
        yield Pivot(title, tuple(_lines(some, cells, names, first)))


def column_of(row: Speedup) -> str:
    """``here``, ``here@haswell (capped)``."""
    return place(row.device, row.isa) + (" (capped)" if capped(row.isa) else "")


def _name(row: Speedup, settings: Sequence[str]) -> tuple[str, str]:
    # what was left out of a run has no levels
    set_to = [f"{name}={level}" for name in settings if (level := row.level(name))]
    return clean(row.model), clean(" ".join((row.scheme, *set_to)))


def _cell(row: Speedup, styles: Mapping[Verdict, str], notes: Mapping[str, int] | None) -> Text:
    shown = ""
    if row.speedup is not None:
        short = f"{figures.significant(row.speedup)}× {figures.precision(row)}"
        shown = f"{short if notes is None else figures.speedup(row)} "
    word = " invalid" if row.verdict is Verdict.INVALID else ""
    text = Text(f"{shown}{SIGNS[row.verdict]}{word}", styles[row.verdict])
    numbers = [superscript(notes[code]) for code in codes(row)] if notes is not None else []
    return text.append(f" {' '.join(numbers)}", "dim") if numbers else text


def _unlike(rows: Sequence[Speedup], settings: Sequence[str]) -> str:
    """What else differs from column to column: those speed-ups are not of hardware alone."""
    sent = [row for row in rows if row.factors is not None]
    levels = {each.name: {row.level(each.name) for row in sent} for each in FACTORS}
    levels["runtime_version"] = {row.runtime_version for row in sent}
    differing = [
        name
        for name, found in levels.items()
        if name not in (*settings, "isa") and len(found - {""}) > 1
    ]
    return f" (not the same on each: {', '.join(differing)})" if differing else ""


def _chunks(
    devices: Sequence[str], cells: Mapping[tuple[str, str, str], Text], room: int
) -> Iterable[dict[str, int]]:
    """Devices with their columns' widths, as many at a time as ``room`` takes, at least one."""
    chunk: dict[str, int] = {}
    for device in devices:
        texts = [text.plain for (_, _, where), text in cells.items() if where == device]
        wide = max(map(cell_len, [clean(device), *texts]))
        if chunk and sum(chunk.values()) + wide + len(_GAP) * (len(chunk) + 1) > room:
            yield chunk
            chunk = {}
        chunk[device] = wide
    yield chunk


def _lines(
    devices: Mapping[str, int],
    cells: Mapping[tuple[str, str, str], Text],
    names: Mapping[str, Sequence[str]],
    first: int,
) -> Iterable[Text]:
    heads = [_padded(Text(clean(device)), wide) for device, wide in devices.items()]
    yield Text(_GAP).join([_padded(Text(""), first), *heads])
    for model, schemes in names.items():
        yield Text(model, "bold")
        for scheme in schemes:
            values = [
                _padded(cells.get((model, scheme, device), Text(figures.NONE)), wide)
                for device, wide in devices.items()
            ]
            yield Text(_GAP).join([_padded(Text(_INDENT + scheme), first), *values])


def _padded(text: Text, width: int) -> Text:
    return text.copy().append(" " * (width - cell_len(text.plain)))
