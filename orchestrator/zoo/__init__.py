"""Builds, finds and inspects model files.

``catalog`` and ``torch_catalog`` list what there is, ``frameworks`` holds both, ``models`` finds
and builds, ``parallel`` lets as many build as memory allows, ``child`` runs ``build`` in a process
of its own, where ``keras`` makes the model and ``quantize`` converts it, or the ``torch_*`` modules
do both; ``inspect`` and ``torch_file`` read files; ``user_files`` makes variants of the user's own.
"""

from orchestrator.frameworks.tflite.catalog import COMPATIBILITIES, DEFAULT_OPTIONS, BuildOptions
from orchestrator.frameworks.tflite.inspect import Inspection, Work, inspect_file, scheme_of
from orchestrator.frameworks.torch.file import TorchInspection, inspect_any
from orchestrator.zoo.frameworks import FRAMEWORKS, known_models, known_schemes
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
    keep,
    resolve,
)

__all__ = [
    "COMPATIBILITIES",
    "DEFAULT_OPTIONS",
    "FRAMEWORKS",
    "BuildOptions",
    "BuildProgress",
    "Inspection",
    "ModelArtifact",
    "OwnFiles",
    "TorchInspection",
    "Work",
    "artifacts_by_hash",
    "check_variants",
    "ensure_artifacts",
    "find_artifacts",
    "find_kept",
    "inspect_any",
    "inspect_file",
    "keep",
    "known_models",
    "known_schemes",
    "resolve",
    "scheme_of",
    "stored_artifacts",
]
