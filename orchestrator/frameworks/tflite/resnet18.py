"""ResNet18 in Keras, with the weights of torchvision's. Imports TensorFlow: build children only.

``keras.applications`` begins at ResNet50. The network is that of He et al. (2016), table 1, and its
weights are PyTorch's own, so that both frameworks measure one network.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np

from orchestrator.errors import ModelBuildError
from orchestrator.frameworks.torch.catalog import MEAN, STD
from orchestrator.frameworks.torch.catalog import MODELS as NETWORKS

#: Channels of the four stages, of two blocks each.
_STAGES = (64, 128, 256, 512)
#: Of batch normalisation, as PyTorch has it.
_EPSILON = 1e-5


def load(
    name: str, weights: str, seed: int, say: Callable[[str], None]
) -> tuple[Any, str, str | None]:
    """Return the network, where its weights come from, and why they are not ImageNet's.

    Raises ModelBuildError where ``imagenet`` is insisted upon and cannot be had, and where torch is
    not installed.
    """
    try:
        from orchestrator.frameworks.torch.models import load_model  # noqa: PLC0415  # seconds
    except ImportError as exc:
        raise ModelBuildError(
            f"{name}: its weights are PyTorch's, which is not installed here ({exc}); `pip install "
            f"'orchestrate-quantized[torch]'`, or leave the model out"
        ) from exc
    trained = load_model(name, NETWORKS[name], weights, seed, say)
    state = {key: value.numpy() for key, value in trained.model.state_dict().items()}
    model = _network()
    _fill(model, state)
    return model, trained.weights, trained.reason


def preprocess(image: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Turn pixels of 0 to 255 into inputs as the weights were trained with."""
    scaled = image / np.float32(255)
    return np.asarray((scaled - np.array(MEAN)) / np.array(STD), dtype=np.float32)


def _network() -> Any:
    """Layers bear the names that PyTorch gives their weights; a dot is not allowed in them."""
    layers = keras.layers
    image = keras.Input((224, 224, 3), name="image")
    x = _convolution(layers.ZeroPadding2D(3)(image), 64, 7, 2, "conv1")
    x = layers.ReLU()(_normalised(x, "bn1"))
    x = layers.MaxPooling2D(3, 2)(layers.ZeroPadding2D(1)(x))  # nothing is below 0 here
    for stage, channels in enumerate(_STAGES, start=1):
        for block in range(2):
            stride = 2 if stage > 1 and block == 0 else 1
            x = _block(x, channels, stride, f"layer{stage}/{block}")
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(image, layers.Dense(1000, name="fc")(x), name="resnet18")


def _block(x: Any, channels: int, stride: int, name: str) -> Any:
    layers = keras.layers
    y = _convolution(layers.ZeroPadding2D(1)(x), channels, 3, stride, f"{name}/conv1")
    y = layers.ReLU()(_normalised(y, f"{name}/bn1"))
    y = _convolution(layers.ZeroPadding2D(1)(y), channels, 3, 1, f"{name}/conv2")
    y = _normalised(y, f"{name}/bn2")
    if stride > 1:
        x = _convolution(x, channels, 1, stride, f"{name}/downsample/0")
        x = _normalised(x, f"{name}/downsample/1")
    return layers.ReLU()(layers.Add()([y, x]))


def _convolution(x: Any, channels: int, side: int, stride: int, name: str) -> Any:
    layer = keras.layers.Conv2D(channels, side, stride, use_bias=False, name=_called(name))
    return layer(x)


def _normalised(x: Any, name: str) -> Any:
    return keras.layers.BatchNormalization(epsilon=_EPSILON, name=_called(name))(x)


def _called(name: str) -> str:
    return name.replace("/", "_")


def _fill(model: Any, state: Mapping[str, Any]) -> None:
    """Put PyTorch's weights into the layers. Raises ModelBuildError where one is left over."""
    left = {key for key in state if not key.endswith("num_batches_tracked")}
    owners = {key.rpartition(".")[0] for key in left}
    names = {_called(each.replace(".", "/")): each for each in owners}
    for layer in model.layers:
        if not layer.weights:
            continue
        own = names[layer.name]
        if isinstance(layer, keras.layers.Conv2D):
            parts = [state[f"{own}.weight"].transpose(2, 3, 1, 0)]
            left.discard(f"{own}.weight")
        elif isinstance(layer, keras.layers.Dense):
            parts = [state[f"{own}.weight"].T, state[f"{own}.bias"]]
            left -= {f"{own}.weight", f"{own}.bias"}
        else:
            kinds = ("weight", "bias", "running_mean", "running_var")
            parts = [state[f"{own}.{kind}"] for kind in kinds]
            left -= {f"{own}.{kind}" for kind in kinds}
        layer.set_weights(parts)
    if left:
        raise ModelBuildError(f"ResNet18 has no place for {', '.join(sorted(left))}")
