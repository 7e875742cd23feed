"""Builds one ONNX model's schemes, in the build child (see ``build``)."""

from __future__ import annotations

import importlib
import platform
import tempfile
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from orchestrator.artifacts.store import ArtifactStore
from orchestrator.errors import ModelBuildError
from orchestrator.frameworks.building import (
    BuildOptions,
    BuildRequest,
    BuildSite,
    peak_mb,
    recipe_key,
)
from orchestrator.frameworks.onnx.about import FRAMEWORK
from orchestrator.frameworks.onnx.catalog import MODELS, SCHEMES, recipe
from orchestrator.frameworks.onnx.convert import check_runs, convert, export
from orchestrator.frameworks.onnx.files import built_scheme
from orchestrator.frameworks.onnx.inspect import Inspection, inspect_file
from orchestrator.frameworks.torch.data import calibration_images
from orchestrator.frameworks.torch.models import WeightedModel, load_model
from orchestrator.trial import Variant


def build(request: BuildRequest, site: BuildSite) -> None:
    """Build and store every scheme asked for. Raises ModelBuildError, ArtifactError."""
    name, options, say = request.model, request.options, site.say
    network = MODELS[name].network
    loaded = load_model(name, network, request.weights, options.seed, say)
    store = ArtifactStore(request.models_dir)

    def images() -> Any:
        return calibration_images(options, network.side)

    with tempfile.TemporaryDirectory(prefix="orchestrate-onnx-") as folder:
        source, target = Path(folder) / "float32.onnx", Path(folder) / "converted.onnx"
        say(f"{name}: exporting")
        export(loaded.model, network, source)
        for scheme in request.schemes:
            variant, doing = Variant(name, scheme), f"{name}: converting to {scheme}"
            say(doing)
            try:
                convert(
                    source,
                    target,
                    SCHEMES[scheme],
                    calibration=options.calibration,
                    images=images,
                    say=lambda step, doing=doing: say(f"{doing}: {step}"),  # type: ignore[misc]
                )
                check_runs(target, next(images()))
            except ModelBuildError as exc:
                raise ModelBuildError(f"{scheme}: {exc}") from exc
            found = inspect_file(target)
            held = built_scheme(found)
            if held != scheme:
                raise ModelBuildError(f"{scheme}: the converted model is {held}")
            store.add(
                target.read_bytes(),
                model=name,
                scheme=scheme,
                recipe_key=recipe_key(recipe(variant, options)),
                details=_details(variant, options, loaded, found),
                suffix=FRAMEWORK.endings[0],
            )
            site.stored(scheme)


def _details(
    variant: Variant, options: BuildOptions, loaded: WeightedModel, found: Inspection
) -> dict[str, Any]:
    """What the manifest says of a file besides its name and its hash."""
    made_by = recipe(variant, options)
    return {
        "framework": FRAMEWORK.name,
        "weights": loaded.weights,
        "weights_reason": loaded.reason,
        "weights_source": loaded.source,
        "weights_sha256": loaded.weights_sha256,
        "no_op": None,
        "input_shape": made_by["input_shape"],
        "converter": made_by["converter"],
        "representative": made_by["representative"],
        "recipe": made_by,
        "parameters": found.parameters,
        "multiply_accumulates": found.work.multiply_accumulates,
        "quantized_work_share": found.work.quantized_work_share,
        "build_peak_mb": peak_mb(),
        **{name: _version(name) for name in FRAMEWORK.packages},
        "python": platform.python_version(),
        "built": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }


def _version(package: str) -> str:
    return str(importlib.import_module(package).__version__)
