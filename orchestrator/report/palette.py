"""Colours of the charts and the page, by role, on light paper and on dark.

Charts are drawn in the light colours, which files keep; on the page each becomes a CSS variable,
so that one drawing serves both. No two roles may share a light colour: it is what they are told
apart by. Treatments have Okabe and Ito's colours, which stay apart for most kinds of colour
blindness, lightened for dark paper.
"""

from __future__ import annotations

from orchestrator.analysis.table import Verdict

#: Role → (light, dark).
ROLES = {
    "paper": ("#ffffff", "#14171c"),
    "ink": ("#1c2026", "#e6e9ee"),
    "quiet": ("#5c6570", "#a2abb8"),
    "line": ("#d7dbe1", "#343b46"),
    "floor": ("#e9ecf1", "#262c36"),
    "baseline": ("#78818c", "#9aa4b2"),
    "scheme-1": ("#0072b2", "#4fb0ea"),
    "scheme-2": ("#b85c00", "#f08a3c"),
    "scheme-3": ("#008a64", "#2fc79b"),
    "scheme-4": ("#b0568c", "#e08cc0"),
    "scheme-5": ("#a17500", "#e6b422"),
    "scheme-6": ("#5a4fcf", "#a79cff"),
    "faster": ("#00704f", "#37c795"),
    "slower": ("#b3330a", "#ff8a5c"),
    "indistinguishable": ("#6b5d00", "#d6c25a"),
    "invalid": ("#8a2a8f", "#dd8ae2"),
}

#: A cell of a heat map keeps its colours on either paper, and the text in it with them.
CELL_INK = "#101418"
CELL_SLOWER, CELL_SAME, CELL_FASTER = "#f0a987", "#f4f4f2", "#86c5e6"
CELL_INVALID = "#d9c4dc"

SCHEMES = [ROLES[f"scheme-{n}"][0] for n in range(1, 7)]


def light(role: str) -> str:
    return ROLES[role][0]


def of_verdict(verdict: Verdict) -> str:
    """A verdict's colour, for files."""
    return light(verdict.value)


def variable(colour: str) -> str | None:
    """``var(--ink)`` for the light colour of a role; None for any other."""
    return _VARIABLES.get(colour.lower())


_VARIABLES = {value.lower(): f"var(--{role})" for role, (value, _) in ROLES.items()}


def stylesheet() -> str:
    """The variables, light unless the reader prefers dark or prints."""
    by_light = "".join(f"--{role}:{value};" for role, (value, _) in ROLES.items())
    by_dark = "".join(f"--{role}:{value};" for role, (_, value) in ROLES.items())
    return (
        f":root{{color-scheme:light dark;{by_light}}}"
        f"@media screen and (prefers-color-scheme:dark){{:root{{{by_dark}}}}}"
    )
