"""Raw logs of measuring tools → imported figures. Pure; what cannot be read stays as a failure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from orchestrator.errors import UsageError
from orchestrator.factors import Factors, factor_named
from orchestrator.frameworks.logs import LoggedProcess
from orchestrator.frameworks.parts import log_readers
from orchestrator.imports.naming import variant_of
from orchestrator.imports.trials import ImportedFigure, Source, imported_finding
from orchestrator.trial import Variant


@dataclass(frozen=True)
class ImportHints:
    """What the user says of logs that do not say it. ``threads`` 0 and an empty ``delegate``: not
    told. ``variant`` is what every process ran; else ``table`` and the files' names decide."""

    device: str
    microarchitecture: str = ""
    variant: Variant | None = None
    table: Mapping[str, Variant] = field(default_factory=dict)
    threads: int = 0
    delegate: str = ""


@dataclass(frozen=True)
class ReadLogs:
    """What a file held. ``remarks``, each with its place: processes that ended before they said
    which file they ran, or measured anything."""

    figures: tuple[ImportedFigure, ...]
    remarks: tuple[str, ...]


def read_logs(name: str, text: str, told: ImportHints) -> ReadLogs:
    """Return every process in the file called ``name``.

    Raises UsageError where there is none, or where nothing says which model and scheme one is of;
    the message names every such place at once.
    """
    readers = log_readers()
    found = next(filter(None, (reader.read(name, text) for reader in readers)), ())
    if not found:
        known_by, takes = (
            separator.join(getattr(reader, words) for reader in readers)
            for separator, words in ((" or ", "known_by"), (", ", "takes"))
        )
        raise UsageError(f"{name}: holds no {known_by}; give {takes} or the published table")
    figures: list[ImportedFigure] = []
    remarks: list[str] = []
    unnamed: list[str] = []
    for process in found:
        place, graph = f"{name}: {process.begins}", process.graph
        variant = told.variant or variant_of(graph, told.table)
        if variant is not None:
            figures.append(_imported(name, process, variant, told))
        elif graph:
            unnamed.append(f"{place}: which model and scheme is {graph!r}?")
        elif process.measured:
            unnamed.append(f"{place}: does not say which file it ran")
        else:
            remarks.append(f"{place}: ended before it said which file it ran")
    if unnamed:
        raise UsageError(
            "\n".join(unnamed)
            + "\nsay so with --map FILE (csv: graph,model,scheme) or --model and --scheme"
        )
    return ReadLogs(tuple(figures), tuple(remarks))


def _imported(
    name: str, process: LoggedProcess, variant: Variant, told: ImportHints
) -> ImportedFigure:
    graph = process.graph
    by_user = told.variant is not None or graph in told.table
    by_user = by_user or re.split(r"[/\\]", graph)[-1] in told.table
    imported = ImportedFigure(
        device=told.device,
        microarchitecture=told.microarchitecture,
        variant=variant,
        factors=_with_hints(process.factors, told),
        reading=process.reading,
        source=Source(
            file=name,
            place=process.begins,
            graph=graph,
            naming="as the user said" if by_user else "by the file's name",
        ),
        text=process.text,
        size_bytes=process.size_bytes,
    )
    return imported.with_finding(imported_finding())


def _with_hints(factors: Factors, told: ImportHints) -> Factors:
    """What the log tells, and what the user says where it tells nothing."""
    hints: dict[str, Any] = {"delegate": told.delegate, "threads": told.threads}
    missing = {
        name: hint
        for name, hint in hints.items()
        if hint and getattr(factors, name) == factor_named(name).untold
    }
    return replace(factors, **missing)
