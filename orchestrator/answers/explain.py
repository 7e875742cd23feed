"""``orchestrate explain``: what moves a run's speed-ups."""

from __future__ import annotations

from orchestrator.analysis import analyse
from orchestrator.analysis.explain.explanation import explain as explained
from orchestrator.answer import Answer
from orchestrator.answers.terminal import answer_width, answered, colour_wanted
from orchestrator.commands.explain import ExplainArguments
from orchestrator.published import publications
from orchestrator.report.explain import render
from orchestrator.runs.collection import no_collection
from orchestrator.runs.directory import RunDirectory


def answer(arguments: ExplainArguments) -> Answer:
    """Tell what moves a run's speed-ups, from its journal alone."""
    directory = RunDirectory.find(arguments.results, arguments.run)
    with no_collection():
        record = directory.read()
        found = explained(record, analyse(record, publications()))
    to_file = arguments.output is not None
    text = render(
        found,
        arguments.format,
        width=100 if to_file else answer_width(),
        color=colour_wanted() and not to_file,
    )
    return answered(text, arguments.output)
