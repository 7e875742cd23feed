"""An explanation for programs: every figure, and the sentences made of them."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from orchestrator.analysis.explain.agreement import Agreement
from orchestrator.analysis.explain.attribution import Effect
from orchestrator.analysis.explain.cells import levels_of
from orchestrator.analysis.explain.explanation import Explanation
from orchestrator.analysis.explain.moves import Move
from orchestrator.analysis.explain.moves import levels_of as accuracy_levels
from orchestrator.analysis.table import Speedup
from orchestrator.report.explain.parts import METHOD, parts
from orchestrator.report.jsonable import jsonable
from orchestrator.report.notes import place_in_full

#: Version of the shape. 1: the first.
JSON_FORMAT = 1


def to_json(found: Explanation) -> str:
    """Return all there is, ASCII only. Comparisons have their levels and figures; the rest of them
    is in speedup.json."""
    document = {
        "format": JSON_FORMAT,
        "run_id": found.run_id,
        "baseline": found.baseline,
        "method": METHOD,
        "factors": found.factors,
        "sentences": {part.name: part.sentences for part in parts(found)},
        "flips": [
            {
                "model": flip.model,
                "scheme": flip.scheme,
                "slower": [*map(_row, flip.slower)],
                "faster": [*map(_row, flip.faster)],
                "switches": [
                    {"factor": s.factor, "slower": _row(s.slower), "faster": _row(s.faster)}
                    for s in flip.switches
                ],
            }
            for flip in found.flips
        ],
        "effects": [*map(_effect, found.effects)],
        "interactions": [*map(_effect, found.interactions)],
        "variations": [asdict(each) for each in found.variations],
        "published": [*map(_agreement, found.agreements)],
        **({"accuracy": [*map(_move, found.moves)]} if found.moves else {}),
        "operators": [
            {**_row(each.row), "changes": [asdict(change) for change in each.changes]}
            for each in found.profiles
        ],
        "left_out": [{**_row(gap.cell.row), "why": gap.why} for gap in found.gaps],
    }
    return json.dumps(jsonable(document), indent=1, allow_nan=False) + "\n"


def _row(row: Speedup) -> dict[str, Any]:
    return {
        "device": row.device,
        "place": place_in_full(row.device, row.isa),
        **levels_of(row),
        "runtime_version": row.runtime_version,
        "speedup": row.speedup,
        "ci_low": row.ci_low,
        "ci_high": row.ci_high,
        "verdict": row.verdict,
    }


def _effect(each: Effect) -> dict[str, Any]:
    return {**asdict(each), "certain": each.certain}


def _move(each: Move) -> dict[str, Any]:
    place = {
        side: {**accuracy_levels(row), "difference": row.difference}
        for side, row in (("here", each.here), ("there", each.there))
    }
    names = ("change", "low", "high", "changed", "p_value", "p_adjusted", "certain")
    return {
        "model": each.here.model,
        "scheme": each.here.scheme,
        "metric": each.here.metric,
        "factor": each.factor,
        **place,
        **{name: getattr(each, name) for name in names},
    }


def _agreement(each: Agreement) -> dict[str, Any]:
    models = [
        {**_row(model.row), "published": asdict(model.figure), "ratio": model.ratio}
        for model in each.models
    ]
    return {**asdict(each), "models": models, "ratio": each.ratio, "within": each.within}
