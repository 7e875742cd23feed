"""``orchestrate runs``: what is in the results folder."""

from __future__ import annotations

import json

from orchestrator.answer import Answer
from orchestrator.answers.terminal import answer_width, colour_wanted
from orchestrator.commands.runs import RunsArguments
from orchestrator.errors import JournalError
from orchestrator.report.grid import render_grid
from orchestrator.runs.directory import RunDirectory
from orchestrator.runs.directory import list_runs as runs_in


def answer(arguments: RunsArguments) -> Answer:
    """List what is in the results folder, oldest first; a run that cannot be read says why."""
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
