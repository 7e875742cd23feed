"""What the catalogue says its models make of an image, held against the libraries' own words."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
import pytest

from orchestrator.frameworks import registry
from orchestrator.frameworks.parts import parts_of, preprocessing_of
from orchestrator.frameworks.tflite import catalog as tflite
from orchestrator.frameworks.torch import catalog as torch_catalog

PIXELS = np.arange(2 * 3 * 3, dtype=np.float64).reshape(1, 2, 3, 3) * 15  # 0 to 255


def made_of(pixels: Any, framework: str, model: str) -> Any:
    """Pixels, red first, as the catalogue says the model takes them, channels last."""
    found = preprocessing_of(registry.framework(framework), model)
    assert found is not None
    ordered = pixels if found.channels.colour == "rgb" else pixels[..., ::-1]
    return (ordered - np.array(found.channels.mean)) / np.array(found.channels.std)


@pytest.mark.parametrize("model", parts_of(registry.framework("tflite")).models)
def test_a_model_of_keras_is_given_what_its_module_makes_of_pixels(model: str) -> None:
    pytest.importorskip("tensorflow")
    keras = importlib.import_module("orchestrator.frameworks.tflite.keras")
    expected = keras.preprocess(tflite.MODELS[model])(PIXELS.astype(np.float32))
    assert made_of(PIXELS, "tflite", model) == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("model", parts_of(registry.framework("torch")).models)
def test_a_model_of_torchvision_is_given_what_its_weights_want(model: str) -> None:
    torch = pytest.importorskip("torch")
    models = importlib.import_module("orchestrator.frameworks.torch.models")
    spec = torch_catalog.MODELS[model]
    known = models.import_torchvision().models.get_model_weights(spec.function)
    wanted = known[spec.weights].transforms()
    own = spec.preprocessing
    assert (own.height, own.width, own.resize) == (*wanted.crop_size * 2, "crop")
    assert wanted.crop_size[0] / wanted.resize_size[0] == 0.875
    plain = type(wanted)(crop_size=2, resize_size=2, mean=wanted.mean, std=wanted.std)
    square = PIXELS[0, :, :2]
    image = torch.from_numpy(square.transpose(2, 0, 1).astype(np.uint8))
    expected = plain(image).numpy().transpose(1, 2, 0)
    assert made_of(square, "torch", model) == pytest.approx(expected, abs=1e-5)


def test_a_model_of_nobody_s_catalogue_has_none() -> None:
    assert preprocessing_of(registry.default(), "a_model_of_my_own") is None
