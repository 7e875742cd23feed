"""The frameworks there are: the only list, and what is asked of it.

It holds plain values and imports no framework's code, so that the command line can ask it at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from orchestrator.artifacts.tool import Tool
from orchestrator.errors import UsageError
from orchestrator.factors import OPTIONAL, Factors
from orchestrator.frameworks.about import (
    Framework,
    Library,
    RunnerAbout,
    SchemeAbout,
)
from orchestrator.frameworks.command import about as command
from orchestrator.frameworks.llm import about as llm
from orchestrator.frameworks.onnx import about as onnx
from orchestrator.frameworks.tflite import about as tflite
from orchestrator.frameworks.torch import about as torch
from orchestrator.runtimes import ANY, Runtime, parse_runtime
from orchestrator.trial import Group

#: The first is the one that is meant where nothing names one: files and entries of before there
#: were two say nothing, and ``runner: auto`` takes one of its runners.
FRAMEWORKS: tuple[Framework, ...] = (
    tflite.FRAMEWORK,
    torch.FRAMEWORK,
    llm.FRAMEWORK,
    onnx.FRAMEWORK,
    command.FRAMEWORK,
)

#: What a suite writes for: the default framework's first runner that the device permits.
AUTO = "auto"


def default() -> Framework:
    """Return the framework that is meant where nothing names one."""
    return FRAMEWORKS[0]


def names() -> tuple[str, ...]:
    """Return the names of all frameworks."""
    return tuple(each.name for each in FRAMEWORKS)


def builders() -> tuple[Framework, ...]:
    """Return the frameworks that have models to build."""
    return tuple(each for each in FRAMEWORKS if each.builds)


def framework(name: str) -> Framework:
    """Return the framework of this name. Raises UsageError with the list for any other."""
    for each in FRAMEWORKS:
        if each.name == name:
            return each
    raise UsageError(f"framework {name!r} is not known; use one of: {', '.join(names())}")


def runners() -> tuple[RunnerAbout, ...]:
    """Return every runner of every framework."""
    return tuple(runner for each in FRAMEWORKS for runner in each.runners)


def runner_names() -> tuple[str, ...]:
    """Return the names of all runners."""
    return tuple(runner.name for runner in runners())


def runners_where(holds: Callable[[RunnerAbout], bool]) -> tuple[str, ...]:
    """Return the names of the runners of which something holds."""
    return tuple(runner.name for runner in runners() if holds(runner))


def find_runner(name: str) -> RunnerAbout | None:
    """Return the runner of this name; None for one that nobody knows, as a journal may name it."""
    return next((runner for runner in runners() if runner.name == name), None)


def runner(name: str) -> RunnerAbout:
    """Return the runner of this name. Raises UsageError with the list for any other, ``auto``
    included: what that stands for depends on the device and is settled when the plan is made."""
    found = find_runner(name)
    if found is None:
        raise UsageError(
            f"runner {name!r} is not known; use one of: {', '.join(sorted(runner_names()))}"
        )
    return found


def framework_of(runner_name: str) -> Framework:
    """Return the framework whose files the runner takes; ``auto`` is one of the default
    framework's. Raises UsageError for a runner that nobody knows."""
    if runner_name == AUTO:
        return default()
    wanted = runner(runner_name)
    return next(each for each in FRAMEWORKS if wanted in each.runners)


def find_framework_of(runner_name: str) -> Framework | None:
    """Return the framework whose files a runner takes; None for a runner that nobody knows."""
    return framework_of(runner_name) if find_runner(runner_name) is not None else None


def frameworks_of(runner_names: Iterable[str]) -> tuple[Framework, ...]:
    """Return the frameworks whose files these runners take, each once. Raises UsageError for an
    unknown runner."""
    found = {each.name: each for each in map(framework_of, runner_names)}
    return tuple(found.values())


def tool() -> Tool:
    """Return the binary that the inventory can name for a device: that of the first runner with
    one."""
    return next(runner.tool for runner in runners() if runner.tool is not None)


def checker_of(runner: RunnerAbout) -> RunnerAbout | None:
    """Return the runner that looks at what this one's files compute; None where it shows that
    itself, or where no runner of its framework does."""
    if runner.shows_outputs:
        return None
    others = framework_of(runner.name).runners
    return next((each for each in others if each.shows_outputs), None)


# -- factors --------------------------------------------------------------------------------------


def values_of(factor: str) -> tuple[Any, ...]:
    """Return every word that some runner knows of a factor, in the order of the list; a range of
    numbers has none."""
    known = (runner.factors.get(factor, ()) for runner in runners())
    return tuple(dict.fromkeys(word for some in known if type(some) is tuple for word in some))


