"""The shape of a journal's line: of every field that somebody reads from one.

A journal may come from anybody, and is read for years by code that takes a time for a number. The
shape follows from the records that a line becomes, so that a field which is added there is looked
at here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic_core import SchemaValidator, ValidationError
from pydantic_core import core_schema as core

from orchestrator.measurement import Energy, Finding, Measurement
from orchestrator.runs.machine_shape import FACTS
from orchestrator.shape import (
    FLAG,
    LONG_TEXT,
    MAX_LONG_TEXT,
    MAX_NUMBER,
    MAX_TEXT,
    NUMBER,
    SHA256,
    TEXT,
    WHOLE,
    NotNull,
    Shape,
    problem,
    shape_of,
)
from orchestrator.trial import Duet, Factors

#: Of a machine's health what the analysis reads; there is much more in a line.
_HEALTH: Shape = {
    "governor": TEXT,
    "turbo": FLAG,
    "jetson": {"power_mode": TEXT, "power_mode_id": WHOLE, "clocks_locked": FLAG},
}

LINE: dict[str, Any] = {
    "format": NotNull(WHOLE),
    "seq": NotNull(WHOLE),
    "time": TEXT,
    "device": NotNull(TEXT),
    "event": NotNull(TEXT),
    # trials
    **dict.fromkeys(("trial_id", "kind", "model", "scheme"), NotNull(TEXT)),
    "framework": TEXT,
    **dict.fromkeys(("block", "replicate"), NotNull(WHOLE)),
    **shape_of(Factors),
    "duet": shape_of(Duet),
    "agent_seq": WHOLE,
    "device_time": TEXT,
    # how one ended
    "outcome": NotNull(TEXT),
    "reason": LONG_TEXT,
    **shape_of(Measurement),
    "findings": NotNull([NotNull(shape_of(Finding))]),
    "energy": shape_of(Energy),
    "artifact_sha256": TEXT,
    "binary_sha256": TEXT,
    "isa_proof": {"way": NotNull(TEXT)},
    "wall_s": NUMBER,
    "health_before": _HEALTH,
    "health": _HEALTH,
    "during": {"busy_by_cpu_s": {"*": NotNull(NUMBER)}},
    "rusage": {"user_s": NUMBER, "sys_s": NUMBER},
    "conditions": {"pinned": [NotNull(WHOLE)], "reasons": NotNull([NotNull(TEXT)])},
    # devices and groups
    "facts": NotNull(FACTS),
    "agent_hash": TEXT,
    "group": NotNull(TEXT),
    "resumable": FLAG,
}
#: Whose keys are kept that no shape lists: two runs are compared by all that is in them.
_WHOLE_FIELDS = ("facts",)


def line_problem(event: Mapping[str, Any]) -> str | None:
    """Return what is wrong with the fields of an event, in words; None where all is well."""
    try:
        _VALIDATOR.validate_python(event)
    except ValidationError:  # the words are ours, and half a surrogate is text to us
        found = problem(event, LINE)
        return None if found is None else f"{found[0].lstrip('.')[:100]} is not {found[1]}"
    return None


def read_line(line: bytes) -> dict[str, Any] | None:
    """Return the fields of an event that the shape lists; None where not all is well with the line.

    As quick as parsing the line alone, because most of it is left out.
    """
    try:
        found: dict[str, Any] = _VALIDATOR.validate_json(line)
    except ValidationError:
        return None
    return found


def _object(shape: Mapping[str, Any], *, extra: core.ExtraBehavior) -> core.CoreSchema:
    return core.typed_dict_schema(
        {
            name: core.typed_dict_field(
                _schema(inner, "allow" if name in _WHOLE_FIELDS else extra), required=False
            )
            for name, inner in shape.items()
        },
        extra_behavior=extra,
    )


def _schema(shape: Shape, extra: core.ExtraBehavior) -> core.CoreSchema:
    """Return pydantic's schema for what ``shape.problem`` looks for."""
    if isinstance(shape, NotNull):
        return _value(shape.shape, extra)
    return core.nullable_schema(_value(shape, extra))


def _value(shape: str | list[Any] | dict[str, Any], extra: core.ExtraBehavior) -> core.CoreSchema:
    if isinstance(shape, str):
        return _WORDS[shape]
    if isinstance(shape, list):
        return core.list_schema(_schema(shape[0], extra), strict=True)
    if "*" in shape:
        return core.dict_schema(core.str_schema(strict=True), _schema(shape["*"], extra))
    return _object(shape, extra=extra)


_MOST = int(MAX_NUMBER)
_INTEGER = core.int_schema(strict=True, ge=-_MOST, le=_MOST)
_FLOAT = core.float_schema(strict=True, ge=-MAX_NUMBER, le=MAX_NUMBER, allow_inf_nan=False)
_WORDS: dict[str, core.CoreSchema] = {
    TEXT: core.str_schema(strict=True, max_length=MAX_TEXT),
    LONG_TEXT: core.str_schema(strict=True, max_length=MAX_LONG_TEXT),
    # in this order a whole number stays one
    NUMBER: core.union_schema([_INTEGER, _FLOAT], mode="left_to_right"),
    WHOLE: _INTEGER,
    FLAG: core.bool_schema(strict=True),
    SHA256: core.str_schema(strict=True, pattern=r"\A[0-9a-f]{64}\z"),
}
_VALIDATOR = SchemaValidator(_object(LINE, extra="ignore"))
