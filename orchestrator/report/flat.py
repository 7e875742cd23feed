"""Writes speedup.csv and speedup.json, for programs: full precision, every field of the
contract."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, replace
from enum import Enum
from typing import TYPE_CHECKING, Any

from orchestrator.analysis.table import (
    AccuracyComparison,
    FigureComparison,
    Speedup,
    SpeedupTable,
    Tail,
)
from orchestrator.factors import FACTORS, NAMES, find_factor
from orchestrator.report.clean import csv_cell
from orchestrator.report.notes import codes, method, weights

if TYPE_CHECKING:
    import pandas as pd

#: The columns of speedup.csv, in their order. A contract: only ever appended to.
COLUMNS = (
    "run_id",
    "device",
    "microarchitecture",
    "isa",
    "runner",
    "runtime_version",
    "delegate",
    "threads",
    "batch",
    "model",
    "scheme",
    "baseline_scheme",
    "blocks",
    "baseline_ms",
    "treatment_ms",
    "speedup",
    "ci_low",
    "ci_high",
    "noise_floor",
    "verdict",
    "baseline_size_mb",
    "treatment_size_mb",
    "baseline_memory_mb",
    "treatment_memory_mb",
    "findings",
)

#: Appended where a row has them: rows may then differ in nothing else. What more is known of
#: a row is in speedup.json.
FURTHER_COLUMNS = (
    # what ran is there already, and says more than the runtime that was asked for
    *(name for name in NAMES if name not in (*COLUMNS, "runtime")),
    "baseline_energy_mj",
    "treatment_energy_mj",
    "baseline_co2_ug",
    "treatment_co2_ug",
    "inputs",
    "accuracy_metric",
    "baseline_accuracy",
    "treatment_accuracy",
    "accuracy_verdict",
)

#: Behind which field of a row speedup.json has which factors; those it does not name come last.
_FACTORS_BEHIND: Mapping[str, tuple[str, ...]] = {
    "microarchitecture": ("isa", "runner"),
    "runtime_version": ("delegate", "threads", "batch"),
    "reason": ("runtime", "engine", "processor"),
    "failures": ("input_size",),
}

_COUNTS = frozenset({"blocks", *(each.name for each in FACTORS if each.is_number)})
_FIGURES = (
    "baseline_ms",
    "treatment_ms",
    "speedup",
    "ci_low",
    "ci_high",
    "noise_floor",
    "baseline_size_mb",
    "treatment_size_mb",
    "baseline_memory_mb",
    "treatment_memory_mb",
    "baseline_energy_mj",
    "treatment_energy_mj",
    "baseline_co2_ug",
    "treatment_co2_ug",
    "baseline_accuracy",
    "treatment_accuracy",
)

#: Version of speedup.json's shape. 1: the first.
JSON_FORMAT = 1

_DIGITS = 6


def to_frame(table: SpeedupTable) -> pd.DataFrame:
    """A row a comparison, the columns of speedup.csv: for notebooks, and what the file is made of.

    A figure that was not measured is NaN, a missing thread count ``<NA>``.
    """
    # pandas takes half a second to import, and most reports do without
    import pandas as pd  # noqa: PLC0415

    across = [each.row for each in table.across]
    shown = [*table.rows, *across]
    further = [c for c in FURTHER_COLUMNS if any(_tells(row, c) for row in shown)]
    columns = [*COLUMNS, *further]
    rows = [[_flat(row, column) for column in columns] for row in shown]
    if across:  # whose baseline it is, which else is the row's own runner's
        columns.append("baseline_runner")
        runners = [row.level("runner") for row in table.rows]
        runners += [each.baseline_factors.runner for each in table.across]
        rows = [[*cells, runner] for cells, runner in zip(rows, runners, strict=True)]
    frame: pd.DataFrame = pd.DataFrame(rows, columns=columns)
    for column in _COUNTS & {*columns}:
        frame[column] = frame[column].astype(pd.Int64Dtype())
    for column in {*_FIGURES} & {*columns}:
        frame[column] = frame[column].astype(float)
    return frame


def _flat(row: Speedup, column: str) -> Any:
    if column in NAMES:
        return _level(row, column)
    return ";".join(codes(row)) if column == "findings" else _plain(getattr(row, column))


def _tells(row: Speedup, column: str) -> bool:
    """Whether the row says more in the column than what goes without saying."""
    factor = find_factor(column)
    told = _flat(row, column)
    return bool(told) and (factor is None or factor.key_of_default or told != factor.default)


def _level(row: Speedup, factor: str) -> Any:
    """A number that nobody knows is none; a word that nobody knows is empty."""
    unknown = row.factors is None and factor in _COUNTS
    return None if unknown else row.level(factor)


def to_csv(table: SpeedupTable) -> str:
    """A header and a line a comparison; an empty cell is a figure that was not measured."""
    return frame_to_csv(to_frame(table))


def frame_to_csv(frame: pd.DataFrame) -> str:
    """Write the rows of :func:`to_frame`, with text behind them or without."""
    for column in set(frame.columns) - _COUNTS - {*_FIGURES}:
        frame[column] = frame[column].map(csv_cell)
    return frame.to_csv(index=False, float_format=f"%.{_DIGITS}g", lineterminator="\n")


def figures_to_csv(table: SpeedupTable) -> str:
    """A line a comparison of a figure other than time: device, factors, figure and both sides."""
    # as above
    import pandas as pd  # noqa: PLC0415

    lines = [_figure_line(row) for row in table.figures]
    frame: pd.DataFrame = pd.DataFrame(lines)
    return frame.to_csv(index=False, float_format=f"%.{_DIGITS}g", lineterminator="\n")


def _figure_line(row: FigureComparison) -> dict[str, Any]:
    figure = row.figure
    line: dict[str, Any] = {
        "device": csv_cell(row.device),
        "model": csv_cell(row.model),
        "scheme": csv_cell(row.scheme),
        "baseline_scheme": csv_cell(row.baseline_scheme),
        **{name: _safe(value) for name, value in asdict(row.factors).items()},
        "figure": csv_cell(figure.name),
        "unit": csv_cell(figure.unit),
        "better": figure.better.value,
        "comparison": figure.comparison.value,
    }
    for name in ("blocks", "baseline", "treatment", "gain", "low", "high", "noise_floor"):
        line[name] = getattr(row, name)
    return {**line, "verdict": row.verdict.value}


def tails_to_csv(table: SpeedupTable) -> str:
    """A line a percentile of a scheme: device, factors, its time in ms with its interval, and the
    speed-up at it; 100 is the worst."""
    # as above
    import pandas as pd  # noqa: PLC0415

    frame: pd.DataFrame = pd.DataFrame([_tail_line(tail) for tail in table.tails])
    return frame.to_csv(index=False, float_format=f"%.{_DIGITS}g", lineterminator="\n")


def _tail_line(tail: Tail) -> dict[str, Any]:
    values = asdict(tail)
    factors = values.pop("factors")
    names = ("device", "model", "scheme", "baseline_scheme")
    line = {name: _safe(values.pop(name)) for name in names}
    return {**line, **{name: _safe(value) for name, value in factors.items()}, **values}


def accuracy_to_csv(table: SpeedupTable) -> str:
    """A line a comparison of accuracy: device, factors, both sides as shares of 1, the difference
    with its interval, and how alike the first output of both is."""
    frame = accuracy_to_frame(table)
    return frame.to_csv(index=False, float_format=f"%.{_DIGITS}g", lineterminator="\n")


def accuracy_to_frame(table: SpeedupTable) -> pd.DataFrame:
    """Return the same as a frame, which has its columns even where nothing was measured."""
    # as above
    import pandas as pd  # noqa: PLC0415

    lines = [_accuracy_line(row) for row in table.accuracy]
    frame: pd.DataFrame = pd.DataFrame(lines, columns=list(_ACCURACY_COLUMNS))
    return frame


#: Of a difference of two sides, as ``AccuracyComparison`` has them.
_OF_DIFFERENCE = ("difference", "low", "high", "lost", "gained", "p_value", "p_adjusted")
_ACCURACY_COLUMNS = (
    "device", "model", "scheme", "baseline_scheme", *NAMES, "metric", "samples", "margin_points",
    "baseline", "treatment", *_OF_DIFFERENCE, "verdict", "same_top1", "snr_db", "cosine",
    "same_bytes", "others", "findings",
)  # fmt: skip


def _accuracy_line(row: AccuracyComparison) -> dict[str, Any]:
    found = row.agreement[0] if row.agreement else None
    line: dict[str, Any] = {
        "device": csv_cell(row.device),
        "model": csv_cell(row.model),
        "scheme": csv_cell(row.scheme),
        "baseline_scheme": csv_cell(row.baseline_scheme),
        **{name: _safe(value) for name, value in asdict(row.factors).items()},
        "metric": row.metric,
        "samples": row.samples,
        "margin_points": row.margin,
        "baseline": row.baseline.value,
        "treatment": row.treatment.value,
    }
    for name in _OF_DIFFERENCE:
        line[name] = getattr(row, name)
    return {
        **line,
        "verdict": row.verdict,
        "same_top1": None if found is None or found.same_top1 is None else found.same_top1.value,
        "snr_db": None if found is None else found.snr_db,
        "cosine": None if found is None else found.cosine,
        "same_bytes": None if found is None else found.same_bytes,
        "others": ";".join(f"{name}={_pair(*both)}" for name, both in row.others.items()),
        "findings": ";".join(codes(row)),
    }


def _pair(baseline: float | None, treatment: float | None) -> str:
    """``0.61/0.58``: a figure of both sides, nothing where a side has none."""
    return "/".join("" if each is None else f"{each:.6g}" for each in (baseline, treatment))


def _safe(value: object) -> object:
    return csv_cell(value) if isinstance(value, str) else value


def to_json(table: SpeedupTable) -> str:
    """All there is. ASCII only, so that no terminal can be told anything by printing it."""
    head = {"format": JSON_FORMAT, "method": method(table), "weights": weights(table)}
    document = {**head, **_jsonable(asdict(replace(table, rows=())))}
    del document["rows"]
    document["speedups"] = [row_to_json(row) for row in table.rows]
    if not table.figures:  # as files were before there were any
        del document["figures"]
    if not table.accuracy:
        del document["accuracy"], document["trade_offs"]
    for row in document.get("accuracy", ()):
        if row["changes"] is None:
            del row["changes"]
        del row["outcomes"]  # what explaining needs; the answers themselves are in the run's logs
    if not table.same_bytes:
        del document["same_bytes"]
    if not table.tails:
        del document["tails"]
    document["across"] = [
        _jsonable({**_row(each.row), "baseline_factors": asdict(each.baseline_factors)})
        for each in table.across
    ]
    if not table.across:
        del document["across"]
    return json.dumps(document, indent=1, allow_nan=False) + "\n"


def row_to_json(row: Speedup) -> dict[str, Any]:
    """A comparison as speedup.json has it."""
    found: dict[str, Any] = _jsonable(_row(row))
    return found


def _row(row: Speedup) -> dict[str, Any]:
    """Return all of a row, its factors among its other fields."""
    flat: dict[str, Any] = {}
    values = asdict(row)
    if not row.accuracy_verdict:  # as files were before it was measured
        values = {name: value for name, value in values.items() if "accuracy" not in name}
    if not row.looked_at:
        del values["looked_at"]
    for name, value in values.items():
        flat |= {} if name == "factors" else {name: value}
        flat |= {factor: _level(row, factor) for factor in _FACTORS_BEHIND.get(name, ())}
    return flat | {factor: _level(row, factor) for factor in NAMES if factor not in flat}


def _jsonable(value: Any) -> Any:
    if isinstance(value, dict):
        return {_plain(key): _jsonable(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_jsonable(each) for each in value]
    if isinstance(value, float) and math.isinf(value):
        return (
            "infinity" if value > 0 else "-infinity"
        )  # of signal to noise: JSON has no such number
    if isinstance(value, float):
        return float(f"{value:.{_DIGITS}g}")
    return _plain(value)


def _plain(value: Any) -> Any:
    return value.value if isinstance(value, Enum) else value
