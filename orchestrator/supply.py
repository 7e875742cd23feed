"""What one reached device is given beside the models: its ``benchmark_model``, its runtimes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from orchestrator.artifacts.binaries import BinaryArtifact, platform_of, resolve_binary
from orchestrator.artifacts.sites import SiteArtifact, provide_site, target_of
from orchestrator.config import Device
from orchestrator.errors import ArtifactError, PermanentDeviceError
from orchestrator.fleet.provision import Node, has_runtime, installed_runtimes
from orchestrator.plan import DevicePlan
from orchestrator.runtimes import ANY, Runtime, parse_runtime

#: What ``any`` may be where nothing is installed. TensorFlow is ten times the size, and the same.
_PROVIDED_FOR_ANY = ("ai-edge-litert", "tflite-runtime")

Say = Callable[[str], None]


def binary_for(device: Device, node: Node, models_dir: Path, say: Say) -> BinaryArtifact:
    """The device's ``benchmark_model``. Raises ArtifactError."""
    if device.benchmark_model is None:
        raise ArtifactError("the inventory names no `benchmark_model:` for it")
    system = node.facts.get("system")
    machine = system.get("architecture") if isinstance(system, dict) else None
    return resolve_binary(
        device.benchmark_model, platform_of(str(machine)), models_dir, on_progress=say
    )


def sites_for(node: Node, plan: DevicePlan, models_dir: Path, say: Say) -> dict[str, SiteArtifact]:
    """Bundles of the runtimes that the device does not have itself, by the factor's value.

    A pinned one is always provided, so that it is the same on every device. Raises ArtifactError,
    DeviceError.
    """
    asked = {text: parse_runtime(text) for text in sorted(plan.runtimes)}
    unpinned = any(runtime.version is None for runtime in asked.values())
    own = installed_runtimes(node) if unpinned else {}
    return {
        text: _site_for(runtime, node, models_dir, say)
        for text, runtime in asked.items()
        if runtime.version is not None or not has_runtime(own, text)
    }


def check_fit(node: Node, targets: Mapping[str, str]) -> None:
    """Refuse bundles for a device whose Python is another one than they were made for.

    ``targets`` maps the factor's value to the target's key. Raises PermanentDeviceError.
    """
    if not targets:
        return
    now = target_of(node.facts).key
    for runtime, then in targets.items():
        # the Python and the machine; of C libraries a newer one loads what an older one did
        if (now.split("-")[0], now.split("-")[-1]) != (then.split("-")[0], then.split("-")[-1]):
            raise PermanentDeviceError(
                f"the run's {runtime} was provided for {then}, and its Python is {now} now; name "
                f"the earlier interpreter with `python:`, or start a new run",
                device=node.device,
            )


def _site_for(runtime: Runtime, node: Node, models_dir: Path, say: Say) -> SiteArtifact:
    target = target_of(node.facts)
    failures = []
    for candidate in _candidates(runtime):
        try:
            return provide_site(
                candidate, target, models_dir, lambda text: say(f"{node.device}: {text}")
            )
        except ArtifactError as exc:
            failures.append(str(exc))
    whose = "" if runtime.version else f"`{node.place.python}` there has none, and "
    raise ArtifactError(f"runtime {runtime}: {whose}none can be provided: {'; '.join(failures)}")


def _candidates(runtime: Runtime) -> Iterator[Runtime]:
    if runtime.name == ANY:
        yield from map(Runtime, _PROVIDED_FOR_ANY)
    else:
        yield runtime
