"""Builds, finds and inspects model files.

``catalog`` lists what there is, ``models`` finds and builds, ``parallel`` lets as many build as
memory allows, ``child`` runs ``build`` in a process of its own, where ``keras`` makes the model and
``quantize`` converts it; ``inspect`` reads files.
"""

from orchestrator.zoo.catalog import (
    COMPATIBILITIES,
    BuildOptions,
    known_models,
    known_schemes,
)
from orchestrator.zoo.inspect import Inspection, inspect_file
from orchestrator.zoo.models import (
    BuildProgress,
    ModelArtifact,
    artifacts_by_hash,
    ensure_artifacts,
    find_artifacts,
    stored_artifacts,
)

__all__ = [
    "COMPATIBILITIES",
    "BuildOptions",
    "BuildProgress",
    "Inspection",
    "ModelArtifact",
    "artifacts_by_hash",
    "ensure_artifacts",
    "find_artifacts",
    "inspect_file",
    "known_models",
    "known_schemes",
    "stored_artifacts",
]
