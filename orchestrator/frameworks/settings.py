"""A setting of the factors as its runner takes it: title, words and levels in tables. Pure."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from orchestrator.factors import ABSENT, FACTORS, OPTIONAL, Factor, Factors, factor_named
from orchestrator.frameworks.registry import find_runner, own_factors


def taken(factors: Factors) -> tuple[Factor, ...]:
    """The factors that mean something to the runner; of a runner that nobody knows also those that
    were recorded."""
    known = find_runner(factors.runner)
    own = own_factors(factors) if known is None else known.factors
    return tuple(
        each
        for each in FACTORS
        if each.name not in ABSENT or each.name in own or (known is None and each not in OPTIONAL)
    )


def level_of(factors: Factors, name: str) -> Any:
    """The level as tables show it, empty where the runner does not take the factor."""
    factor = factor_named(name)
    empty = factor in OPTIONAL and name not in own_factors(factors)
    return "" if empty else factor.of(factors)


def title_of(factors: Factors, without: Collection[str] = ()) -> str:
    """``litert, delegate xnnpack, threads 1, batch 1, isa native``: settings that differ in any
    factor have titles that differ. ``without`` names factors that vary under the title."""
    return ", ".join(
        each.in_title(factors)
        for each in taken(factors)
        if each.name not in without and (each.titled or not each.is_default(factors))
    )


def unusual(factors: Factors) -> list[str]:
    """Say in words what is told and not at its default: ``["4 threads", "delegate none"]``; but the
    runner, and the instruction set, which the place tells."""
    return [
        each.in_words(each.of(factors))
        for each in taken(factors)
        if each.name not in ("runner", "isa")
        and each.of(factors) != each.untold
        and not each.is_default(factors)
    ]
