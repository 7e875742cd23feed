"""What this folder can do for programs that a suite describes: run and read them, build nothing."""

from __future__ import annotations

from typing import Any

from orchestrator.errors import ModelBuildError
from orchestrator.frameworks.building import BuildOptions, BuildRequest, BuildSite
from orchestrator.frameworks.command.about import FRAMEWORK
from orchestrator.frameworks.command.files import FILES
from orchestrator.frameworks.command.logs import LOGS
from orchestrator.frameworks.command.runner import CommandRunner
from orchestrator.frameworks.parts import Parts
from orchestrator.trial import Variant

_NOTHING = "a program runs files and arguments of your own; nothing is built for it"


def _recipe(variant: Variant, options: BuildOptions) -> dict[str, Any]:
    raise ModelBuildError(_NOTHING)


def _build(request: BuildRequest, site: BuildSite) -> None:
    raise ModelBuildError(_NOTHING)


PARTS = Parts(
    about=FRAMEWORK,
    runners={CommandRunner.name: CommandRunner()},
    models={},
    recipe=_recipe,
    build=_build,
    files=FILES,
    logs=LOGS,
)
