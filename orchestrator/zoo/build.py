"""The child process that builds one model's schemes: ``python -m orchestrator.zoo.build``.

Takes one JSON object, a line, on stdin (see ``child.BuildRequest``) and lives as long as that pipe
is open: when the parent dies, it ends too. Writes JSON lines to stdout: ``{"step": …}``,
``{"stored": scheme}`` and ``{"error": …}``. Everything else that anybody prints goes to stderr,
which the parent keeps as the build's log.
"""

from __future__ import annotations

import json
import os
import platform
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime, timezone
from typing import Any

from orchestrator.artifacts.store import ArtifactStore
from orchestrator.errors import OrchestrateError
from orchestrator.frameworks.tflite.catalog import (
    MODELS,
    SCHEMES,
    BuildOptions,
    recipe,
    recipe_key,
    representative_data,
    representative_images,
)
from orchestrator.frameworks.tflite.verify import verify_build
from orchestrator.trial import Variant
from orchestrator.zoo.child import BuildRequest
from orchestrator.zoo.peak import peak_mb

#: Writes one line for the parent.
Tell = Callable[[dict[str, str]], None]

_CALIBRATION_STEP = 4  # images between two lines of progress


def main() -> int:
    """Build what stdin asks for. 0, or 1 after an ``error`` line."""
    tell, wire = _take_stdout()
    traced = len(sys.argv) > 1
    request = BuildRequest.from_json(json.loads(sys.argv[1] if traced else sys.stdin.readline()))
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        if request.framework == "torch":
            from orchestrator.frameworks.torch.build import build  # noqa: PLC0415  # seconds

            build(request, tell)
        else:
            _build(
                request,
                tell,
                traced=traced,
                begin_afresh=lambda schemes: _begin_afresh(replace(request, schemes=schemes), wire),
            )
    except OrchestrateError as exc:
        tell({"error": str(exc)})
        return 1
    except ImportError as exc:
        library = "PyTorch" if request.framework == "torch" else "TensorFlow"
        extra = "torch" if request.framework == "torch" else "models"
        tell(
            {
                "error": f"{library} or what it needs cannot be imported ({exc}); "
                f"`pip install 'orchestrate-quantized[{extra}]'` installs it"
            }
        )
        return 1
    return 0


def _begin_afresh(request: BuildRequest, wire: int) -> None:
    """Become a new interpreter that goes on with the saved model.

    Making VGG19 leaves 2 GB behind that nothing can free, each conversion of it up to 1 GB more,
    and its full_int8 alone needs nearly all there is. The process stays the same, so the parent
    still follows, and can kill, all of it.
    """
    line = json.dumps(request.to_json())
    os.dup2(wire, 1)
    os.execv(sys.executable, (sys.executable, "-m", "orchestrator.zoo.build", line))  # noqa: S606


def _take_stdout() -> tuple[Tell, int]:
    """Keep stdout for our lines and point file descriptor 1 at stderr for everybody else's.

    What writes such a line, and where it goes.
    """
    wire = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def tell(message: dict[str, str]) -> None:
        wire.write(json.dumps(message) + "\n")
        wire.flush()

    return tell, wire.fileno()


def _end_with_parent() -> None:
    while os.read(0, 1):  # not sys.stdin: a thread waiting in it disturbs the interpreter's end
        pass
    # Nothing needs tidying up: what is stored is whole, and the store removes partial files.
    os._exit(1)


def _build(
    request: BuildRequest,
    tell: Tell,
    *,
    traced: bool,
    begin_afresh: Callable[[tuple[str, ...]], None],
) -> None:
    """``traced``: this process is the second one, and the first has left a saved model."""
    name, spec, options = request.model, MODELS[request.model], request.options

    def say(step: str) -> None:
        tell({"step": step})

    # Not in /tmp, which on many machines is memory.
    folder = request.models_dir / f".building-{name}"
    facts_file = folder / "facts.json"
    say("loading TensorFlow")
    from orchestrator.frameworks.tflite.keras import load_model, preprocess  # noqa: PLC0415  # seconds
    from orchestrator.frameworks.tflite.quantize import Converter  # noqa: PLC0415

    if traced:
        facts = json.loads(facts_file.read_text("utf-8"))
        converter = Converter(None, spec, folder)
    else:
        loaded = load_model(name, spec, request.weights, options.seed, say)
        facts = {
            "weights": loaded.weights,
            "weights_reason": loaded.reason,
            "weights_sha256": loaded.weights_sha256,
            **_versions(),
        }
        say("tracing")
        converter = Converter(loaded.model, spec, folder)
        if not spec.frozen:
            facts_file.write_text(json.dumps(facts), "utf-8")
            begin_afresh(request.schemes)
    store = ArtifactStore(request.models_dir)
    with converter:
        for number, scheme in enumerate(request.schemes, start=1):
            variant = Variant(name, scheme)
            say(f"converting to {scheme}")
            calibration = _calibration(variant, options, preprocess(spec), say)
            data = converter.convert(
                SCHEMES[scheme], calibration, dense_per_tensor=options.dense_per_tensor
            )
            details = {**facts, **_details(variant, options, data)}
            key = recipe_key(variant, options)
            store.add(data, model=name, scheme=scheme, recipe_key=key, details=details)
            tell({"stored": scheme})
            del data
            if traced and number < len(request.schemes):
                begin_afresh(request.schemes[number:])


def _calibration(
    variant: Variant,
    options: BuildOptions,
    preprocess: Callable[[Any], Any],
    say: Callable[[str], None],
) -> Callable[[], Iterator[list[Any]]] | None:
    if not SCHEMES[variant.scheme].calibrated:
        return None
    from orchestrator.frameworks.tflite.images import (  # noqa: PLC0415  # NumPy: only where needed
        calibration_set,
        folder_images,
        random_images,
    )

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


def _details(variant: Variant, options: BuildOptions, data: bytes) -> dict[str, Any]:
    """What the manifest says of a file beside its name, its hash and its weights."""
    found = verify_build(variant, data, options.compatibility)
    made = recipe(variant, options)
    return {
        "input_shape": made["input_shape"],
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


if __name__ == "__main__":
    sys.exit(main())
