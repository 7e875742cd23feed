"""Which figure of memory two sides have in common, and how much each took. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from orchestrator.measurement import Memory

_MB = 1e6

#: The peak resident set is the figure; growth since the start stands in where that is all there is.
_KINDS = ("peak", "overall")


def memory_mb(
    baseline: Sequence[Memory], treatment: Sequence[Memory]
) -> tuple[float | None, float | None, str | None]:
    """Median memory of either side in MB, both of one kind, and the kind (``peak``, ``overall``).

    Unlike kinds are not mixed; None where a side has none.
    """
    best: tuple[float | None, float | None, str | None] = (None, None, None)
    for kind in _KINDS:
        one, other = (_median_mb(side, kind) for side in (baseline, treatment))
        if one is not None and other is not None:
            return one, other, kind
        if best[2] is None and (one is not None or other is not None):
            best = (one, other, kind)
    return best


def _median_mb(side: Sequence[Memory], kind: str) -> float | None:
    found = (m.peak_bytes if kind == "peak" else m.overall_bytes for m in side)
    values = [value for value in found if value is not None]
    return median(values) / _MB if values else None
