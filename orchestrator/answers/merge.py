"""``orchestrate merge``: one table of several runs, as files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from orchestrator.analysis.drift.comparison import ReadRun
from orchestrator.analysis.drift.merged import MergedTable, merge
from orchestrator.answer import Answer
from orchestrator.answers.terminal import answer_width, colour_wanted
from orchestrator.commands.merge import MergeArguments
from orchestrator.console import Console
from orchestrator.errors import UsageError
from orchestrator.report import merged
from orchestrator.runs.collection import no_collection
from orchestrator.runs.directory import RunDirectory
from orchestrator.runs.manifest import read_manifest


def answer(arguments: MergeArguments) -> Answer:
    """Write the table's files, and answer with it."""
    table = merged_table(arguments.results, arguments.run)
    written = merged.write(table, arguments.output)
    Console().say(f"written: {', '.join(map(str, written))}")
    text = merged.render(table, "text", width=answer_width(), color=colour_wanted())
    return Answer(text)


def merged_table(results: Path, names: Sequence[str]) -> MergedTable:
    """Read the runs and put them into one table. Raises OrchestrateError."""
    found = [RunDirectory.find(results, name) for name in names]
    paths = [each.path.resolve() for each in found]
    twice = {each.run_id for each in found if paths.count(each.path.resolve()) > 1}
    if twice:
        raise UsageError(f"{', '.join(sorted(twice))} is named twice; name different runs")
    with no_collection():
        return merge([ReadRun(read_manifest(each.path), each.read()) for each in found])
