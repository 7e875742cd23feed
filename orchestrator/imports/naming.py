"""Which model and scheme a log is of: by the user's table, else by its file's name. Pure."""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping

from orchestrator.errors import UsageError
from orchestrator.frameworks import registry
from orchestrator.frameworks.about import Framework
from orchestrator.trial import Variant

_COLUMNS = ("graph", "model", "scheme")


def variant_of(graph: str, table: Mapping[str, Variant]) -> Variant | None:
    """The variant of the file at ``graph``: by ``table`` (whole path first, then the file's name),
    else by the end of the file's name (``resnet50_fp32.tflite``). None where neither tells."""
    name = re.split(r"[/\\]", graph)[-1]
    known = table.get(graph) or table.get(name)
    if known is not None:
        return known
    stem = name.lower()
    whose = _whose(stem)
    for ending in whose.endings:
        stem = stem.removesuffix(ending)
    for called, scheme in _called(whose):
        matched = re.fullmatch(rf"(.+?)[-_.]{called}", stem)
        if matched:
            return Variant(re.sub(r"[^a-z0-9_.]+", "_", matched[1]), scheme)
    return None


def _whose(name: str) -> Framework:
    """Whose file it is by its ending; the default framework's where that tells nothing."""
    ends = (each for each in registry.FRAMEWORKS if each.endings and name.endswith(each.endings))
    return next(ends, registry.default())


def _called(of: Framework) -> list[tuple[str, str]]:
    """How the names of such files end, and their scheme; ``int8`` ends ``drq_int8`` as well, so
    that the longer ones come first. A framework that lists no endings calls its files by its
    schemes, and what all call alike as the default one does."""
    first = registry.default()
    endings = [(each, s.name) for s in first.schemes for each in s.called]
    if of is not first:
        own = {scheme.name for scheme in of.schemes}
        endings = [(called, name) for called, name in endings if name in own]
        endings += [(scheme.words or scheme.name, scheme.name) for scheme in of.schemes]
    return sorted(endings, key=lambda item: -len(item[0]))


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
                f"{place}: {name!r} is not a name: letters, digits, '_', '-' and '.', a letter or "
                "digit first"
            )
    return Variant(model, scheme)


_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
