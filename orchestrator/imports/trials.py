"""What an import makes of its sources: trials with their readings, not yet written. Pure."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from orchestrator.frameworks.runner import Reading
from orchestrator.measurement import Finding
from orchestrator.trial import Factors, Trial, TrialKind, Variant


@dataclass(frozen=True)
class Source:
    """The place that one imported figure comes from; it is recorded with the trial."""

    file: str
    place: str
    graph: str = ""
    naming: str = ""


@dataclass(frozen=True)
class ImportedFigure:
    """One process of a log, or one figure of a table. ``text`` is its raw output or line;
    ``size_bytes`` the model file's size as it was printed, None where it was not."""

    device: str
    microarchitecture: str
    variant: Variant
    factors: Factors
    reading: Reading
    source: Source
    text: str
    size_bytes: int | None = None

    def with_finding(self, finding: Finding) -> ImportedFigure:
        found = (*self.reading.findings, finding)
        return replace(self, reading=replace(self.reading, findings=found))


@dataclass(frozen=True)
class FigureTrial:
    """An imported figure as a trial of the run."""

    trial: Trial
    imported: ImportedFigure


def place(figures: Iterable[ImportedFigure]) -> tuple[FigureTrial, ...]:
    """Place each figure in a block of its own kind: the first of every scheme in block 0, and so
    on.

    That pairing is by order alone, which is as good as any where nothing more is known, and which
    the finding on every one of them says.
    """
    seen: Counter[tuple[str, Variant, Factors]] = Counter()
    placed = []
    for each in figures:
        key = (each.device, each.variant, each.factors)
        block = seen[key]
        seen[key] += 1
        placed.append(FigureTrial(_trial(each, block), each))
    return tuple(placed)


def _trial(each: ImportedFigure, block: int) -> Trial:
    model, scheme = each.variant.model, each.variant.scheme
    identity = "|".join(map(str, (each.device, each.variant, each.factors, block)))
    digest = hashlib.sha256(identity.encode()).hexdigest()[:10]
    return Trial(
        trial_id=f"{each.device}.{model}.{scheme}.b{block:03d}.{digest}",
        device=each.device,
        kind=TrialKind.TIMING,
        variant=each.variant,
        factors=each.factors,
        block=block,
    )


def slug(text: str) -> str:
    """``text`` as a name: letters, digits, ``-`` and ``_``."""
    return re.sub(r"[^A-Za-z0-9_]+", "-", text).strip("-").lower() or "unnamed"


def imported_finding() -> Finding:
    """Return the finding on every figure out of a log."""
    return Finding(
        "imported",
        f"the figures come from logs: {_NOT_KNOWN}, and nothing was randomised",
        _REMEDY,
    )


def published_finding(source: str, known: str) -> Finding:
    """Return the finding on every figure out of a publication; ``known`` says of how many processes
    it is."""
    return Finding(
        "published_figure",
        f"a published figure ({source}), uncontrolled, {known}: {_NOT_KNOWN}",
        _REMEDY,
    )


_NOT_KNOWN = "the order of processes, neighbours, clock and temperature are not known"
_REMEDY = "measure it with `orchestrate run` before anything is concluded from it"


def same_sizes(figures: Iterable[ImportedFigure]) -> dict[Variant, Finding]:
    """Variants whose files were printed with one and the same size, to six digits: a loop that
    measured one file under several names leaves no other trace."""
    by_size: dict[int, set[Variant]] = {}
    for each in figures:
        if each.size_bytes is not None:
            by_size.setdefault(each.size_bytes, set()).add(each.variant)
    return {
        variant: Finding(
            "same_content",
            f"{' and '.join(map(str, sorted(variants)))} have files of one size ({size} bytes as "
            "printed): one file under several names",
            "look at the loop that called the tool, and measure again",
            forbids=True,
        )
        for size, variants in by_size.items()
        if len(variants) > 1
        for variant in variants
    }


def to_event(placed: FigureTrial) -> dict[str, Any]:
    """The fields of the ``finished`` line, but the trial's own."""
    reading, source = placed.imported.reading, placed.imported.source
    return {
        "outcome": reading.outcome.value,
        "reason": reading.reason,
        **({} if reading.measurement is None else reading.measurement.to_json()),
        "findings": [finding.to_json() for finding in reading.findings],
        "artifact_sha256": None,
        "binary_sha256": None,
        "imported": {
            "file": Path(source.file).name,  # a folder of ours is nobody's business
            "place": source.place,
            "graph": source.graph,
            "naming": source.naming,
        },
    }
