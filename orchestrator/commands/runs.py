"""``report`` and ``runs``."""

from __future__ import annotations

import argparse
import json

from orchestrator.analysis import analyse
from orchestrator.answer import Answer
from orchestrator.commands.terminal import answer_width, answered, colour_wanted
from orchestrator.console import Console
from orchestrator.errors import JournalError
from orchestrator.published import publications
from orchestrator.report import render, write_charts
from orchestrator.report.background import read_background
from orchestrator.report.grid import render_grid
from orchestrator.runs.collection import no_collection
from orchestrator.runs.directory import RunDirectory
from orchestrator.runs.directory import list_runs as runs_in


def report(arguments: argparse.Namespace) -> Answer:
    """The table again, from the journal alone."""
    directory = RunDirectory.find(arguments.results, arguments.run)
    with no_collection():
        record = directory.read()
        table = analyse(record, publications())
    drawn = arguments.format == "html" or arguments.charts is not None
    background = read_background(directory, record, table) if drawn else None
    if arguments.charts is not None:
        write_charts(table, arguments.charts, background, Console().say)
    to_file = arguments.output is not None
    text = render(
        table,
        arguments.format,
        width=120 if to_file else answer_width(),
        color=colour_wanted() and not to_file,
        background=background,
    )
    return answered(text, arguments.output)


def list_runs(arguments: argparse.Namespace) -> Answer:
    """What is in the results folder, oldest first; a run that cannot be read says why."""
    rows = [_row(directory) for directory in runs_in(arguments.results)]
    if arguments.json:
        return Answer(json.dumps({"format": 1, "runs": rows}, indent=1) + "\n")
    if not rows:
        return Answer(f"{arguments.results} holds no run yet\n")
    cells = [[str(value) for value in row.values()] for row in rows]
    return Answer(render_grid(list(rows[0]), cells, width=answer_width(), color=colour_wanted()))


def _row(directory: RunDirectory) -> dict[str, object]:
    try:
        record = directory.read()
    except JournalError as exc:
        return {
            "run": directory.run_id,
            "suite": "",
            "devices": "",
            "trials": "",
            "state": str(exc),
        }
    reached = {t.device for t in record.planned}
    awaited = sorted(record.bundled - reached)
    groups = {(t.device, t.variant.model, t.factors) for t in record.planned}
    complete = bool(groups) and len(record.stopped) >= len(groups)
    finished = len(record.trials)
    open_trials = len({t.trial_id for t in record.planned}) - finished
    done = complete and not open_trials and not record.lost
    return {
        "run": directory.run_id,
        "suite": record.suite,
        "devices": ", ".join(record.devices),
        "trials": finished,
        "state": _state(done=done, open_trials=open_trials, awaited=awaited),
    }


def _state(*, done: bool, open_trials: int, awaited: list[str]) -> str:
    if awaited and (done or not open_trials):
        return f"awaits the results of {', '.join(awaited)}"
    return "complete" if done else f"resumable, {open_trials} trials open"
