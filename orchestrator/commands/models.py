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
from orchestrator.commands.selection import building_of
from orchestrator.commands.terminal import answer_width, colour_wanted
from orchestrator.config import Suite, load_suite
from orchestrator.console import Console
from orchestrator.errors import UsageError
from orchestrator.report.grid import render_grid
from orchestrator.trial import Variant
from orchestrator.zoo import (
    FRAMEWORKS,
    BuildOptions,
    BuildProgress,
    Inspection,
    ModelArtifact,
    TorchInspection,
    Work,
    ensure_artifacts,
    inspect_any,
    known_models,
    known_schemes,
    stored_artifacts,
)

_HEADER = ("framework", "model", "scheme", "MB", "weights", "SHA-256", "file")

#: What `models build` builds where no model is named: those of the suites quick and pytorch.
_BY_DEFAULT = {"tflite": "quick", "torch": "pytorch"}


def list_models(arguments: argparse.Namespace) -> Answer:
    """What can be built, and what is built: file, size, weights, what built it."""
    stored = stored_artifacts(arguments.models)
    if arguments.json:
        document = {
            "format": 1,
            "models": list(known_models()),
            "schemes": list(known_schemes()),
            "torch": {
                "models": list(known_models("torch")),
                "schemes": list(known_schemes("torch")),
            },
            "stored": [dict(artifact.entry) for artifact in stored],
        }
        return Answer(json.dumps(document, indent=1) + "\n")
    built = {(artifact.framework, artifact.variant.model) for artifact in stored}
    rows = [_artifact_row(artifact) for artifact in stored]
    rows += [
        (framework, model, "", "", "", "", "not built")
        for framework in FRAMEWORKS
        for model in known_models(framework)
        if (framework, model) not in built
    ]
    schemes = [f"{name} schemes: {', '.join(known_schemes(name))}\n" for name in FRAMEWORKS]
    return Answer(_grid(_HEADER, rows) + "".join(schemes))


def _artifact_row(artifact: ModelArtifact) -> tuple[str, ...]:
    there = str(artifact.path) if artifact.path.is_file() else f"{artifact.path} is missing"
    no_op = "" if artifact.no_op is None else " (no-op)"
    return (
        artifact.framework,
        artifact.variant.model,
        artifact.variant.scheme + no_op,
        f"{artifact.size_bytes / 1e6:.1f}",
        artifact.weights,
        artifact.sha256[:12],
        there,
    )


def build(arguments: argparse.Namespace) -> Answer:
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


def _asked_for(arguments: argparse.Namespace) -> tuple[list[Variant], BuildOptions, str]:
    """The models named, or those of a suite, in the way the arguments and the suite ask for."""
    options = building_of(arguments)
    framework = arguments.framework
    if not arguments.names:
        suite = _suite(arguments.suite or _BY_DEFAULT[framework])
        framework = suite.framework
        models, schemes = list(suite.models), list(suite.schemes)
        options = build_options(suite, options)
    else:
        models = arguments.names
        schemes = list(known_schemes(framework))
    schemes = arguments.scheme or schemes
    _check_known("model", models, known_models(framework))
    _check_known("scheme", schemes, known_schemes(framework))
    if arguments.compatibility is not None:
        options = replace(options, compatibility=arguments.compatibility)
    return [Variant(model, scheme) for model in models for scheme in schemes], options, framework


def _suite(name: str) -> Suite:
    return load_suite(
        name,
        relative_to=Path(),
        known_models=known_models(),
        known_schemes=known_schemes(),
        torch_models=known_models("torch"),
        torch_schemes=known_schemes("torch"),
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
    found = inspect_any(arguments.file)
    if arguments.json:
        return Answer(json.dumps({"format": 1, **found.to_json()}, indent=1) + "\n")
    if isinstance(found, TorchInspection):
        return Answer(_describe_torch(found))
    return Answer(_describe(found))


def _describe(found: Inspection) -> str:
    granularity = f", {found.granularity.replace('_', ' ')}" if found.granularity else ""
    lines = [
        f"scheme       {found.scheme}{granularity}",
        f"size         {found.size_bytes / 1e6:.3f} MB, SHA-256 {found.sha256}",
        f"parameters   {found.parameters:,}",
        f"work         {_work(found.work)}",
        f"quantized    {_quantized(found.work)}",
        f"runtime      {_runtime(found)}",
    ]
    for name, tensors in (("input", found.inputs), ("output", found.outputs)):
        lines += [f"{name:<12} {t.dtype} {list(t.shape)} {t.name}" for t in tensors]
    header = ("operator", "version", "count", "since runtime")
    rows = [
        (op.name, str(op.version), str(op.count), op.runtime or "unknown") for op in found.operators
    ]
    return "\n".join(lines) + "\n\n" + _grid(header, rows)


def _work(work: Work) -> str:
    """For one item: an open batch counts as 1."""
    if work.multiply_accumulates is None:
        return f"unknown: {', '.join(work.uncounted)} not counted"
    return f"{work.multiply_accumulates:,} multiply-accumulates an item"


def _quantized(work: Work) -> str:
    parts = [f"{100 * work.quantized_operators_share:.0f} % of operators"]
    if work.quantized_work_share is not None:
        parts.append(f"{100 * work.quantized_work_share:.1f} % of multiply-accumulates")
    return ", ".join(parts)


def _runtime(found: Inspection) -> str:
    """The oldest one, by the table of operators and by what the converter noted."""
    oldest = f"TensorFlow Lite {found.oldest_runtime or 'unknown'} or later"
    if found.unknown_operators:
        oldest += f", not counting {', '.join(found.unknown_operators)}, which are not known here"
    return f"{oldest} (the file says {found.min_runtime or 'nothing'})"


def _describe_torch(found: TorchInspection) -> str:
    kind = {
        "torchscript": "TorchScript archive",
        "state_dict": "state_dict: weights without a network, loaded with weights_only=True",
    }[found.kind]
    lines = [
        f"kind         {kind}",
        f"scheme       {_torch_scheme(found)}",
        f"size         {found.size_bytes / 1e6:.3f} MB, SHA-256 {found.sha256}",
        f"parameters   {found.parameters:,}, buffers included",
    ]
    if found.input_shape is not None:
        lines.append(f"input        {['batch', *found.input_shape]}, by a note in the file")
    stored = [(s.dtype, str(s.storages), f"{s.elements:,}") for s in found.stored]
    text = "\n".join(lines) + "\n\n" + _grid(("type", "tensors", "values"), stored)
    if found.operators:
        calls = [(name, str(count)) for name, count in found.operators]
        text += "\n" + _grid(("called in its code", "times"), calls)
    return text


def _torch_scheme(found: TorchInspection) -> str:
    """As the content shows it; a note beside it is what its builder says, where that is more."""
    shown = found.scheme if found.quantized else f"{found.scheme}, not quantized"
    if found.noted_scheme in (None, found.scheme):
        return shown
    return f"{shown}; built as {found.noted_scheme}, by a note in the file"


def _grid(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return render_grid(header, rows, width=answer_width(), color=colour_wanted())
