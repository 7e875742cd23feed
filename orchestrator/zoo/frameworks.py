"""The two catalogues side by side: ``tflite`` from Keras, ``torch`` from torchvision.

A model's name may stand in both; a run is of one framework.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator.errors import ModelBuildError
from orchestrator.frameworks.tflite import catalog
from orchestrator.frameworks.tflite.catalog import BuildOptions
from orchestrator.frameworks.torch import catalog as torch_catalog
from orchestrator.trial import Variant


@dataclass(frozen=True)
class Framework:
    """A catalogue, the files it makes, and what makes them.

    ``packages`` are what the build child imports, ``extra`` the one of ours that installs them.
    """

    name: str
    label: str
    models: Mapping[str, Any]
    schemes: Mapping[str, Any]
    recipe: Callable[[Variant, BuildOptions], dict[str, Any]]
    suffix: str
    packages: tuple[str, ...]
    extra: str

    def check_known(self, variant: Variant) -> None:
        """Raise ModelBuildError where the catalogue lacks the variant's model or scheme."""
        for what, name, there in (
            ("model", variant.model, self.models),
            ("scheme", variant.scheme, self.schemes),
        ):
            if name not in there:
                raise ModelBuildError(f"no {what} {name}; there are {', '.join(there)}")

    def recipe_key(self, variant: Variant, options: BuildOptions) -> str:
        """Hash of the recipe: what a stored file is found by. Raises ModelBuildError."""
        text = json.dumps(self.recipe(variant, options), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def check_toolchain(self) -> None:
        """Raise ModelBuildError where this Python lacks what builds the models."""
        if any(importlib.util.find_spec(package) is None for package in self.packages):
            raise ModelBuildError(
                f"building models needs {self.label}: `pip install "
                f"'orchestrate-quantized[{self.extra}]'`, or copy a models folder from a machine "
                f"that has built them"
            )


FRAMEWORKS: Mapping[str, Framework] = {
    "tflite": Framework(
        name="tflite",
        label="TensorFlow",
        models=catalog.MODELS,
        schemes=catalog.SCHEMES,
        recipe=catalog.recipe,
        suffix=".tflite",
        packages=("tensorflow",),
        extra="models",
    ),
    "torch": Framework(
        name="torch",
        label="PyTorch and torchvision",
        models=torch_catalog.MODELS,
        schemes=torch_catalog.SCHEMES,
        recipe=torch_catalog.recipe,
        suffix=".pt",
        packages=("torch", "torchvision"),
        extra="torch",
    ),
}


def known_models(framework: str = "tflite") -> tuple[str, ...]:
    """The models that can be built, in the order of the catalogue."""
    return tuple(FRAMEWORKS[framework].models)


def known_schemes(framework: str = "tflite") -> tuple[str, ...]:
    """The schemes that a model can be built in, float32 first."""
    return tuple(FRAMEWORKS[framework].schemes)
