"""Architectures of ``keras.applications`` with weights. Imports TensorFlow: build children only."""

from __future__ import annotations

import hashlib
import importlib
import math
import socket
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from orchestrator.artifacts.download import STALL_S, check_reachable
from orchestrator.errors import ArtifactError, ModelBuildError
from orchestrator.frameworks.images import Image
from orchestrator.frameworks.tflite import resnet18
from orchestrator.frameworks.tflite.catalog import TORCHVISION, ModelSpec

#: Where Keras fetches weights from; asked once, briefly, before Keras tries.
_WEIGHTS_HOST = "https://storage.googleapis.com/"
_BIAS_STD = 0.05


@dataclass(frozen=True)
class WeightedModel:
    """A Keras model and where its weights come from.

    ``weights`` is ``imagenet`` or ``random(seed=N)``; ``reason`` says why not ImageNet's.
    """

    model: Any
    weights: str
    reason: str | None
    weights_sha256: str


def load_model(
    name: str, spec: ModelSpec, weights: str, seed: int, say: Callable[[str], None]
) -> WeightedModel:
    """The model with weights by the policy ``auto``, ``imagenet`` or ``random``.

    Raises ModelBuildError where ``imagenet`` is insisted upon and cannot be had.
    """
    if spec.module == TORCHVISION:
        model, source, reason = resnet18.load(name, weights, seed, say)
        return WeightedModel(model, source, reason, _digest(model))
    if weights == "random":
        return _random(spec, seed, None, say)
    say("fetching ImageNet weights")
    try:
        model = _with_imagenet(spec)
    except _UnavailableError as exc:
        if weights == "imagenet":
            raise ModelBuildError(
                f"{name}: its other schemes have ImageNet weights, which cannot be had now "
                f"({exc}); try again with a network, or delete {name}-*.tflite in the models "
                f"folder to build all of them with random weights"
            ) from exc
        return _random(spec, seed, str(exc), say)
    return WeightedModel(model, "imagenet", None, _digest(model))


def preprocess(spec: ModelSpec) -> Callable[[npt.NDArray[np.float32]], npt.NDArray[np.float32]]:
    """What turns pixels of 0 to 255 into the model's inputs."""
    if spec.module == TORCHVISION:
        return resnet18.preprocess
    module = importlib.import_module(f"keras.applications.{spec.module}")

    def apply(image: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        return np.asarray(module.preprocess_input(image.copy()), dtype=np.float32)

    return apply


def folder_images(paths: tuple[Path, ...], side: int) -> Iterator[Image]:
    """The images of files, resized. Raises ModelBuildError naming one that cannot be read."""
    for path in paths:
        try:
            pixels = tf.io.decode_image(path.read_bytes(), channels=3, expand_animations=False)
        except (OSError, tf.errors.InvalidArgumentError) as exc:
            raise ModelBuildError(f"representative image {path}: cannot be read: {exc}") from exc
        yield tf.image.resize(pixels, (side, side)).numpy().astype(np.float32)[np.newaxis]


class _UnavailableError(Exception):
    """ImageNet weights cannot be had; the message says why."""


def _with_imagenet(spec: ModelSpec) -> Any:
    """Weights that Keras has on disk are used without network; else it may download them."""
    unreachable = _network_trouble()
    if unreachable is not None:
        urllib.request.install_opener(urllib.request.build_opener(_Refuse(unreachable)))
    # A stalled download must end; one that is merely slow must not.
    socket.setdefaulttimeout(STALL_S)
    try:
        return _application(spec)(weights="imagenet")
    # Keras raises a bare Exception for a failed download, ValueError for a wrong hash, OSError
    # for a damaged file: whichever it is, it goes into the manifest as the reason.
    except Exception as exc:
        raise _UnavailableError(unreachable or " ".join(str(exc).split())[:300]) from exc
    finally:
        socket.setdefaulttimeout(None)
        urllib.request.install_opener(None)  # the default one again


def _network_trouble() -> str | None:
    try:
        check_reachable(_WEIGHTS_HOST)
    except ArtifactError as exc:
        return str(exc)
    return None


class _Refuse(urllib.request.BaseHandler):
    """Answers every request at once with the reason why there is no network."""

    handler_order = 0

    def __init__(self, reason: str) -> None:
        self._reason = reason

    def default_open(self, request: urllib.request.Request) -> None:
        raise urllib.error.URLError(self._reason)


def _random(
    spec: ModelSpec, seed: int, reason: str | None, say: Callable[[str], None]
) -> WeightedModel:
    why = "" if reason is None else f"ImageNet weights cannot be had ({reason}): "
    say(f"{why}random weights, seed {seed}")
    model = _application(spec)(weights=None)
    _randomise(model, spec, seed)
    return WeightedModel(model, f"random(seed={seed})", reason, _digest(model))


def _application(spec: ModelSpec) -> Any:
    applications: ModuleType = keras.applications
    return getattr(applications, spec.application)


def _randomise(model: Any, spec: ModelSpec, seed: int) -> None:
    """Kernels from N(0, gain / fan-in), biases from N(0, 0.05²); batch normalisation's scale,
    mean and variance stay at 1, 0 and 1.

    Keras's own initial values let the activations of a deep network without training die out
    (MobileNet's to 1e-7, below what int8 calibration can tell from nothing), and its zero biases
    are merged into one constant, so that the file is smaller than a real one. NumPy's generator
    gives the same values under every version of TensorFlow.
    """
    rng = np.random.default_rng(seed)
    scale = spec.input_scale  # until the first kernel has taken it in
    for layer in model.layers:
        for variable in layer.weights:
            std = _standard_deviation(layer, variable, spec.gain)
            if std is None:
                continue
            if variable.name == "kernel":
                std, scale = std / scale, 1.0
            draw = rng.standard_normal(tuple(variable.shape), dtype=np.float32)
            variable.assign(draw * np.float32(std))


def _standard_deviation(layer: Any, variable: Any, gain: float) -> float | None:
    if variable.name in ("bias", "beta"):
        return _BIAS_STD
    if variable.name != "kernel":
        return None
    depthwise = isinstance(layer, keras.layers.DepthwiseConv2D)
    fan_in = math.prod(variable.shape[:2] if depthwise else variable.shape[:-1])
    return math.sqrt(gain / fan_in)


def _digest(model: Any) -> str:
    """SHA-256 over shape, type and bytes of every weight, in the model's order."""
    digest = hashlib.sha256()
    for variable in model.weights:
        value = np.ascontiguousarray(variable.numpy())
        digest.update(f"{value.shape} {value.dtype.str}\n".encode())
        digest.update(value.data)
    return digest.hexdigest()
