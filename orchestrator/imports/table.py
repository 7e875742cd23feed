"""A table of published times (csv) → imported figures, a line two of them. Pure."""

from __future__ import annotations

import csv
import math

from orchestrator.errors import UsageError
from orchestrator.factors import NOT_TOLD, untold
from orchestrator.frameworks.runner import Reading
from orchestrator.imports.naming import variant_named
from orchestrator.imports.trials import ImportedFigure, Source, published_finding, slug
from orchestrator.measurement import Invocations, Measurement, Outcome

_NEEDED = (
    "source", "device", "microarchitecture", "model", "baseline_scheme", "scheme", "threads",
    "runner", "processes", "baseline_ms", "treatment_ms",
)  # fmt: skip


def is_table(text: str) -> bool:
    """Whether ``text`` begins with the header of such a table."""
    header = next(csv.reader(text.splitlines()[:1]), [])
    return {"source", "model", "scheme", "baseline_ms", "treatment_ms"} <= set(header)


def read_table(name: str, text: str) -> tuple[ImportedFigure, ...]:
    """Read two figures a line: the baseline's and the treatment's. A source and device make a
    device.

    Lines without times (a direction alone) hold no figure and are left out. Raises UsageError
    naming every line that is malformed.
    """
    rows = csv.DictReader(text.splitlines())
    missing = [column for column in _NEEDED if column not in (rows.fieldnames or ())]
    if missing:
        raise UsageError(f"{name}:1: lacks the columns {', '.join(missing)}")
    found: list[ImportedFigure] = []
    wrong: list[str] = []
    for row in rows:
        if not row["baseline_ms"] and not row["treatment_ms"]:
            continue
        try:
            found += _pair(name, rows.line_num, row)
        except (ValueError, TypeError) as exc:
            wrong.append(f"{name}:{rows.line_num}: {exc}")
    if wrong:
        raise UsageError("\n".join(wrong))
    if not found:
        raise UsageError(f"{name}: no line holds times in baseline_ms and treatment_ms")
    return tuple(found)


def _pair(name: str, line: int, row: dict[str, str]) -> list[ImportedFigure]:
    variants = [
        variant_named(f"{name}:{line}", row["model"], row[column])
        for column in ("baseline_scheme", "scheme")
    ]
    factors = untold(row["runner"] or NOT_TOLD, threads=_count(row, "threads") or 0)
    processes = _count(row, "processes")
    known = "n unknown" if processes is None else f"a mean of {processes} processes"
    text = ",".join(row[column] or "" for column in _NEEDED)
    return [
        ImportedFigure(
            device=slug(f"{row['source']} {row['device']}"),
            microarchitecture=row["microarchitecture"].removesuffix("unknown"),
            variant=variant,
            factors=factors,
            reading=Reading(
                Outcome.OK,
                Measurement(None, None, None, Invocations(_AT_LEAST_ONE, mean_us=_us(row, time))),
                findings=(published_finding(row["source"], known),),
            ),
            source=Source(name, f"line {line}", naming="as published"),
            text=text,
        )
        for variant, time in zip(variants, ("baseline_ms", "treatment_ms"), strict=True)
    ]  # fmt: skip


#: How many inferences a published mean is of is not told; there was one.
_AT_LEAST_ONE = 1


def _count(row: dict[str, str], column: str) -> int | None:
    text = row[column] or ""
    if not text:
        return None
    if not text.isascii() or not text.isdigit() or not int(text):
        raise ValueError(f"{column} {text!r} is not a count")
    return int(text)


def _us(row: dict[str, str], column: str) -> float:
    try:
        value = float(row[column]) * 1000
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise ValueError(f"{column} {row[column]!r} is not a time in milliseconds")
    return value
