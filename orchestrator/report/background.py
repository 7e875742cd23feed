"""What a page shows beside the table: the manifest, the devices' facts, single times."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator.runs.curves import Curve, read_curves
from orchestrator.runs.directory import RunDirectory
from orchestrator.runs.manifest import Manifest, read_manifest
from orchestrator.runs.records import RunRecord


@dataclass(frozen=True)
class Background:
    """``facts`` are those of the manifest and of the journal after it, by device."""

    manifest: Manifest
    facts: Mapping[str, Mapping[str, Any]]
    curves: tuple[Curve, ...] = ()


def read_background(directory: RunDirectory, run: RunRecord) -> Background:
    """From manifest and raw logs. Raises JournalError where the manifest cannot be read."""
    return Background(read_manifest(directory.path), run.facts, read_curves(directory, run))
