"""What this folder can do for PyTorch."""

from __future__ import annotations

from orchestrator.frameworks.building import BuildRequest, BuildSite
from orchestrator.frameworks.parts import Parts
from orchestrator.frameworks.torch import catalog
from orchestrator.frameworks.torch.about import FRAMEWORK
from orchestrator.frameworks.torch.files import FILES
from orchestrator.frameworks.torch.runner import TorchRunner


def _build(request: BuildRequest, site: BuildSite) -> None:
    from orchestrator.frameworks.torch.build import build  # noqa: PLC0415  # seconds

    build(request, site)


PARTS = Parts(
    about=FRAMEWORK,
    runners={TorchRunner.name: TorchRunner()},
    models=catalog.MODELS,
    recipe=catalog.recipe,
    build=_build,
    files=FILES,
    trained_on=lambda options: (
        ()
        if options.dataset is None
        else tuple(image.path for image in catalog.training_images(options.dataset))
    ),
)
