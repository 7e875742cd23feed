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
from orchestrator.frameworks.parts import known_models
from orchestrator.printable import printable
from orchestrator.report.grid import render_grid
from orchestrator.trial import Variant
from orchestrator.zoo import (
    BuildProgress,
    Inspection,
    ModelArtifact,
    SignatureInfo,
    TensorInfo,
    TorchInspection,
    Work,
    ensure_artifacts,
    inspect_any,
    stored_artifacts,
)

_HEADER = ("framework", "model", "scheme", "MB", "weights", "SHA-256", "file")


def list_models(arguments: ListArguments) -> Answer:
    """List what can be built, and what is built: file, size, weights, what built it."""
    stored = stored_artifacts(arguments.models)
    first, *others = registry.FRAMEWORKS
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
        (framework, model, "", "", "", "", "not built")
        for framework in registry.names()
        for model in known_models(framework)
        if (framework, model) not in built
    ]
    schemes = [
        f"{each.name} schemes: {', '.join(each.scheme_names)}\n" for each in registry.FRAMEWORKS
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
        return Answer(json.dumps({"format": 1, **found.to_json()}, indent=1) + "\n")
    if isinstance(found, TorchInspection):
        return Answer(_describe_torch(found))
    return Answer(_describe(found))


def _describe(found: Inspection) -> str:
    lines = [
        f"scheme       {found.scheme}{_granularity(found)}",
        f"types        {_types(found)}",
        *_uses(found),
        f"size         {found.size_bytes / 1e6:.3f} MB, SHA-256 {found.sha256}",
        *(f"weights      partly in another file: {printable(n)}" for n in found.external_files),
        f"parameters   {found.parameters:,}",
        f"work         {_work(found.work)}",
        f"quantized    {_quantized(found.work)}",
        f"runtime      {_runtime(found)}",
    ]
    if found.signature is not None:
        lines.append(f"signature    {_signature(found)}")
    lines += [f"export       {_export(found)}"] * (found.export is not None)
    for name, tensors in (("input", found.inputs), ("output", found.outputs)):
        lines += [f"{name:<12} {_tensor(t)}" for t in tensors]
    header = ("operator", "version", "count", "since runtime")
    rows = [
        (
            printable(op.name),
            str(op.version),
            str(op.count),
            _since(op.runtime, op.because),
        )
        for op in found.operators
    ]
    text = "\n".join(lines) + "\n\n" + _grid(header, rows)
    if len(found.signatures) > 1:
        each = ("signature", "inputs", "outputs", "parameters", "multiply-accumulates")
        text += "\n" + _grid(each, [_signature_row(s) for s in found.signatures])
    return text


def _granularity(found: Inspection) -> str:
    if found.granularity is None:
        return ""
    if found.granularity == "mixed":
        return ", some layers with a scale a channel, some with one scale"
    block = f" ({found.block_size})" if found.block_size else ""
    return f", {found.granularity.replace('_', ' ')}{block}"


def _types(found: Inspection) -> str:
    weights = ", ".join(found.weight_types) or "none"
    if found.block_size:
        weights += f" in blocks of {found.block_size}"
    return f"weights {weights}; activations {', '.join(found.activation_types) or 'none'}"


def _uses(found: Inspection) -> list[str]:
    """How the weights are held, where operators disagree."""
    if len(found.weights) < 2:
        return []
    return [
        f"             {use.scheme}: {use.operators} operators, {use.elements:,} weights"
        for use in found.weights
    ]


def _export(found: Inspection) -> str:
    """How the batch stands in it, which can decide what a delegate takes."""
    computed = f"{found.shape_operators or 'no'} SHAPE computes a shape while it runs"
    return f"{'batch left open' if found.export == OPEN else 'batch fixed'}; {computed}"


def _signature(found: Inspection) -> str:
    name = printable(str(found.signature))
    others = [printable(str(s.name)) for s in found.signatures if s.name != found.signature]
    if not others:
        return name
    return f"{name} is what this is about; there are also {', '.join(others)}"


def _signature_row(signature: SignatureInfo) -> tuple[str, ...]:
    work = signature.multiply_accumulates
    return (
        printable(str(signature.name)),
        ", ".join(_called(t) for t in signature.inputs),
        ", ".join(_called(t) for t in signature.outputs),
        f"{signature.parameters:,}",
        "unknown" if work is None else f"{work:,}",
    )


def _called(tensor: TensorInfo) -> str:
    return f"{printable(tensor.key or tensor.name)} {tensor.dtype} {list(tensor.shape)}"


def _tensor(tensor: TensorInfo) -> str:
    key = "" if tensor.key in (None, tensor.name) else f" ({printable(str(tensor.key))})"
    return f"{tensor.dtype} {list(tensor.shape)} {printable(tensor.name)}{key}"


def _since(runtime: str | None, because: str | None) -> str:
    return (runtime or "unknown") + (f", for {printable(because)}" if because else "")


def _work(work: Work) -> str:
    """Say how much work one item is: an open batch counts as 1."""
    if work.multiply_accumulates is None:
        uncounted = printable(", ".join(work.uncounted))
        return f"unknown: the file alone does not tell the work of {uncounted}"
    return f"{work.multiply_accumulates:,} multiply-accumulates an item"


def _quantized(work: Work) -> str:
    parts = [f"{100 * work.quantized_operators_share:.0f} % of operators"]
    if work.quantized_work_share is not None:
        parts.append(f"{100 * work.quantized_work_share:.1f} % of multiply-accumulates")
    return ", ".join(parts)


def _runtime(found: Inspection) -> str:
    """Name the oldest runtime, by the table of operators and by what the converter noted."""
    oldest = f"TensorFlow Lite {found.oldest_runtime or 'unknown'} or later"
    if found.oldest_runtime is None:
        oldest = "unknown"
    if found.oldest_because is not None and found.oldest_runtime is not None:
        oldest += f", for {found.oldest_because}"
    if found.unknown_operators:
        oldest += f", not counting {', '.join(found.unknown_operators)}, which are not known here"
    return f"{oldest} (the file says {printable(found.min_runtime or 'nothing')})"


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
    """Name the scheme as the content shows it, and what its builder noted, where that is more."""
    shown = found.scheme if found.quantized else f"{found.scheme}, not quantized"
    if found.noted_scheme in (None, found.scheme):
        return shown
    return f"{shown}; built as {printable(found.noted_scheme)}, by a note in the file"


def _grid(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return render_grid(header, rows, width=answer_width(), color=colour_wanted())
