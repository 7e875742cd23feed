"""Builds one Keras model's ``.tflite`` files, in the build child."""

from __future__ import annotations

import json
import platform
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from typing import Any

from orchestrator.artifacts.store import ArtifactStore
from orchestrator.factors import OPEN
from orchestrator.frameworks.building import (
    BuildOptions,
    BuildRequest,
    BuildSite,
    peak_mb,
    recipe_key,
    representative_data,
    representative_images,
)
from orchestrator.frameworks.tflite.about import FRAMEWORK, OLD_RUNTIME
from orchestrator.frameworks.tflite.catalog import MODELS, SCHEMES, recipe
from orchestrator.frameworks.tflite.verify import verify_build
from orchestrator.trial import Variant

_CALIBRATION_STEP = 4  # images between two lines of progress


def build(request: BuildRequest, site: BuildSite) -> None:
    """Build and store every scheme asked for. Raises ModelBuildError, ArtifactError.

    Making VGG19 leaves 2 GB behind that nothing can free, each conversion of it up to 1 GB more,
    and its full_int8 alone needs nearly all there is: so large models go on in a new interpreter,
    with the saved model that this one leaves on disk.
    """
    name, spec, options = request.model, MODELS[request.model], request.options
    # Not in /tmp, which on many machines is memory.
    folder = request.models_dir / f".building-{name}"
    facts_file = folder / "facts.json"
    site.say("loading TensorFlow")
    from orchestrator.frameworks.tflite.keras import load_model, preprocess  # noqa: PLC0415  # seconds
    from orchestrator.frameworks.tflite.quantize import Converter  # noqa: PLC0415

    if site.resumed:
        facts = json.loads(facts_file.read_text("utf-8"))
        converter = Converter(None, spec, folder)
    else:
        loaded = load_model(name, spec, request.weights, options.seed, site.say)
        facts = {
            "weights": loaded.weights,
            "weights_reason": loaded.reason,
            "weights_sha256": loaded.weights_sha256,
            **_versions(),
        }
        site.say("tracing")
        batch = None if request.export == OPEN else 1
        converter = Converter(loaded.model, spec, folder, batch)
        if not spec.frozen:
            facts_file.write_text(json.dumps(facts), "utf-8")
            site.begin_afresh(request.schemes)
    store = ArtifactStore(request.models_dir)
    with converter:
        for number, scheme in enumerate(request.schemes, start=1):
            variant = Variant(name, scheme, request.export)
            site.say(f"converting to {scheme}")
            calibration = _calibration(variant, options, preprocess(spec), site.say)
            data = converter.convert(
                SCHEMES[scheme], calibration, dense_per_tensor=_dense_per_tensor(options)
            )
            made = recipe(variant, options)
            store.add(
                data,
                model=name,
                scheme=scheme,
                recipe_key=recipe_key(made),
                details={**facts, **_details(variant, options, made, data)},
                suffix=FRAMEWORK.endings[0],
            )
            site.stored(scheme)
            del data
            if site.resumed and number < len(request.schemes):
                site.begin_afresh(request.schemes[number:])


def _dense_per_tensor(options: BuildOptions) -> bool:
    """Whether dense layers get one scale for all their weights.

    With one scale a channel, today's converter writes FULLY_CONNECTED version 12 for dynamic
    range, which tflite-runtime 2.14 answers with "Registration failed". The integer-only
    version, 4, is as old as per-channel weights, and 2.14 computes it like today's runtime.
    """
    return options.compatibility == OLD_RUNTIME


def _calibration(
    variant: Variant,
    options: BuildOptions,
    preprocess: Callable[[Any], Any],
    say: Callable[[str], None],
) -> Callable[[], Iterator[list[Any]]] | None:
    if not SCHEMES[variant.scheme].calibrated:
        return None
    from orchestrator.frameworks.images import (  # noqa: PLC0415  # NumPy: only where needed
        calibration_set,
        random_images,
    )
    from orchestrator.frameworks.tflite.keras import folder_images  # noqa: PLC0415

    side = MODELS[variant.model].side
    data = representative_data(options)
    folder = options.representative
    count = int(data["count"])

    def images() -> Iterator[Any]:
        if folder is None:
            return random_images(count, side, options.seed)
        return folder_images(representative_images(folder), side)

    def on_image(number: int) -> None:
        if number % _CALIBRATION_STEP == 0 or number == count:
            say(f"converting to {variant.scheme}: calibrated {number} of {count}")

    return calibration_set(images, preprocess, on_image)


def _details(
    variant: Variant, options: BuildOptions, made: dict[str, Any], data: bytes
) -> dict[str, Any]:
    """What the manifest says of a file besides its name, its hash and its weights."""
    found = verify_build(variant, data, options.compatibility)
    return {
        "input_shape": made["input_shape"],
        "export": variant.export,
        "converter": made["converter"],
        "representative": made["representative"],
        "compatibility": options.compatibility,
        "recipe": made,
        "parameters": found.parameters,
        "min_runtime": found.min_runtime,
        "build_peak_mb": peak_mb(),
        "built": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }


def _versions() -> dict[str, str]:
    import keras  # noqa: PLC0415  # loaded by now
    import tensorflow as tf  # noqa: PLC0415

    return {
        "tensorflow": tf.__version__,
        "keras": keras.__version__,
        "python": platform.python_version(),
    }
