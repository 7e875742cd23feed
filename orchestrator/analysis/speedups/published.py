"""Published speed-ups, held against the measured ones: agrees, contradicts, or cannot tell. Pure.

How far a published figure can be trusted
-----------------------------------------
*Standard deviations over processes are given*: the delta method on the log of the ratio of means,
Student's t with Welch's degrees of freedom, 95 %. It holds what differs from process to process,
not what differs from one machine of a kind to the next.

*Read off a chart, or the median of a few windows of one session*: both times are off by one pixel,
or as far as the farthest window is, in the directions that move the ratio most.

*Printed without any spread*: both times are off by half a unit of their last printed digit. That is
rounding alone, hence narrower than the truth.

What is said of the two
-----------------------
``contradicts``: the published interval and ours, reaching at least as far as our noise floor, have
nothing in common. ``agrees``: they overlap, and both are on the same side of 1, or both include 1
and neither is wider than ±10 %. ``cannot tell``: anything else; and whenever the two do not
measure the same thing (another number of threads, batch, input size or processor), or one has no
interval. A note names every factor in which the two are known to differ.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from orchestrator.analysis.table import PublishedFigure, Speedup
from orchestrator.factors import Factor
from orchestrator.frameworks.settings import taken

AGREES, CONTRADICTS, CANNOT_TELL = "agrees", "contradicts", "cannot tell"

#: Stands for a model or scheme that a publication does not name.
ANY = "*"

#: The finding on figures that were imported from a publication.
PUBLISHED_FIGURE = "published_figure"

#: Two intervals around 1 agree only where neither is wider than this, as a half-width of the log.
_TELLING = math.log(1.1)


@dataclass(frozen=True)
class Publication:
    """One published comparison. Times as they are printed, in milliseconds, since their last digit
    is what is known of their precision; empty where only ``direction`` is known."""

    citation: str
    hardware: str
    microarchitecture: str
    model: str
    baseline_scheme: str
    scheme: str
    threads: int | None
    runner: str
    processes: int | None
    baseline_ms: str
    baseline_sd_ms: float | None
    treatment_ms: str
    treatment_sd_ms: float | None
    reading_ms: float | None
    direction: str

    @property
    def told(self) -> Mapping[str, Any]:
        """Return the factors that it tells."""
        told = {"threads": self.threads, "runner": self.runner or None}
        return {name: level for name, level in told.items() if level is not None}

    @property
    def speedup(self) -> float | None:
        """Baseline ÷ treatment; None where only the direction is known."""
        known = self.baseline_ms and self.treatment_ms
        return float(self.baseline_ms) / float(self.treatment_ms) if known else None

    @property
    def interval(self) -> tuple[float, float] | None:
        """Return what bounds the speed-up, by the rule above; None where nothing does."""
        ratio = self.speedup
        if ratio is None:
            return None
        if self.processes and self.baseline_sd_ms is not None and self.treatment_sd_ms is not None:
            half = _welch_half_width(
                self.processes,
                self.baseline_sd_ms / float(self.baseline_ms),
                self.treatment_sd_ms / float(self.treatment_ms),
            )
            return ratio * math.exp(-half), ratio * math.exp(half)
        off = [
            _half_unit(text) if self.reading_ms is None else self.reading_ms
            for text in (self.baseline_ms, self.treatment_ms)
        ]
        baseline, treatment = float(self.baseline_ms), float(self.treatment_ms)
        if baseline <= off[0] or treatment <= off[1]:
            return None  # a bar no longer than a pixel bounds nothing
        return (baseline - off[0]) / (treatment + off[1]), (baseline + off[0]) / (
            treatment - off[1]
        )


def with_published(rows: Iterable[Speedup], known: Iterable[Publication]) -> tuple[Speedup, ...]:
    """Return every row with what is published of its model and scheme on its microarchitecture."""
    known = tuple(known)
    return tuple(_with_published(row, known) for row in rows)


def _with_published(row: Speedup, known: Iterable[Publication]) -> Speedup:
    figures = () if _is_published(row) else tuple(_figures(row, known))
    return replace(row, published=figures) if figures else row


def _is_published(row: Speedup) -> bool:
    """A published figure that was imported is not held against itself."""
    return any(finding.code == PUBLISHED_FIGURE for finding in row.findings)


def _figures(row: Speedup, known: Iterable[Publication]) -> Iterator[PublishedFigure]:
    # a processor that is made to behave as an older one stands for that one
    kind = row.microarchitecture if row.isa in ("", "native") else row.isa
    for each in known:
        matches = (
            kind not in ("", "unknown")
            and each.microarchitecture == kind
            and each.model in (row.model, ANY)
            and each.scheme in (row.scheme, ANY)
            and each.baseline_scheme == row.baseline_scheme
        )
        if matches:
            yield _figure(row, each)


def _figure(row: Speedup, each: Publication) -> PublishedFigure:
    low, high = each.interval or (None, None)
    unlike = tuple(_unlike(row, each))
    notes = [*unlike, *_circumstances(row, each)]
    return PublishedFigure(
        source=each.citation,
        hardware=each.hardware,
        speedup=each.speedup,
        low=low,
        high=high,
        direction=each.direction,
        agreement=CANNOT_TELL if unlike else _agreement(row, low, high),
        note="; ".join(notes),
        comparable=not unlike,
    )


def _unlike(row: Speedup, each: Publication) -> Iterator[str]:
    """What makes the two figures ones of different things."""
    if ANY in (each.model, each.scheme):
        yield "several networks, not named one by one: their direction alone"
    yield from (said for factor, said in _differences(row, each) if factor.other_thing)


def _circumstances(row: Speedup, each: Publication) -> Iterator[str]:
    """What else they do not share, and what may explain a contradiction."""
    if row.isa not in ("", "native"):
        real = row.microarchitecture or "another processor"
        yield (
            f"ours: instruction set capped to {row.isa} on {real}, whose caches and clock are its "
            "own"
        )
    yield from (said for factor, said in _differences(row, each) if not factor.other_thing)
    if row.duet:
        yield "ours in duets: baseline and treatment at the same time"


def _differences(row: Speedup, each: Publication) -> Iterator[tuple[Factor, str]]:
    """The factors in which the two differ, in words. Of one that the publication does not tell,
    only what is unusual in ours can be said. The instruction set has its own sentence."""
    factors = row.factors
    if factors is None:
        return
    for factor in taken(factors):
        level, theirs = factor.of(factors), each.told.get(factor.name)
        if factor.name == "isa" or (level == factor.untold != factor.default):
            continue
        if theirs is None and not factor.is_default(factors):
            ran = row.runtime_version if factor.name == "runtime" else ""
            yield factor, f"ours {factor.preposition} {ran or factor.in_words(level)}"
        elif theirs is not None and level != theirs:
            yield factor, f"published with {factor.title.format(theirs)}, ours with {level}"


def _agreement(row: Speedup, low: float | None, high: float | None) -> str:
    if None in (row.speedup, row.ci_low, row.ci_high, low, high):
        return CANNOT_TELL
    assert row.speedup and row.ci_low and row.ci_high and low and high  # noqa: S101 (for the types)
    floor = row.noise_floor or 1.0
    ours = (min(row.ci_low, row.speedup / floor), max(row.ci_high, row.speedup * floor))
    theirs = (low, high)
    if ours[1] < theirs[0] or theirs[1] < ours[0]:
        return CONTRADICTS
    sides = {_side(ours), _side(theirs)}
    if sides in ({1}, {-1}):
        return AGREES
    narrow = all(math.log(top / bottom) / 2 <= _TELLING for bottom, top in (ours, theirs))
    return AGREES if sides == {0} and narrow else CANNOT_TELL


def _side(interval: tuple[float, float]) -> int:
    """Say on which side of 1 the interval lies: above, below, or 0 where 1 is inside."""
    return 1 if interval[0] > 1 else -1 if interval[1] < 1 else 0


def _welch_half_width(processes: int, first: float, second: float) -> float:
    """Compute the half-width for the log of a ratio of two means of ``processes``, of which the
    relative standard deviations are given."""
    # scipy takes a while to import, and few tables have a published figure beside them
    from scipy.special import stdtrit  # noqa: PLC0415

    a, b = first**2 / processes, second**2 / processes
    if not a + b:
        return 0.0
    freedom = (a + b) ** 2 / ((a**2 + b**2) / (processes - 1))
    return float(stdtrit(freedom, 0.975)) * math.sqrt(a + b)


def _half_unit(text: str) -> float:
    """Half a unit of the last digit of ``text``: 0.5 of ``155``, 0.05 of ``15.5``."""
    return 0.5 * 10.0 ** -len(text.partition(".")[2])
