"""An explanation in GitHub's Markdown: for documents, whose figures then come from a run."""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator.analysis.explain.explanation import Explanation
from orchestrator.report.clean import markdown as safe
from orchestrator.report.explain.parts import TITLE, Table, parts


def to_markdown(found: Explanation) -> str:
    """A heading a part, its sentences as a list, its table below."""
    blocks = [f"# {TITLE}", f"Run {safe(found.run_id)}."]
    for part in parts(found):
        blocks += [f"## {part.title}", _sentences(part.sentences)]
        blocks += [_table(part.table)] if part.table is not None else []
    return "\n\n".join(block for block in blocks if block) + "\n"


def _sentences(sentences: Sequence[str]) -> str:
    if len(sentences) == 1:
        return safe(sentences[0])
    return "\n".join(f"- {safe(sentence)}" for sentence in sentences)


def _table(table: Table) -> str:
    rule = ["---"] * len(table.header)
    header, *rows = ([safe(cell) for cell in row] for row in (table.header, *table.rows))
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (header, rule, *rows))
