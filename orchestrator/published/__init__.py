"""Published speed-ups with their sources, as they ship with the product.

``speedups.csv`` has a line a figure: times in milliseconds, ``processes`` and ``*_sd_ms`` where
the publication gives them, ``reading_ms`` where both times may be off by so much (one pixel of a
chart, or the farthest of the few windows that a time is the median of), ``direction`` alone where
only that is known; ``*`` stands for a model or scheme that the publication does not name.
Microarchitectures have the names that agents report.
``sources.csv`` says what each source is.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from functools import cache
from importlib import resources

from orchestrator.analysis.speedups.published import Publication


@cache
def publications() -> tuple[Publication, ...]:
    """Every published figure that ships."""
    citations = {row["source"]: row["citation"] for row in _rows("sources.csv")}
    return tuple(
        Publication(
            citation=citations[row["source"]],
            hardware=row["device"],
            microarchitecture=row["microarchitecture"],
            model=row["model"],
            baseline_scheme=row["baseline_scheme"],
            scheme=row["scheme"],
            threads=int(row["threads"]) if row["threads"] else None,
            runner=row["runner"],
            processes=int(row["processes"]) if row["processes"] else None,
            baseline_ms=row["baseline_ms"],
            baseline_sd_ms=_number(row["baseline_sd_ms"]),
            treatment_ms=row["treatment_ms"],
            treatment_sd_ms=_number(row["treatment_sd_ms"]),
            reading_ms=_number(row["reading_ms"]),
            direction=row["direction"],
        )
        for row in _rows("speedups.csv")
    )


def _rows(name: str) -> Iterator[dict[str, str]]:
    text = (resources.files(__package__) / name).read_text(encoding="utf-8")
    yield from csv.DictReader(text.splitlines())


def _number(text: str) -> float | None:
    return float(text) if text else None
