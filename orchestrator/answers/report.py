"""``orchestrate report``: the table again, single times from the logs; or one of several runs."""

from __future__ import annotations

from orchestrator.analysis import analyse
from orchestrator.analysis.tails import with_quick_tails, with_tails
from orchestrator.answer import Answer
from orchestrator.answers.merge import merged_table
from orchestrator.answers.terminal import answer_width, answered, colour_wanted
from orchestrator.commands.report import ReportArguments
from orchestrator.console import Console
from orchestrator.errors import UsageError
from orchestrator.published import publications
from orchestrator.report import merged, render, write_charts
from orchestrator.report.background import read_background
from orchestrator.report.flat import tails_to_csv
from orchestrator.report.latex import Typesetting
from orchestrator.runs.collection import no_collection
from orchestrator.runs.directory import RunDirectory

#: What `orchestrate run` writes them into, unless reading the logs would take long.
_WITH_TAILS = ("json", "html")


def answer(arguments: ReportArguments) -> Answer:
    """Print the table again, from the journal alone."""
    typesetting = _typesetting(arguments)
    if len(arguments.run) > 1:
        return _of_several(arguments)
    directory = RunDirectory.find(arguments.results, arguments.run[0])
    with no_collection():
        record = directory.read()
        table = analyse(record, publications())
        if arguments.tails:
            table = with_tails(record, table)
        elif arguments.format in _WITH_TAILS:
            table = with_quick_tails(record, table)
    drawn = arguments.format == "html" or arguments.charts is not None
    background = read_background(directory, record, table) if drawn else None
    if arguments.charts is not None:
        write_charts(table, arguments.charts, background, Console().say)
    to_file = arguments.output is not None
    if arguments.tails and arguments.format == "csv":  # a table of its own
        return answered(tails_to_csv(table), arguments.output)
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


def _of_several(arguments: ReportArguments) -> Answer:
    """One table of several runs."""
    if arguments.verbose:
        raise UsageError("--verbose is for one run: a table of several says all that it has")
    if arguments.charts is not None:
        raise UsageError("--charts draws one run; leave it out, or name one run")
    if arguments.tails:
        raise UsageError("--tails reads one run's single times; leave it out, or name one run")
    if arguments.format not in merged.FORMATS:
        raise UsageError(
            f"several runs have no format {arguments.format}; choose one of: "
            f"{', '.join(merged.FORMATS)}, or name one run"
        )
    table = merged_table(arguments.results, arguments.run)
    to_file = arguments.output is not None
    text = merged.render(
        table,
        arguments.format,
        width=120 if to_file else answer_width(),
        color=colour_wanted() and not to_file,
    )
    return answered(text, arguments.output)
