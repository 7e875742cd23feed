"""What a page shows in addition to the table: the manifest, the devices' facts, single times."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from orchestrator.analysis.explain.explanation import Explanation, explain, settings_vary
from orchestrator.analysis.table import SpeedupTable
from orchestrator.report.losses import MOST_PICTURE_BYTES, PICTURE_SIDE, pictured
from orchestrator.runs.curves import Curve, read_curves
from orchestrator.runs.directory import RunDirectory
from orchestrator.runs.manifest import Manifest, read_manifest
from orchestrator.runs.records import RunRecord


@dataclass(frozen=True)
class Background:
    """``facts`` are those of the manifest and of the journal after it, by device. ``explanation``
    is None where no setting of the run varied. ``pictures`` are JPEG images of samples by their
    keys, and ``pictures_missing`` says why some are not there."""

    manifest: Manifest
    facts: Mapping[str, Mapping[str, Any]]
    curves: tuple[Curve, ...] = ()
    explanation: Explanation | None = None
    pictures: Mapping[str, bytes] = field(default_factory=dict)
    pictures_missing: str = ""


def read_background(directory: RunDirectory, run: RunRecord, table: SpeedupTable) -> Background:
    """Read, from manifest and raw logs, what stands behind ``table``, which is that of ``run``, and
    what moves it.

    Raises JournalError where the manifest cannot be read.
    """
    pictures, missing = _pictures(run, table)
    return Background(
        read_manifest(directory.path),
        run.facts,
        read_curves(directory, run),
        explain(run, table) if settings_vary(table) else None,
        pictures,
        missing,
    )


def _pictures(run: RunRecord, table: SpeedupTable) -> tuple[dict[str, bytes], str]:
    """Pictures of the samples that changed their answer, where the data set is at hand."""
    keys = dict.fromkeys(key for _, key in pictured(table.accuracy))
    if run.samples is None or not keys:
        return {}, ""
    # numpy, which most reports do without
    from orchestrator.datasets.thumbnails import make_thumbnails  # noqa: PLC0415

    return make_thumbnails(run.samples, keys, side=PICTURE_SIDE, most_bytes=MOST_PICTURE_BYTES)
