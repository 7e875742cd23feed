"""Builds, finds and inspects model files.

``catalog`` and ``torch_catalog`` list what there is, ``frameworks`` holds both, ``models`` finds
and builds, ``child`` runs ``build`` in a process of its own, where ``keras`` makes the model and
``quantize`` converts it, or the ``torch_*`` modules do both; ``inspect`` reads files.
"""

from orchestrator.zoo.catalog import BuildOptions
from orchestrator.zoo.frameworks import FRAMEWORKS, known_models, known_schemes
from orchestrator.zoo.inspect import Inspection, inspect_file
from orchestrator.zoo.models import (
    BuildProgress,
    ModelArtifact,
    ensure_artifacts,
    find_artifacts,
    stored_artifacts,
)

__all__ = [
    "FRAMEWORKS",
    "BuildOptions",
    "BuildProgress",
    "Inspection",
    "ModelArtifact",
    "ensure_artifacts",
    "find_artifacts",
    "inspect_file",
    "known_models",
    "known_schemes",
    "stored_artifacts",
]
