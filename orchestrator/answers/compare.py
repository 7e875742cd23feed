"""``orchestrate compare``: what changed between runs."""

from __future__ import annotations

from orchestrator.analysis.drift.comparison import ReadRun, compare_runs
from orchestrator.answer import Answer
from orchestrator.answers.terminal import answer_width, colour_wanted
from orchestrator.commands.compare import CompareArguments
from orchestrator.errors import UsageError
from orchestrator.report import drift
from orchestrator.runs.directory import RunDirectory
from orchestrator.runs.manifest import read_manifest


def answer(arguments: CompareArguments) -> Answer:
    """Hold every later run against the first that is named."""
    found = [RunDirectory.find(arguments.results, name) for name in arguments.run]
    if len(found) < 2:
        raise UsageError("compare needs two runs; `orchestrate runs` lists what there is")
    twice = {d.run_id for d in found if [e.path for e in found].count(d.path) > 1}
    if twice:
        raise UsageError(f"{', '.join(sorted(twice))} is named twice; name different runs")
    first, *others = (ReadRun(read_manifest(d.path), d.read()) for d in found)
    comparisons = [compare_runs(first, other) for other in others]
    if arguments.json:
        return Answer(drift.to_json(comparisons))
    texts = [
        drift.to_text(each, width=answer_width(), color=colour_wanted()) for each in comparisons
    ]
    return Answer("\n".join(texts))
