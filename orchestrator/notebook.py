"""For notebooks: a run's folder becomes pandas frames."""

from __future__ import annotations

from os import PathLike
from pathlib import Path

from orchestrator.analysis import analyse
from orchestrator.published import publications
from orchestrator.report.frames import RunFrames, to_frames
from orchestrator.runs.directory import RunDirectory

__all__ = ["RunFrames", "load_run"]


def load_run(path: str | PathLike[str]) -> RunFrames:
    """The run in this folder (``results/<run-id>``) as the frames ``trials``, ``speedups``,
    ``accuracy`` and ``findings``; what their columns are stands at :class:`RunFrames`.

    Manifest and journal are read, nothing is written. Raises JournalError where they cannot be
    understood.
    """
    run = RunDirectory(Path(path).resolve()).read()
    return to_frames(run, analyse(run, publications()))
