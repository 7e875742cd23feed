"""Builds one PyTorch model's schemes, in the build child (see ``build``)."""

from __future__ import annotations

import platform
from datetime import datetime, timezone
from typing import Any

import torch

from orchestrator.artifacts.store import ArtifactStore
from orchestrator.errors import ModelBuildError
from orchestrator.frameworks.building import (
    BuildOptions,
    BuildRequest,
    BuildSite,
    peak_mb,
    recipe_key,
)
from orchestrator.frameworks.torch.about import FRAMEWORK
from orchestrator.frameworks.torch.catalog import MODELS, recipe
from orchestrator.frameworks.torch.data import calibration_images, training_set
from orchestrator.frameworks.torch.models import WeightedModel, import_torchvision, load_model
from orchestrator.frameworks.torch.quantize import ConvertedNetwork, Converter
from orchestrator.trial import Variant


def build(request: BuildRequest, site: BuildSite) -> None:
    """Build and store every scheme asked for. Raises ModelBuildError, ArtifactError."""
    name, options = request.model, request.options
    spec, say = MODELS[name], site.say
    loaded = load_model(name, spec, request.weights, options.seed, say)
    converter = Converter(
        loaded.model, spec, options.calibration, lambda: calibration_images(options, spec.side)
    )
    store = ArtifactStore(request.models_dir)
    for scheme in request.schemes:
        variant, doing = Variant(name, scheme), f"{name}: converting to {scheme}"
        say(doing)
        try:
            made = converter.convert(
                scheme,
                lambda: training_set(options, spec.side),
                options.seed,
                lambda step, doing=doing: say(f"{doing}: {step}"),  # type: ignore[misc]
            )
        except ModelBuildError as exc:
            raise ModelBuildError(f"{scheme}: {exc}") from exc
        store.add(
            made.data,
            model=name,
            scheme=scheme,
            recipe_key=recipe_key(recipe(variant, options)),
            details=_details(variant, options, loaded, made),
            suffix=FRAMEWORK.endings[0],
        )
        if made.no_op is not None:
            say(f"{name}: {scheme} is a no-op: {made.no_op}")
        site.stored(scheme)


def _details(
    variant: Variant, options: BuildOptions, loaded: WeightedModel, made: ConvertedNetwork
) -> dict[str, Any]:
    """What the manifest says of a file besides its name and its hash.

    ``weights_sha256`` is that of the float weights which all schemes start from; ``training`` says
    how a scheme's were trained further.
    """
    made_by = recipe(variant, options)
    return {
        "framework": FRAMEWORK.name,
        "weights": loaded.weights,
        "weights_reason": loaded.reason,
        "weights_source": loaded.source,
        "weights_sha256": loaded.weights_sha256,
        "training": made.training,
        "dataset": made_by["dataset"],
        "no_op": made.no_op,
        "quantized_operators": made.operators,
        "observer": made.observer,
        "input_shape": made_by["input_shape"],
        "converter": made_by["converter"],
        "representative": made_by["representative"],
        "recipe": made_by,
        "parameters": made.parameters,
        "build_peak_mb": peak_mb(),
        "torch": str(torch.__version__),
        "torchvision": str(import_torchvision().__version__),
        "python": platform.python_version(),
        "built": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }
