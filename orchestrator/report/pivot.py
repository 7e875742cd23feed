"""The same speed-ups side by side over devices: a row a model and scheme, a column a device."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from rich.cells import cell_len, set_cell_size

from orchestrator.analysis.table import Speedup, Verdict
from orchestrator.report import figures
from orchestrator.report.clean import clean

_GAP = "  "

#: In what a setting may differ between rows of one device, and what it is called.
_SETTING = (
    "runner",
    "runtime",
    "delegate",
    "threads",
    "batch",
    "isa",
    "input_size",
    "engine",
    "processor",
)


@dataclass(frozen=True)
class Pivot:
    """One table of lines ready to print; ``title`` says what its columns do not share."""

    title: str
    lines: tuple[str, ...]


def pivots(rows: Sequence[Speedup], width: int, signs: Mapping[Verdict, str]) -> Iterable[Pivot]:
    """As many tables as it takes to fit ``width``; none for fewer than two devices."""
    devices = list(dict.fromkeys(row.device for row in rows))
    if len(devices) < 2:
        return
    varied = [name for name in _SETTING if _varies_on_a_device(rows, name)]
    cells = {(_name(row, varied), row.device): _cell(row, signs) for row in rows}
    names = list(dict.fromkeys(name for name, _ in cells))
    first = max(cell_len(name) for name in names)
    title = "Across devices" + _unlike(rows, varied)
    for some in _chunks(devices, cells, names, width - first):
        yield Pivot(title, tuple(_lines(some, cells, names, first)))


def _varies_on_a_device(rows: Sequence[Speedup], name: str) -> bool:
    pairs = {(row.device, getattr(row, name)) for row in rows if row.threads is not None}
    return len(pairs) > len({device for device, _ in pairs})


def _name(row: Speedup, varied: Sequence[str]) -> str:
    settings = [f"{name}={getattr(row, name)}" for name in varied]
    return clean(" ".join((row.model, row.scheme, *settings)))


def _cell(row: Speedup, signs: Mapping[Verdict, str]) -> str:
    shown = figures.NONE if row.speedup is None else f"{figures.significant(row.speedup)}×"
    return f"{shown} {signs[row.verdict]}"


def _unlike(rows: Sequence[Speedup], varied: Sequence[str]) -> str:
    """What else differs from column to column: those speed-ups are not of hardware alone."""
    differing = [
        name
        for name in (*_SETTING, "runtime_version")
        if name not in varied
        and len({getattr(row, name) for row in rows if row.threads is not None} - {""}) > 1
    ]
    return f" (not the same on each: {', '.join(differing)})" if differing else ""


def _chunks(
    devices: Sequence[str], cells: Mapping[tuple[str, str], str], names: Sequence[str], room: int
) -> Iterable[dict[str, int]]:
    """Devices with their columns' widths, as many at a time as ``room`` takes, at least one."""
    chunk: dict[str, int] = {}
    for device in devices:
        texts = [clean(device), *(cells.get((name, device), "") for name in names)]
        wide = max(map(cell_len, texts))
        if chunk and sum(chunk.values()) + wide + len(_GAP) * (len(chunk) + 1) > room:
            yield chunk
            chunk = {}
        chunk[device] = wide
    yield chunk


def _lines(
    devices: Mapping[str, int],
    cells: Mapping[tuple[str, str], str],
    names: Sequence[str],
    first: int,
) -> Iterable[str]:
    heads = [set_cell_size(clean(device), wide) for device, wide in devices.items()]
    yield _GAP.join([" " * first, *heads])
    for name in names:
        values = [
            set_cell_size(cells.get((name, device), figures.NONE), wide)
            for device, wide in devices.items()
        ]
        yield _GAP.join([set_cell_size(name, first), *values])
