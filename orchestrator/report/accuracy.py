"""Accuracy in words and figures: shares in percent, differences in percentage points."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from orchestrator.analysis.table import AccuracyComparison, Agreement, ScoredShare, Speedup
from orchestrator.report.clean import clean
from orchestrator.report.figures import NONE, significant

METHOD = (
    "Accuracy: both sides answered the same n samples on the device, under the factors that were "
    "timed. A share has Wilson's 95 % interval; a difference of two has Newcombe's paired interval "
    "and McNemar's exact test, one of average precision (COCO's AP@[.50:.95], of boxes or masks) a "
    "paired bootstrap over images; p-values are corrected after Holm over the table. No worse: the "
    "interval rules out a loss of the margin. Lost: samples that the baseline alone has right. "
    "Agreement needs no labels: same top-1 is the share of samples with the same highest output; "
    "signal to noise is the baseline's energy over that of the deviation, the median over samples."
)

HEADER = (
    "Model", "Scheme", "Figure", "Accuracy, %", "Difference, points", "Lost/gained", "Verdict", "n",
)  # fmt: skip
_AGREEMENT_HEADER = (
    "Model", "Scheme", "Output", "Same top-1, %", "Signal/noise, dB (worst)", "Cosine",
    "Same bytes, %", "n",
)  # fmt: skip

SIGNS = {"better": "▲", "no worse": "=", "worse": "▼", "cannot tell": "?", "invalid": "✗"}


def beside_speed(row: Speedup) -> str:
    """``75.7 → 61.7 ▼``: the accuracy of a row of the table of speed-ups."""
    sign = SIGNS.get(row.accuracy_verdict, "")
    if not row.accuracy_verdict or row.baseline_accuracy is None:
        return sign or NONE
    return f"{percent(row.baseline_accuracy)} → {percent(row.treatment_accuracy)} {sign}".strip()


def cells(row: AccuracyComparison) -> tuple[str, ...]:
    """A line of the table of accuracy."""
    if row.verdict == "invalid":
        shares, difference, counts = NONE, NONE, NONE
    else:
        shares = f"{_share(row.baseline)} → {percent(row.treatment.value)}"
        difference = points(row.difference, row.low, row.high)
        counts = NONE if row.lost is None else f"{row.lost}/{row.gained}"
    return (
        clean(row.model),
        clean(row.scheme),
        row.metric,
        shares,
        difference,
        counts,
        f"{SIGNS.get(row.verdict, '')} {row.verdict}".strip(),
        str(row.samples),
    )


def problems(row: AccuracyComparison) -> Iterator[str]:
    """Why a line says nothing certain."""
    if row.verdict in ("invalid", "cannot tell"):
        yield f"{row.model} {row.scheme}: {row.reason}"


def notes(row: AccuracyComparison) -> Iterator[str]:
    """What more is known of a line: its other figures, and where it loses most."""
    if row.verdict == "invalid":
        return
    others = [
        f"{name} {percent(before)} → {percent(after)}"
        for name, (before, after) in row.others.items()
        if before is not None or after is not None
    ]
    worst = [each for each in row.classes if each.treatment < each.baseline][:3]
    lost = [f"{each.name} {percent(each.baseline)} → {percent(each.treatment)}" for each in worst]
    said = [*others, *(["it loses most in " + ", ".join(lost)] if lost else [])]
    if said:
        yield f"{row.model} {row.scheme}: {'; '.join(said)}"


def agreement(
    rows: Sequence[AccuracyComparison],
) -> tuple[tuple[str, ...], tuple[tuple[str, ...], ...]]:
    """Header and cells of how alike the sides answer, a line an output; outputs are named where a
    model has several."""
    cells = tuple(_agreement_cells(row, each) for row in rows for each in row.agreement)
    if any(len(row.agreement) > 1 for row in rows):
        return _AGREEMENT_HEADER, cells
    return _without_output(_AGREEMENT_HEADER), tuple(map(_without_output, cells))


def _without_output(cells: tuple[str, ...]) -> tuple[str, ...]:
    place = _AGREEMENT_HEADER.index("Output")
    return cells[:place] + cells[place + 1 :]


def _agreement_cells(row: AccuracyComparison, each: Agreement) -> tuple[str, ...]:
    return (
        clean(row.model),
        clean(row.scheme),
        clean(each.output),
        NONE if each.same_top1 is None else _share(each.same_top1),
        _decibels(each),
        NONE if each.cosine is None else f"{each.cosine:.4f}",
        percent(each.same_bytes),
        str(each.samples),
    )


def percent(share: float | None) -> str:
    """``75.7``: a share of 1 as a percentage."""
    return NONE if share is None else f"{100 * share:.1f}"


def points(difference: float | None, low: float | None, high: float | None) -> str:
    """``−1.3 [−2.4, −0.2]``, bounds rounded outwards."""
    if difference is None or low is None or high is None:
        return NONE
    bounds = math.floor(1000 * low) / 10, math.ceil(1000 * high) / 10
    return f"{signed(100 * difference)} [{signed(bounds[0])}, {signed(bounds[1])}]"


def signed(value: float) -> str:
    """``−1.3``, ``+0.8``, ``0.0``."""
    text = f"{abs(value):.1f}"
    if float(text) == 0:
        return text
    return f"{'+' if value > 0 else '−'}{text}"


def _share(found: ScoredShare) -> str:
    if found.value is None or found.low is None or found.high is None:
        return percent(found.value)
    low, high = math.floor(1000 * found.low) / 10, math.ceil(1000 * found.high) / 10
    return f"{percent(found.value)} [{low:.1f}, {high:.1f}]"


def _decibels(found: Agreement) -> str:
    if found.snr_db is None or found.worst_snr_db is None:
        return NONE
    about = "about " if found.estimated else ""
    return f"{about}{_db(found.snr_db)} ({_db(found.worst_snr_db)})"


def _db(value: float) -> str:
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    return significant(value, 3) if value >= 0 else f"−{significant(-value, 3)}"
