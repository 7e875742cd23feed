"""What a page shows in addition to the table: the manifest, the devices' facts, single times."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator.analysis.explain.explanation import Explanation, explain, settings_vary
from orchestrator.analysis.table import SpeedupTable
from orchestrator.runs.curves import Curve, read_curves
from orchestrator.runs.directory import RunDirectory
from orchestrator.runs.manifest import Manifest, read_manifest
from orchestrator.runs.records import RunRecord


@dataclass(frozen=True)
class Background:
    """``facts`` are those of the manifest and of the journal after it, by device. ``explanation``
    is None where no setting of the run varied."""

    manifest: Manifest
    facts: Mapping[str, Mapping[str, Any]]
    curves: tuple[Curve, ...] = ()
    explanation: Explanation | None = None


def read_background(directory: RunDirectory, run: RunRecord, table: SpeedupTable) -> Background:
    """Read, from manifest and raw logs, what stands behind ``table``, which is that of ``run``, and
    what moves it.

    Raises JournalError where the manifest cannot be read.
    """
    return Background(
        read_manifest(directory.path),
        run.facts,
        read_curves(directory, run),
        explain(run, table) if settings_vary(table) else None,
    )
