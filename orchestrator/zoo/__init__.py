"""Builds and finds model files.

``models`` finds and builds, ``parallel`` lets as many build as memory allows, ``child`` runs
``build`` in a process of its own, where the framework's own builder works; ``user_files`` makes
variants of the user's own.
"""

from orchestrator.frameworks.building import DEFAULT_OPTIONS, BuildOptions
from orchestrator.frameworks.parts import known_models, known_schemes
from orchestrator.zoo.models import (
    BuildProgress,
    ModelArtifact,
    artifacts_by_hash,
    ensure_artifacts,
    find_artifacts,
    stored_artifacts,
)
from orchestrator.zoo.user_files import (
    OwnFiles,
    check_variants,
    find_kept,
    find_program,
    keep,
    resolve,
    with_program,
)

__all__ = [
    "DEFAULT_OPTIONS",
    "BuildOptions",
    "BuildProgress",
    "ModelArtifact",
    "OwnFiles",
    "artifacts_by_hash",
    "check_variants",
    "ensure_artifacts",
    "find_artifacts",
    "find_kept",
    "find_program",
    "keep",
    "known_models",
    "known_schemes",
    "resolve",
    "stored_artifacts",
    "with_program",
]
