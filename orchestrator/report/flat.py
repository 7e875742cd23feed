"""speedup.csv and speedup.json: for programs. Full precision, every field of the contract."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import asdict
from enum import Enum
from typing import Any

from orchestrator.analysis.table import Speedup, SpeedupTable
from orchestrator.report.clean import csv_cell
from orchestrator.report.notes import METHOD, codes

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

#: Version of speedup.json's shape. 1: the first.
JSON_FORMAT = 1

_DIGITS = 6


def to_csv(table: SpeedupTable) -> str:
    """A header and a line a comparison; an empty cell is a figure that was not measured."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS)
    for row in table.rows:
        writer.writerow([_csv_value(row, column) for column in COLUMNS])
    return out.getvalue()


def _csv_value(row: Speedup, column: str) -> str:
    value = ";".join(codes(row)) if column == "findings" else getattr(row, column)
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.{_DIGITS}g}"
    return str(value) if isinstance(value, int) else csv_cell(_plain(value))


def to_json(table: SpeedupTable) -> str:
    """All there is. ASCII only, so that no terminal can be told anything by printing it."""
    document = {"format": JSON_FORMAT, "method": METHOD, **_jsonable(asdict(table))}
    document["speedups"] = document.pop("rows")
    return json.dumps(document, indent=1, allow_nan=False) + "\n"


def _jsonable(value: Any) -> Any:
    if isinstance(value, dict):
        return {_plain(key): _jsonable(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_jsonable(each) for each in value]
    if isinstance(value, float):
        return float(f"{value:.{_DIGITS}g}")
    return _plain(value)


def _plain(value: Any) -> Any:
    return value.value if isinstance(value, Enum) else value
