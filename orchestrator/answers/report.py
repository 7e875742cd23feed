"""``orchestrate report``: the table again, from the journal alone."""

from __future__ import annotations

from orchestrator.analysis import analyse
from orchestrator.answer import Answer
from orchestrator.answers.terminal import answer_width, answered, colour_wanted
from orchestrator.commands.report import ReportArguments
from orchestrator.console import Console
from orchestrator.errors import UsageError
from orchestrator.published import publications
from orchestrator.report import render, write_charts
from orchestrator.report.background import read_background
from orchestrator.report.latex import Typesetting
from orchestrator.runs.collection import no_collection
from orchestrator.runs.directory import RunDirectory


def answer(arguments: ReportArguments) -> Answer:
    """Print the table again, from the journal alone."""
    typesetting = _typesetting(arguments)
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
        verbose=arguments.verbose,
        typesetting=typesetting,
    )
    return answered(text, arguments.output)


def _typesetting(arguments: ReportArguments) -> Typesetting:
    """What the command line says of LaTeX. Raises UsageError where another format is printed."""
    told = {name: getattr(arguments, name) for name in ("notes", "label", "caption")}
    given = {name: value for name, value in told.items() if value is not None}
    if given and arguments.format != "latex":
        raise UsageError(f"--{next(iter(given))} is for LaTeX; add --format latex")
    return Typesetting(**given)
