"""Really built models for integration tests, built once and kept between test runs.

They lie in the folder that ``ORCHESTRATE_TEST_MODELS`` names, else in pytest's cache. The store
itself decides what is missing, so that a change of recipe builds anew; ``pytest --cache-clear``
does so in any case.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import pytest

from orchestrator.trial import Variant
from orchestrator.zoo import ModelArtifact, ensure_artifacts, known_schemes

MOBILENET = tuple(Variant("mobilenet_v1", scheme) for scheme in known_schemes())


def models_dir(config: pytest.Config) -> Path:
    """Where built models are kept between test runs."""
    named = os.environ.get("ORCHESTRATE_TEST_MODELS")
    if named:
        return Path(named)
    cache = config.cache
    if cache is None:
        pytest.skip("set ORCHESTRATE_TEST_MODELS, or let pytest have its cache")
    return cache.mkdir("orchestrate-models")


def built_models(
    config: pytest.Config, variants: Iterable[Variant] = MOBILENET
) -> dict[Variant, ModelArtifact]:
    """The variants (all of ``mobilenet_v1`` unless told), built where they are missing."""
    pytest.importorskip(
        "tensorflow", reason="building models needs TensorFlow", exc_type=ImportError
    )
    return ensure_artifacts(variants, models_dir(config))
