"""``orchestrate leaderboard``: a static site of all runs in a folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from orchestrator import plain_files
from orchestrator.analysis.drift.comparison import ReadRun
from orchestrator.answer import Answer
from orchestrator.commands.leaderboard import LeaderboardArguments
from orchestrator.errors import OrchestrateError, UsageError
from orchestrator.report import leaderboard
from orchestrator.report.leaderboard import Entry
from orchestrator.runs.collection import no_collection
from orchestrator.runs.directory import RunDirectory, list_runs
from orchestrator.runs.manifest import read_manifest


def answer(arguments: LeaderboardArguments) -> Answer:
    """Write the site, and answer with where it is and what is not in it."""
    found = list_runs(arguments.folder)
    if not found:
        raise UsageError(f"{arguments.folder} holds no run; `orchestrate run` makes one")
    entries: list[Entry] = []
    runs: list[dict[str, Any]] = []
    skipped: list[str] = []
    # one run at a time: a folder may hold more than fits into memory
    for directory in found:
        try:
            run = _read(directory)
            own = leaderboard.entries_of(run, directory.run_id)
            page = leaderboard.evidence(run, own)
        except OrchestrateError as exc:
            skipped.append(f"{directory.run_id}: {exc}")
            continue
        _write(arguments.output, f"runs/{directory.run_id}.html", page)
        entries += own
        runs.append(leaderboard.run_to_json(run, directory.run_id))
    _write(arguments.output, "leaderboard.json", leaderboard.to_json(entries, runs, skipped))
    _write(arguments.output, "index.html", leaderboard.index(entries, runs, skipped))
    site = arguments.output / "index.html"
    lines = [f"{site}: {len(entries)} comparisons of {len(runs)} runs"]
    lines += [f"left out: {each}" for each in skipped]
    return Answer("".join(f"{line}\n" for line in lines))


def _read(directory: RunDirectory) -> ReadRun:
    with no_collection():
        run = ReadRun(read_manifest(directory.path), directory.read())
        if run.manifest.run_id != directory.run_id:
            raise UsageError(f"its manifest says that it is run {run.manifest.run_id}")
        _ = run.table  # what is wrong with its journal shows here
        return run


def _write(folder: Path, name: str, text: str) -> None:
    path = folder / name
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        plain_files.write(folder, name, text.encode())
    except OSError as exc:
        raise OrchestrateError(
            f"{path}: cannot be written ({exc.strerror or exc}); choose another --output"
        ) from exc
