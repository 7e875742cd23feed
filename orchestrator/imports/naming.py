"""Which model and scheme a log is of: by the user's table, else by its file's name. Pure."""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping

from orchestrator.errors import UsageError
from orchestrator.trial import Variant

#: How files of a scheme are called, the longer names first: ``int8`` ends ``drq_int8`` as well.
_ENDINGS = (
    ("weight_only_int8", ("weight_only_int8", "weight_only", "weightonly", "wo_int8")),
    (
        "dynamic_range",
        (
            "dynamic_range_quantized", "dynamic_range_quant", "dynamic_range_int8",
            "dynamic_range", "dynamic_int8", "dynamic_quant", "dynamic", "drq_int8", "drq", "dr",
        ),
    ),
    ("full_int8", ("full_integer_quant", "full_int8", "full_integer", "int8")),
    ("float16", ("float16", "fp16", "f16")),
    ("float32", ("float32", "fp32", "f32", "float")),
)  # fmt: skip
_COLUMNS = ("graph", "model", "scheme")


def variant_of(graph: str, table: Mapping[str, Variant]) -> Variant | None:
    """The variant of the file at ``graph``: by ``table`` (whole path first, then the file's name),
    else by the end of the file's name (``resnet50_fp32.tflite``). None where neither tells."""
    name = re.split(r"[/\\]", graph)[-1]
    known = table.get(graph) or table.get(name)
    if known is not None:
        return known
    stem = re.sub(r"\.(tflite|lite)$", "", name, flags=re.IGNORECASE).lower()
    for scheme, endings in _ENDINGS:
        for ending in endings:
            matched = re.fullmatch(rf"(.+?)[-_.]{ending}", stem)
            if matched:
                return Variant(re.sub(r"[^a-z0-9_.]+", "_", matched[1]), scheme)
    return None


def read_table(place: str, text: str) -> dict[str, Variant]:
    """A csv with the columns graph, model, scheme. Raises UsageError naming the line."""
    rows = csv.DictReader(text.splitlines())
    if not set(_COLUMNS) <= set(rows.fieldnames or ()):
        raise UsageError(f"{place}:1: needs the columns {', '.join(_COLUMNS)}")
    found: dict[str, Variant] = {}
    for row in rows:
        graph, model, scheme = ((row[c] or "").strip() for c in _COLUMNS)
        if not graph:
            raise UsageError(f"{place}:{rows.line_num}: names no graph")
        found[graph] = variant_named(f"{place}:{rows.line_num}", model, scheme)
    return found


def variant_named(place: str, model: str, scheme: str) -> Variant:
    """The variant of these names, which become file names. Raises UsageError naming ``place``."""
    for name in (model, scheme):
        if not _NAME.fullmatch(name):
            raise UsageError(
                f"{place}: {name!r} is no name: letters, digits, '_', '-' and '.', a letter or "
                "digit first"
            )
    return Variant(model, scheme)


_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
