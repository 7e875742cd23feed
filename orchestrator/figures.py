"""Every figure of merit, once: name, unit, which way is better, how two sides compare. Pure.

A trial's measurement maps the names of figures to what one process found of each
(:class:`orchestrator.measurement.Samples`). The time of an inference is one of them; a trial that
has none may end ``ok`` all the same. To add a figure, add a line to :data:`FIGURES`.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType


class Direction(str, Enum):
    """Which way of a figure is better."""

    LOWER = "lower"
    HIGHER = "higher"


class Comparison(str, Enum):
    """How two sides of a figure are compared: a positive amount as a ratio, a share between 0 and 1
    as a difference."""

    RATIO = "ratio"
    DIFFERENCE = "difference"


@dataclass(frozen=True)
class Figure:
    """A figure of merit. ``name`` ends in its unit where it has one; ``label`` is for people."""

    name: str
    label: str
    unit: str
    better: Direction
    comparison: Comparison = Comparison.RATIO

    def usable(self, value: float | None) -> float | None:
        """``value`` where this figure's comparison can take it, else None: a logarithm needs it
        positive and finite."""
        if value is None or not math.isfinite(value):
            return None
        return value if self.comparison is Comparison.DIFFERENCE or value > 0 else None

    def gain(self, baseline: float, treatment: float) -> float:
        """What the treatment gains over the baseline, positive where it is the better one.

        The natural logarithm of the ratio of two positive amounts, or the difference of two shares.
        """
        better, worse = (
            (treatment, baseline) if self.better is Direction.HIGHER else (baseline, treatment)
        )
        return math.log(better / worse) if self.comparison is Comparison.RATIO else better - worse

    def shown(self, gain: float) -> float:
        """A gain as a report shows it: the ratio, above 1 where the treatment is better, or the
        difference, above 0 where it is."""
        return math.exp(gain) if self.comparison is Comparison.RATIO else gain


#: The time of one inference in the steady phase: what a speed-up is made of.
INFERENCE_TIME = Figure("inference_us", "time of an inference", "µs", Direction.LOWER)

FIGURES: Mapping[str, Figure] = MappingProxyType(
    {
        figure.name: figure
        for figure in (
            INFERENCE_TIME,
            # Of a language model, which reads a prompt at once and then makes one token after the
            # other: quantizing moves the two differently, so that they are never mixed.
            Figure("prompt_tokens_per_s", "reading the prompt", "tokens/s", Direction.HIGHER),
            Figure("generated_tokens_per_s", "generation", "tokens/s", Direction.HIGHER),
            Figure("first_token_us", "time to the first token", "µs", Direction.LOWER),
            Figure("load_us", "time to load the model", "µs", Direction.LOWER),
            Figure("file_bytes", "size of the file", "bytes", Direction.LOWER),
            # A file that is mapped is shared, and the kernel may let go of its pages; what is the
            # process's own it may not.
            Figure("own_bytes", "memory of its own", "bytes", Direction.LOWER),
            Figure("mapped_bytes", "memory mapped from files", "bytes", Direction.LOWER),
        )
    }
)


def own_figure(name: str, unit: str, better: str) -> Figure | None:
    """A figure that is not in the list, as whoever found it describes it; None where they do not
    say which way of it is better."""
    if better not in {direction.value for direction in Direction}:
        return None
    return Figure(name, name.replace("_", " "), unit, Direction(better))


def figures_named(
    names: Collection[str], own: Mapping[str, Figure] = MappingProxyType({})
) -> tuple[Figure, ...]:
    """The figures of these names, in the order of their list, and then those of ``own``.

    One that a later version wrote is left out, rather than shown with a guess at its direction.
    """
    listed = tuple(figure for name, figure in FIGURES.items() if name in names)
    others = (own[name] for name in sorted(own) if name in names and name not in FIGURES)
    return (*listed, *others)
