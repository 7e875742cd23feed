"""``models list``, ``models build`` and ``models inspect``."""

from __future__ import annotations

import argparse
import difflib
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from orchestrator.answer import Answer
from orchestrator.campaign import build_options
from orchestrator.commands.terminal import answer_width, colour_wanted
from orchestrator.config import Suite, load_suite
from orchestrator.console import Console
from orchestrator.errors import UsageError
from orchestrator.plan import Variant
from orchestrator.report.grid import render_grid
from orchestrator.zoo import (
    BuildOptions,
    BuildProgress,
    Inspection,
    ModelArtifact,
    ensure_artifacts,
    inspect_file,
    known_models,
    known_schemes,
    stored_artifacts,
)


def list_models(arguments: argparse.Namespace) -> Answer:
    """What can be built, and what is built: file, size, weights, what built it."""
    stored = stored_artifacts(arguments.models)
    if arguments.json:
        document = {
            "format": 1,
            "models": list(known_models()),
            "schemes": list(known_schemes()),
            "stored": [dict(artifact.entry) for artifact in stored],
        }
        return Answer(json.dumps(document, indent=1) + "\n")
    header = ("model", "scheme", "MB", "weights", "SHA-256", "file")
    built = {artifact.variant.model for artifact in stored}
    rows = [_artifact_row(artifact) for artifact in stored]
    rows += [(model, "", "", "", "", "not built") for model in known_models() if model not in built]
    return Answer(_grid(header, rows) + f"schemes: {', '.join(known_schemes())}\n")


def _artifact_row(artifact: ModelArtifact) -> tuple[str, ...]:
    there = str(artifact.path) if artifact.path.is_file() else f"{artifact.path} is missing"
    return (
        artifact.variant.model,
        artifact.variant.scheme,
        f"{artifact.size_bytes / 1e6:.1f}",
        artifact.weights,
        artifact.sha256[:12],
        there,
    )


def build(arguments: argparse.Namespace) -> Answer:
    """Build what is missing; what is there is verified and used again."""
    if arguments.suite is not None and arguments.names:
        raise UsageError("name models, or a suite with --suite, not both")
    variants, options = _asked_for(arguments)
    console = Console()
    built = ensure_artifacts(
        variants, arguments.models, on_progress=lambda p: _tell(console, p), options=options
    )
    header = ("model", "scheme", "MB", "weights", "SHA-256", "file")
    return Answer(_grid(header, [_artifact_row(built[variant]) for variant in variants]))


def _asked_for(arguments: argparse.Namespace) -> tuple[list[Variant], BuildOptions]:
    """The models named, or those of a suite, in the way the arguments and the suite ask for."""
    _check_known("model", arguments.names, known_models())
    _check_known("scheme", arguments.scheme, known_schemes())
    if arguments.names:
        models, schemes = arguments.names, list(known_schemes())
        options = BuildOptions(representative=arguments.representative)
    else:
        suite = _suite(arguments.suite or "quick")
        models, schemes = list(suite.models), list(suite.schemes)
        options = build_options(suite, arguments.representative)
    if arguments.compatibility is not None:
        options = replace(options, compatibility=arguments.compatibility)
    schemes = arguments.scheme or schemes
    return [Variant(model, scheme) for model in models for scheme in schemes], options


def _suite(name: str) -> Suite:
    return load_suite(
        name, relative_to=Path(), known_models=known_models(), known_schemes=known_schemes()
    )


def _tell(console: Console, progress: BuildProgress) -> None:
    """One line of a build's progress."""
    console.say(f"models {progress.done}/{progress.total}: {progress.step}")


def _check_known(what: str, names: Sequence[str], known: Sequence[str]) -> None:
    for name in names:
        if name not in known:
            close = difflib.get_close_matches(name, known, n=3) or known
            raise UsageError(f"no {what} is called {name!r}; there are {', '.join(close)}")


def inspect(arguments: argparse.Namespace) -> Answer:
    """What the file itself says, never its name."""
    found = inspect_file(arguments.file)
    if arguments.json:
        return Answer(json.dumps({"format": 1, **found.to_json()}, indent=1) + "\n")
    return Answer(_describe(found))


def _describe(found: Inspection) -> str:
    granularity = f", {found.granularity.replace('_', ' ')}" if found.granularity else ""
    lines = [
        f"scheme       {found.scheme}{granularity}",
        f"size         {found.size_bytes / 1e6:.3f} MB, SHA-256 {found.sha256}",
        f"parameters   {found.parameters:,}",
    ]
    for name, tensors in (("input", found.inputs), ("output", found.outputs)):
        lines += [f"{name:<12} {t.dtype} {list(t.shape)} {t.name}" for t in tensors]
    header = ("operator", "version", "count")
    rows = [(op.name, str(op.version), str(op.count)) for op in found.operators]
    return "\n".join(lines) + "\n\n" + _grid(header, rows)


def _grid(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return render_grid(header, rows, width=answer_width(), color=colour_wanted())
