"""ResNet18 for TensorFlow Lite is PyTorch's network, with its weights."""

from __future__ import annotations

import numpy as np
import pytest

from orchestrator.frameworks.tflite.catalog import MODELS

torch = pytest.importorskip("torch", reason="the extra `torch` is not installed")
pytest.importorskip("keras", reason="the extra `models` is not installed")


def test_both_frameworks_measure_one_network() -> None:
    from orchestrator.frameworks.tflite import resnet18  # noqa: PLC0415  # imports TensorFlow
    from orchestrator.frameworks.torch.catalog import MODELS as NETWORKS  # noqa: PLC0415
    from orchestrator.frameworks.torch.models import load_model  # noqa: PLC0415

    model, weights, _ = resnet18.load("resnet18", "random", 3, lambda _: None)
    assert weights == "random(seed=3)"
    pixels = np.random.default_rng(1).integers(0, 256, (1, 224, 224, 3)).astype(np.float32)
    channels = MODELS["resnet18"].preprocessing.channels
    image = resnet18.preprocess(pixels)
    assert image == pytest.approx((pixels - channels.mean) / channels.std, abs=1e-5)
    theirs = load_model("resnet18", NETWORKS["resnet18"], "random", 3, lambda _: None).model
    with torch.inference_mode():
        expected = theirs(torch.from_numpy(image.transpose(0, 3, 1, 2).copy())).numpy()
    found = np.asarray(model(image))
    assert found.shape == expected.shape == (1, 1000)
    assert float(np.abs(found - expected).max()) < 1e-4 * float(np.abs(expected).max())
