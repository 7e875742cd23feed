"""``orchestrate models list``, ``build`` and ``inspect``."""

from __future__ import annotations

import difflib
import itertools
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from orchestrator.answer import Answer
from orchestrator.answers.selection import building_of
from orchestrator.answers.terminal import answer_width, colour_wanted
from orchestrator.campaign import build_options
from orchestrator.commands.models import BuildArguments, InspectArguments, ListArguments
from orchestrator.config import load_suite
from orchestrator.console import Console
from orchestrator.errors import UsageError
from orchestrator.factors import OPEN
from orchestrator.frameworks import registry
from orchestrator.frameworks.about import Framework
from orchestrator.frameworks.building import BuildOptions
from orchestrator.frameworks.file_kinds import inspect_any
from orchestrator.frameworks.parts import known_models
from orchestrator.report.grid import render_grid
from orchestrator.trial import Variant
from orchestrator.zoo import (
    BuildProgress,
    ModelArtifact,
    ensure_artifacts,
    stored_artifacts,
)

_HEADER = ("framework", "model", "scheme", "MB", "weights", "SHA-256", "file")


def list_models(arguments: ListArguments) -> Answer:
    """List what can be built, and what is built: file, size, weights, what built it."""
    stored = stored_artifacts(arguments.models)
    first, *others = registry.builders()
    if arguments.json:
        document = {
            "format": 1,
            **_catalogue(first),
            **{each.name: _catalogue(each) for each in others},
            "stored": [dict(artifact.entry) for artifact in stored],
        }
        return Answer(json.dumps(document, indent=1) + "\n")
    built = {(artifact.framework, artifact.variant.model) for artifact in stored}
    rows = [_artifact_row(artifact) for artifact in stored]
    rows += [
        (framework.name, model, "", "", "", "", "not built")
        for framework in registry.builders()
        for model in known_models(framework.name)
        if (framework.name, model) not in built
    ]
    schemes = [
        f"{each.name} schemes: {', '.join(each.scheme_names)}\n" for each in registry.builders()
    ]
    return Answer(_grid(_HEADER, rows) + "".join(schemes))


def _catalogue(framework: Framework) -> dict[str, list[str]]:
    return {
        "models": list(known_models(framework.name)),
        "schemes": list(framework.scheme_names),
    }


def _artifact_row(artifact: ModelArtifact) -> tuple[str, ...]:
    there = str(artifact.path) if artifact.path.is_file() else f"{artifact.path} is missing"
    no_op = "" if artifact.no_op is None else " (no-op)"
    export = artifact.variant.export
    fixed = "" if export == OPEN else f" (export {export})"
    return (
        artifact.framework,
        artifact.variant.model,
        artifact.variant.scheme + no_op + fixed,
        f"{artifact.size_bytes / 1e6:.1f}",
        artifact.weights,
        artifact.sha256[:12],
        there,
    )


def build(arguments: BuildArguments) -> Answer:
    """Build what is missing; what is there is verified and used again."""
    if arguments.suite is not None and arguments.names:
        raise UsageError("name models, or a suite with --suite, not both")
    variants, options, framework = _asked_for(arguments)
    console = Console()
    built = ensure_artifacts(
        variants,
        arguments.models,
        on_progress=lambda p: _tell(console, p),
        options=options,
        framework=framework,
    )
    return Answer(_grid(_HEADER, [_artifact_row(built[variant]) for variant in variants]))


def _asked_for(arguments: BuildArguments) -> tuple[list[Variant], BuildOptions, str]:
    """The models named, or those of a suite, in the way the arguments and the suite ask for."""
    options = building_of(arguments)
    framework = arguments.framework or registry.default().name
    if not arguments.names:
        name = arguments.suite or registry.framework(framework).suite
        suite = load_suite(name, relative_to=Path())
        framework = suite.frameworks[0].name
        models, schemes, exports = suite.models, suite.schemes, suite.factors.export
        options = build_options(suite, options)
    else:
        models = arguments.names
        schemes, exports = registry.framework(framework).scheme_names, (OPEN,)
    exports = arguments.export or exports
    schemes = arguments.scheme or schemes
    _check_known("model", models, known_models(framework))
    _check_known("scheme", schemes, registry.framework(framework).scheme_names)
    if arguments.compatibility is not None:
        options = replace(options, compatibility=arguments.compatibility)
    asked = itertools.product(models, schemes, exports)
    return [Variant(*each) for each in asked], options, framework


def _tell(console: Console, progress: BuildProgress) -> None:
    """One line of a build's progress."""
    console.say(f"models {progress.done}/{progress.total}: {progress.step}")


def _check_known(what: str, names: Sequence[str], known: Sequence[str]) -> None:
    for name in names:
        if name not in known:
            close = difflib.get_close_matches(name, known, n=3) or known
            raise UsageError(f"no {what} is called {name!r}; there are {', '.join(close)}")


def inspect(arguments: InspectArguments) -> Answer:
    """Tell what the file itself says, never its name."""
    found = inspect_any(arguments.file, arguments.signature)
    if arguments.json:
        return Answer(json.dumps({"format": 1, **found.contents.to_json()}, indent=1) + "\n")
    said = found.describe()
    grids = [_grid(header, rows) for header, rows in said.tables]
    return Answer("\n".join(said.lines) + "\n\n" + "\n".join(grids))


def _grid(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return render_grid(header, rows, width=answer_width(), color=colour_wanted())