def own_factors(factors: Factors) -> tuple[str, ...]:
    """Return the optional factors that mean something to the runner that ``factors`` name.

    Of a runner that nobody knows those that were recorded with another value than the default.
    """
    known = find_runner(factors.runner)
    if known is not None:
        return tuple(each.name for each in OPTIONAL if each.name in known.factors)
    return tuple(e.name for e in OPTIONAL if e.of(factors) not in (e.default, e.absent))


def group_of(
    device: str,
    model: str,
    factors: Factors,
    schemes: tuple[str, ...],
    baseline: str,
    *,
    framework: str = "",
) -> Group:
    """Return what is compared with each other under these factors."""
    return Group(device, model, factors, schemes, baseline, own_factors(factors), framework)


# -- runtimes -------------------------------------------------------------------------------------


def libraries() -> tuple[Library, ...]:
    """Return every library that some Python runner computes with."""
    found = (library for each in FRAMEWORKS for library in each.libraries)
    return tuple(dict.fromkeys(found))


def library(name: str) -> Library | None:
    """Return the library of this name; None for one that nobody knows."""
    return next((each for each in libraries() if each.name == name), None)


def runtime_names() -> tuple[str, ...]:
    """Return the runtimes that a suite may name."""
    return tuple(each.name for each in libraries())


def runtime_named(text: str) -> Runtime:
    """Return the runtime that a suite writes. Raises ValueError with what to write instead."""
    known = (ANY, *runtime_names())
    name, _, version = text.partition("==")
    if name not in known or (version and name == ANY):
        raise ValueError(
            f"`{text[:80]}` is not a runtime; there are {', '.join(known)}, and "
            f"NAME==VERSION for one that is provided, like {known[1]}==2.3.0"
        )
    return parse_runtime(text)


def takes_runtime(runner: RunnerAbout, text: str) -> bool:
    """Whether the runner can be given a runtime, as a suite writes it."""
    name = parse_runtime(text).name
    return name == ANY or name in runner.runtimes


def own_runtime(runner: RunnerAbout, text: str) -> str:
    """Return a runtime as the runner's trials name it: any is the one, where there is but one."""
    one = len(runner.libraries) == 1 and text == ANY
    return runner.runtimes[0] if one else text


def choices(runner: RunnerAbout, text: str) -> tuple[Library, ...]:
    """Return the libraries of which one is to be there: the one named, or any of the runner's."""
    name = parse_runtime(text).name
    return tuple(each for each in runner.libraries if name in (ANY, each.name))


def compatibility_for(runtimes: Iterable[str]) -> str | None:
    """Return the older runtime that these need files for; None where the newest will do."""
    needs = (library(parse_runtime(text).name) for text in runtimes)
    return next((each.compatibility for each in needs if each and each.compatibility), None)


# -- schemes --------------------------------------------------------------------------------------


def schemes() -> Iterator[SchemeAbout]:
    """Yield every framework's schemes; one that two frameworks have comes twice."""
    for each in FRAMEWORKS:
        yield from each.schemes


def same_as(name: str) -> tuple[str, ...]:
    """Return what the scheme of this name is also called, by any framework."""
    return tuple(other for each in schemes() if each.name == name for other in each.same_as)


def is_as_trained(scheme: str, runner: str) -> bool:
    """Return whether a runner's files of this scheme have their weights as they were trained:
    beside a quantized baseline such a file is larger, as it should be."""
    framework = find_framework_of(runner) or default()
    return scheme == framework.schemes[0].name


def scheme_phrase(name: str, model: str) -> str | None:
    """Return what was done to a model in a scheme, as part of a sentence; None where nothing says
    it."""
    found = next((each.phrase for each in schemes() if each.name == name and each.phrase), None)
    return None if found is None else found.format(model=model)


def endings() -> tuple[str, ...]:
    """Return the endings of all files that some runner takes."""
    return tuple(ending for each in FRAMEWORKS for ending in each.endings)


def foreign_ending(ending: str) -> str | None:
    """Return what a file is whose name ends so, and what makes one of it that some runner takes;
    None where no framework knows."""
    known = [each.foreign[ending] for each in FRAMEWORKS if ending in each.foreign]
    return f"{known[0][0]}; {', or '.join(advice for _, advice in known)}" if known else None


def compatibilities() -> tuple[str, ...]:
    """Return every older runtime that some framework's files can be built for."""
    return tuple(older for each in FRAMEWORKS for older in each.compatibilities)
