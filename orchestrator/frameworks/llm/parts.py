"""What this folder can do for language models."""

from __future__ import annotations

from orchestrator.frameworks.building import BuildRequest, BuildSite
from orchestrator.frameworks.llm import catalog
from orchestrator.frameworks.llm.about import FRAMEWORK
from orchestrator.frameworks.llm.files import FILES
from orchestrator.frameworks.llm.logs import LOGS
from orchestrator.frameworks.llm.runner import LlamaRunner
from orchestrator.frameworks.parts import Parts


def _build(request: BuildRequest, site: BuildSite) -> None:
    from orchestrator.frameworks.llm.build import build  # noqa: PLC0415  # needs its libraries

    build(request, site)


PARTS = Parts(
    about=FRAMEWORK,
    runners={LlamaRunner.name: LlamaRunner()},
    models=catalog.MODELS,
    recipe=catalog.recipe,
    build=_build,
    files=FILES,
    logs=LOGS,
)
