"""What this folder can do for ONNX."""

from __future__ import annotations

from orchestrator.frameworks.building import BuildRequest, BuildSite
from orchestrator.frameworks.onnx import catalog
from orchestrator.frameworks.onnx.about import FRAMEWORK
from orchestrator.frameworks.onnx.files import FILES
from orchestrator.frameworks.onnx.runner import OnnxRuntimeRunner
from orchestrator.frameworks.parts import Parts


def _build(request: BuildRequest, site: BuildSite) -> None:
    from orchestrator.frameworks.onnx.build import build  # noqa: PLC0415  # seconds

    build(request, site)


PARTS = Parts(
    about=FRAMEWORK,
    runners={OnnxRuntimeRunner.name: OnnxRuntimeRunner()},
    models=catalog.MODELS,
    recipe=catalog.recipe,
    build=_build,
    files=FILES,
)
