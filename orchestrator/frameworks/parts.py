"""What a framework's folder can do, found by the module that it names."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.errors import ModelBuildError
from orchestrator.frameworks import registry
from orchestrator.frameworks.about import Framework
from orchestrator.frameworks.building import Build, BuildOptions, ModelSpec, recipe_key
from orchestrator.frameworks.files import FileReader
from orchestrator.frameworks.logs import LogReader
from orchestrator.frameworks.preprocessing import Preprocessing
from orchestrator.frameworks.reading.capped import CappedRunner
from orchestrator.frameworks.runner import Runner
from orchestrator.isa.levels import NATIVE
from orchestrator.trial import Trial, Variant


@dataclass(frozen=True)
class Parts:
    """``PARTS`` of a framework's module ``parts``; importing it imports none of its libraries.

    ``models`` is the catalogue; ``recipe`` is all that determines a built file's bytes, toolchain
    versions apart, and raises ModelBuildError; ``build`` runs in the build child. ``files`` reads
    files that users bring along, ``logs`` what its tools printed for somebody else; without them
    nothing of either kind is taken. ``real_range`` tells which real values the quantized inputs of
    a file can hold, None where there are none; it raises ModelBuildError. ``trained_on`` are the
    images that schemes are trained on which say so (``dataset`` in their entries).
    """

    about: Framework
    runners: Mapping[str, Runner]
    models: Mapping[str, ModelSpec]
    recipe: Callable[[Variant, BuildOptions], dict[str, Any]]
    build: Build
    files: FileReader | None = None
    logs: LogReader | None = None
    real_range: Callable[[Path], tuple[float, float] | None] = lambda _: None
    trained_on: Callable[[BuildOptions], Sequence[Path]] = lambda _: ()


def parts_of(framework: Framework) -> Parts:
    """Return the framework's parts."""
    return load_parts(framework.parts)


def load_parts(module: str) -> Parts:
    """Return the parts in a module of this name."""
    found = importlib.import_module(module).PARTS
    if not isinstance(found, Parts):
        raise TypeError(f"{module}.PARTS is not a framework's Parts")
    return found


# -- runners --------------------------------------------------------------------------------------


def runner_named(name: str) -> Runner:
    """Return the runner of this name. Raises UsageError with the list for any other."""
    registry.runner(name)
    return parts_of(registry.framework_of(name)).runners[name]


def runner_for(trial: Trial) -> Runner:
    """Return the runner that ``trial`` names, under the instruction set that it names.

    Raises UsageError as :func:`runner_named` does.
    """
    runner = runner_named(trial.factors.runner)
    return runner if trial.factors.isa == NATIVE else CappedRunner(runner)


# -- models ----------------------------------------------------------------------------------------


def preprocessing_of(framework: Framework, model: str) -> Preprocessing | None:
    """Return what a model of the catalogue makes of an image; None for a model that is none of its,
    or that takes no image."""
    spec = parts_of(framework).models.get(model)
    return None if spec is None else spec.preprocessing


def top1_of(framework: Framework, model: str) -> float | None:
    """Return the share of ImageNet's validation set that is published for a model's weights; None
    where nobody says it."""
    spec = parts_of(framework).models.get(model)
    return None if spec is None else spec.top1


# -- files ----------------------------------------------------------------------------------------


def file_reader(framework: Framework) -> FileReader | None:
    """Return what reads the framework's files; None where nothing does."""
    return parts_of(framework).files


def log_readers() -> tuple[LogReader, ...]:
    """Return what reads the logs of the frameworks' tools, in the order of the registry."""
    return tuple(logs for each in registry.FRAMEWORKS if (logs := parts_of(each).logs) is not None)


# -- building -------------------------------------------------------------------------------------


def known_models(framework: str | None = None) -> tuple[str, ...]:
    """Return the models that can be built, in the order of the catalogue; None is the default
    one's."""
    of = registry.default() if framework is None else registry.framework(framework)
    return tuple(parts_of(of).models)


def known_schemes(framework: str | None = None) -> tuple[str, ...]:
    """Return the schemes that a model can be built in, in the order of the catalogue."""
    of = registry.default() if framework is None else registry.framework(framework)
    return of.scheme_names


def check_known(framework: Framework, variant: Variant) -> None:
    """Raise ModelBuildError where the catalogue lacks the variant's model, scheme or export."""
    exports = {level for each in framework.runners for level in each.levels("export")}
    for what, name, there in (
        ("model", variant.model, tuple(parts_of(framework).models)),
        ("scheme", variant.scheme, framework.scheme_names),
        ("export", variant.export, tuple(sorted(exports, reverse=True))),
    ):
        if name not in there:
            raise ModelBuildError(f"no {what} {name}; there are {', '.join(there)}")


def key_of(framework: Framework, variant: Variant, options: BuildOptions) -> str:
    """Return what a stored file of the variant is found by. Raises ModelBuildError."""
    return recipe_key(parts_of(framework).recipe(variant, options))


def check_toolchain(framework: Framework) -> None:
    """Raise ModelBuildError where this Python lacks what builds the models."""
    if any(importlib.util.find_spec(package) is None for package in framework.packages):
        raise ModelBuildError(
            f"building models needs {framework.builder}: `pip install "
            f"'orchestrate-quantized[{framework.extra}]'`, or copy a models folder from a machine "
            f"that has built them"
        )
