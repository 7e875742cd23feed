"""Architectures of torchvision with weights. Imports torch: build children only."""

from __future__ import annotations

import hashlib
import importlib
import math
import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from orchestrator.artifacts.download import STALL_S, check_reachable
from orchestrator.errors import ArtifactError, ModelBuildError
from orchestrator.frameworks.torch.catalog import TorchModelSpec

_BIAS_STD = 0.05


@dataclass(frozen=True)
class WeightedModel:
    """A model in evaluation mode and where its weights come from.

    ``weights`` is ``imagenet`` or ``random(seed=N)``; ``reason`` says why not ImageNet's;
    ``source`` is the address of ImageNet's.
    """

    model: Any
    weights: str
    reason: str | None
    source: str | None
    weights_sha256: str


def import_torchvision() -> Any:
    """Import torchvision, also one that was built for another torch.

    Its Python part registers a kernel for two operators of its native part. Where that part does
    not fit this torch, it is not loaded and the operators are not defined: defining them is enough
    for the classifiers, which use neither. A torchvision that fits is left alone: it would define
    them twice.
    """
    try:
        return importlib.import_module("torchvision")
    except RuntimeError as exc:
        if "does not exist" not in str(exc):
            raise ModelBuildError(f"torchvision cannot be imported: {exc}") from exc
    library = torch.library.Library("torchvision", "FRAGMENT")
    for name in ("nms", "qnms"):
        library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    _DEFINITIONS.append(library)  # the definitions live as long as the object
    for module in [m for m in sys.modules if m.split(".")[0] == "torchvision"]:
        del sys.modules[module]  # half imported
    return importlib.import_module("torchvision")


_DEFINITIONS: list[Any] = []


def load_model(
    name: str, spec: TorchModelSpec, weights: str, seed: int, say: Callable[[str], None]
) -> WeightedModel:
    """The model with weights by the policy ``auto``, ``imagenet`` or ``random``.

    Raises ModelBuildError where ``imagenet`` is insisted upon and cannot be had.
    """
    models = import_torchvision().models
    if weights == "random":
        return _random(models, name, spec, seed=seed, reason=None, say=say)
    say(f"fetching ImageNet weights of {name}")
    try:
        return _with_imagenet(models, spec)
    except _UnavailableError as exc:
        if weights == "imagenet":
            raise ModelBuildError(
                f"{name}: its other schemes have ImageNet weights, which cannot be had now "
                f"({exc}); try again with a network, or delete {name}-*.pt in the models folder "
                f"to build all of them with random weights"
            ) from exc
        return _random(models, name, spec, seed=seed, reason=str(exc), say=say)


class _UnavailableError(Exception):
    """ImageNet weights cannot be had; the message says why."""


def _with_imagenet(models: Any, spec: TorchModelSpec) -> WeightedModel:
    """Weights that torch has on disk are used without network; else it may download them."""
    chosen = models.get_model_weights(spec.function)[spec.weights]
    cached = Path(torch.hub.get_dir()) / "checkpoints" / chosen.url.rsplit("/", 1)[-1]
    if not cached.is_file():
        try:
            check_reachable(chosen.url)
        except ArtifactError as exc:
            raise _UnavailableError(str(exc)) from exc
    # A stalled download must end; one that is merely slow must not.
    socket.setdefaulttimeout(STALL_S)
    try:
        state = chosen.get_state_dict(progress=False, check_hash=True)
        model = models.get_model(spec.function, weights=None)
        model.load_state_dict(state)
    # A failed download, a wrong hash, a damaged file, keys of another version: whichever it is,
    # it goes into the manifest as the reason.
    except Exception as exc:
        raise _UnavailableError(" ".join(str(exc).split())[:300]) from exc
    finally:
        socket.setdefaulttimeout(None)
    return WeightedModel(model.eval(), "imagenet", None, chosen.url, _digest(model))


def _random(
    models: Any,
    name: str,
    spec: TorchModelSpec,
    *,
    seed: int,
    reason: str | None,
    say: Callable[[str], None],
) -> WeightedModel:
    why = f"{name}: " if reason is None else f"{name}: ImageNet weights cannot be had ({reason}): "
    say(f"{why}random weights, seed {seed}")
    model = models.get_model(spec.function, weights=None)
    _randomise(model, spec.gain, seed)
    return WeightedModel(model.eval(), f"random(seed={seed})", reason, None, _digest(model))


def _randomise(model: Any, gain: float, seed: int) -> None:
    """Kernels from N(0, gain / fan-in), biases from N(0, 0.05²); batch normalisation's scale,
    mean and variance stay at 1, 0 and 1.

    torchvision's own initial values let the activations of an untrained MobileNet die out (to
    1e-6). NumPy's generator gives the same values under every version of torch.
    """
    rng = np.random.default_rng(seed)
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            std = _BIAS_STD
        elif parameter.dim() > 1:
            std = math.sqrt(gain / math.prod(parameter.shape[1:]))
        else:
            continue  # the scale of a batch normalisation
        draw = rng.standard_normal(tuple(parameter.shape), dtype=np.float32)
        with torch.no_grad():
            parameter.copy_(torch.from_numpy(draw * np.float32(std)))


def _digest(model: Any) -> str:
    """SHA-256 over name, shape, type and bytes of every weight, in the model's order."""
    digest = hashlib.sha256()
    for name, value in model.state_dict().items():
        array = np.ascontiguousarray(value.numpy())
        digest.update(f"{name} {array.shape} {array.dtype.str}\n".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()
