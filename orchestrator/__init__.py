"""Orchestrate measures what quantization does to inference speed across a fleet, and how sure one
may be.

A measurement's way through this package: ``config`` (what to measure, where) → ``plan`` (every
trial, in order) → ``zoo`` and ``artifacts`` (the bytes) → ``fleet`` (devices and their agents) →
``frameworks`` (what the output means) → ``runs`` (the journal) → ``analysis`` (speed-ups) →
``report`` (tables). ARCHITECTURE.md follows one measurement along it.

In a notebook, ``orchestrator.load_run("results/…")`` gives a run as pandas frames.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from orchestrator.notebook import load_run

__version__ = "0.1.0"

__all__ = ["__version__", "load_run"]


def __getattr__(name: str) -> Any:
    # imported when it is asked for: it brings the whole analysis, and `--help` must answer at once
    if name == "load_run":
        from orchestrator.notebook import load_run  # noqa: PLC0415

        return load_run
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
