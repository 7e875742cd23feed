"""What this folder can do for TensorFlow Lite."""

from __future__ import annotations

from orchestrator.frameworks.building import BuildRequest, BuildSite
from orchestrator.frameworks.parts import Parts
from orchestrator.frameworks.tflite import catalog
from orchestrator.frameworks.tflite.about import FRAMEWORK
from orchestrator.frameworks.tflite.benchmark_model import BenchmarkModelRunner
from orchestrator.frameworks.tflite.files import FILES
from orchestrator.frameworks.tflite.inspect import real_range
from orchestrator.frameworks.tflite.litert import LiteRtRunner
from orchestrator.frameworks.tflite.logs import LOGS


def _build(request: BuildRequest, site: BuildSite) -> None:
    from orchestrator.frameworks.tflite.build import build  # noqa: PLC0415  # in the child alone

    build(request, site)


_RUNNERS = (BenchmarkModelRunner(), LiteRtRunner())

PARTS = Parts(
    about=FRAMEWORK,
    runners={runner.name: runner for runner in _RUNNERS},
    models=catalog.MODELS,
    recipe=catalog.recipe,
    build=_build,
    files=FILES,
    logs=LOGS,
    real_range=real_range,
)
