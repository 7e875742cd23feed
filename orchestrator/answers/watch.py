"""``orchestrate watch``: where a run stands, from another shell or over a shared disk."""

from __future__ import annotations

import time
from dataclasses import replace

from orchestrator import live
from orchestrator.answer import Answer
from orchestrator.answers.terminal import answer_width, colour_wanted, on_terminal
from orchestrator.commands.watch import WatchArguments
from orchestrator.console import Screen
from orchestrator.report.live import LiveView, to_json, to_text
from orchestrator.runs.directory import RunDirectory
from orchestrator.runs.journal import has_writer
from orchestrator.watching import Watch

#: Seconds between two looks at the journal.
EVERY_S = 2.0


def answer(arguments: WatchArguments) -> Answer:
    """Show the run again and again until it is over or Ctrl-C; then, or at once where there is no
    terminal, answer with where it stands."""
    directory = RunDirectory.find(arguments.results, arguments.run)
    watch = Watch(directory)
    width, colour = answer_width(), colour_wanted()
    once = arguments.once or arguments.json or not on_terminal()
    if not once:
        _follow(watch, directory, width=width, colour=colour)
    view = _view(watch, directory)
    text = to_json(view) if arguments.json else to_text(view, width=width, color=colour)
    return Answer(text)


def _follow(watch: Watch, directory: RunDirectory, *, width: int, colour: bool) -> None:
    """Redraw where the run stands until it is over. Ctrl-C ends the watching, not the run."""
    try:
        with Screen() as screen:
            while True:
                view = _view(watch, directory)
                screen.show(to_text(view, width=width, color=colour))
                if view.ended:
                    return
                time.sleep(EVERY_S)
    except KeyboardInterrupt:
        return


def _view(watch: Watch, directory: RunDirectory) -> LiveView:
    now, _ = watch.look()
    how = live.how_it_ended(directory)
    view = live.view_of(now, how, report=(directory.path / "report.html").is_file())
    return replace(view, writer="" if how else _writer(directory))


def _writer(directory: RunDirectory) -> str:
    """Who writes the run, as far as that can be told from here."""
    if has_writer(directory.path):
        return "A controller on this machine writes it."
    return (
        "No process of this machine writes it: a controller elsewhere does, or it ended a moment "
        "ago."
    )
