"""What a published run is cited by: ``CITATION.cff`` (Citation File Format 1.2.0) and a README."""

from __future__ import annotations

import json

from orchestrator.analysis.table import SpeedupTable
from orchestrator.printable import printable
from orchestrator.report.clean import clean
from orchestrator.report.clean import markdown as safe
from orchestrator.report.notes import totals
from orchestrator.runs.manifest import Manifest


def citation(
    manifest: Manifest, table: SpeedupTable, journal_sha256: str, *, anonymous: bool
) -> str:
    """The text of ``CITATION.cff``: complete but for the authors, whom only they can name."""
    authors = "Anonymous" if anonymous else "(write the authors here)"
    models = sorted({row.model for row in table.rows})
    lines = (
        "cff-version: 1.2.0",
        "# Put the authors in (family-names, given-names, orcid), a doi and a license.",
        f"message: {_text('If you use these measurements, please cite them as below.')}",
        "type: dataset",
        f"title: {_text(title(manifest, table))}",
        "authors:",
        f"  - name: {_text(authors)}",
        f"version: {_text(manifest.run_id)}",
        f"date-released: {_text(manifest.created[:10])}",
        "identifiers:",
        "  - type: other",
        f"    value: {_text(f'sha256:{journal_sha256}')}",
        f"    description: {_text('SHA-256 of journal.jsonl, which holds every measurement')}",
        "keywords:",
        "  - quantization",
        "  - inference speed",
        *(f"  - {_text(model)}" for model in models),
    )
    return "\n".join(lines) + "\n"


def title(manifest: Manifest, table: SpeedupTable) -> str:
    """``Speed of quantized models: quick on cascadelake and cortex-a72``."""
    kinds = sorted({row.microarchitecture for row in table.rows if row.microarchitecture})
    where = f" on {', '.join(kinds)}" if kinds else ""
    return f"Speed of quantized models: {manifest.suite.get('name') or 'a suite'}{where}"


def read_me(manifest: Manifest, table: SpeedupTable) -> str:
    """What is in the file, for whoever unpacks it by hand."""
    return (
        f"# {safe(title(manifest, table))}\n\n"
        f"Run {safe(manifest.run_id)}, begun {safe(manifest.created[:10])}: {totals(table)}.\n\n"
        "- `journal.jsonl`: every event in order, and the only truth\n"
        "- `run.json`: what the run is made of\n"
        "- `logs/`: each trial's raw output\n"
        "- `report.html`, `speedup.*`: derived from these\n"
        "- `export.json`: the SHA-256 of every file\n\n"
        "`orchestrate import FILE` makes a run of this file again, and `orchestrate report` "
        "computes its table anew from the journal.\n"
    )


def _text(value: str) -> str:
    """A scalar of YAML: JSON's strings are such."""
    return json.dumps(clean(printable(value)))
