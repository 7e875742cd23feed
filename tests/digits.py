"""A small convolutional network that was trained on scikit-learn's 1,797 digits, in every scheme.

``python -m tests.digits FOLDER`` trains it and writes its files, which takes some 20 seconds;
``digits`` does so once, where ``ORCHESTRATE_TEST_MODELS`` or pytest's cache keeps them::

    digits.npz                  x: the digits that it was not trained on, as they are and moved by
                                a pixel in three directions, [2400, 8, 8, 1], 0 to 16;
                                y: what they are
    float32.tflite, ...         every scheme of the converter, with the batch fixed at 1
    open/float32.tflite, ...    with the batch left open
    float32.pt, ...             TorchScript, with the same weights (where torch is installed)
    spots.tflite                a detector that was not trained: in each of an image's three colours
                                it finds the box around all that is bright
    shifted.tflite              the same, a little beside
    wide.tflite                 the same, of images of 1024 × 1024
"""

# ruff: noqa: PLC0415  # tests read from here without importing what trains and converts

from __future__ import annotations

import fcntl
import hashlib
import importlib.util
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.zoo_fixtures import models_dir

ROOT = Path(__file__).resolve().parents[1]
#: Digits that are not trained on.
HELD_OUT = 600
#: What the network was trained with: a value of 0 to 16 becomes one of -1 to 1.
MEAN, STD = 8.0, 8.0
PREPROCESSING = f"{{mean: {MEAN}, std: {STD}}}"
DATA = "digits.npz"
_DONE = "done"
_SEED = 7


def digits(config: pytest.Config) -> Path:
    """The folder of the trained network's files."""
    for library in ("tensorflow", "sklearn"):
        if importlib.util.find_spec(library) is None:
            pytest.skip(f"the digits need {library}")
    recipe = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:12]
    torch = "torch" if importlib.util.find_spec("torch") else "no-torch"
    folder = models_dir(config) / f"only-digits-{recipe}-{torch}"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        # tests of several processes ask for it at once
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / _DONE).exists():
            command = [sys.executable, "-m", "tests.digits", str(folder)]
            done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stderr[-4000:]
    return folder


def held_out(folder: Path) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """The digits of ``digits.npz``, and what they are."""
    with np.load(folder / DATA) as arrays:
        return arrays["x"], arrays["y"]


@dataclass(frozen=True)
class _Split:
    """Digits as the network takes them, and the numbers that they are."""

    train: np.ndarray[Any, Any]
    train_labels: np.ndarray[Any, Any]
    test: np.ndarray[Any, Any]
    test_labels: np.ndarray[Any, Any]


def _split() -> _Split:
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    found = load_digits()
    x = found.images.astype(np.float32)[..., None]
    train, test, train_labels, test_labels = train_test_split(
        x, found.target, test_size=HELD_OUT, random_state=_SEED, stratify=found.target
    )
    return _Split(train, train_labels, test, test_labels)


def _scaled(x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    scaled: np.ndarray[Any, Any] = (x - np.float32(MEAN)) / np.float32(STD)
    return scaled


def _trained(data: _Split) -> Any:
    import keras

    keras.utils.set_random_seed(_SEED)
    model = keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            keras.layers.Conv2D(16, 3, padding="same", activation="relu"),
            keras.layers.MaxPooling2D(),
            keras.layers.Conv2D(32, 3, padding="same", activation="relu"),
            keras.layers.Flatten(),
            keras.layers.Dense(32, activation="relu"),
            keras.layers.Dense(10),
        ]
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("adam", loss)
    # three passes: some digits stay wrong, so that a scheme can lose and gain
    model.fit(_scaled(data.train), data.train_labels, batch_size=32, epochs=3, verbose=0)
    return model


def _export_tflite(model: Any, data: _Split, folder: Path, batch: int | None) -> None:
    from orchestrator.frameworks.tflite.catalog import SCHEMES, ModelSpec
    from orchestrator.frameworks.tflite.quantize import Converter

    @dataclass(frozen=True)
    class Spec(ModelSpec):
        @property
        def input_shape(self) -> tuple[int, int, int]:
            return (8, 8, 1)

    def calibration() -> Iterator[list[Any]]:
        return ([digit[None]] for digit in _scaled(data.train[:100]))

    folder.mkdir(exist_ok=True)
    with Converter(model, Spec("", ""), folder / "converting", batch) as converter:
        for name, scheme in SCHEMES.items():
            content = converter.convert(scheme, calibration)
            (folder / f"{name}.tflite").write_bytes(content)


def _export_torch(model: Any, data: _Split, folder: Path) -> None:
    import torch

    from orchestrator.frameworks.torch.catalog import SCHEMES, TorchModelSpec
    from orchestrator.frameworks.torch.data import TrainingSet
    from orchestrator.frameworks.torch.quantize import Converter

    @dataclass(frozen=True)
    class Spec(TorchModelSpec):
        @property
        def input_shape(self) -> tuple[int, int, int]:
            return (1, 8, 8)

    def turned(x: np.ndarray[Any, Any]) -> Any:
        return torch.from_numpy(np.ascontiguousarray(_scaled(x).transpose(0, 3, 1, 2)))

    network = torch.nn.Sequential(
        torch.nn.Conv2d(1, 16, 3, padding=1),
        torch.nn.ReLU(),
        torch.nn.MaxPool2d(2),
        torch.nn.Conv2d(16, 32, 3, padding=1),
        torch.nn.ReLU(),
        torch.nn.Flatten(),
        torch.nn.Linear(512, 32),
        torch.nn.ReLU(),
        torch.nn.Linear(32, 10),
    ).eval()
    _copy_weights(model, network, torch)
    images = [turned(data.train[place : place + 1]) for place in range(100)]
    converter = Converter(network, Spec(""), "entropy", lambda: iter(images))
    few = turned(data.train[:64])
    trained_on = TrainingSet(few, torch.from_numpy(data.train_labels[:64]), {})
    for name in SCHEMES:
        made = converter.convert(name, lambda: trained_on, _SEED, lambda said: None)
        (folder / f"{name}.pt").write_bytes(made.data)


def _copy_weights(model: Any, network: Any, torch: Any) -> None:
    """Keras has the channels last, in kernels and in what is flattened."""
    layers = [layer for layer in model.layers if layer.get_weights()]
    targets = [each for each in network if hasattr(each, "weight")]
    with torch.no_grad():
        for number, (layer, target) in enumerate(zip(layers, targets, strict=True)):
            kernel, bias = layer.get_weights()
            if kernel.ndim == 4:
                kernel = kernel.transpose(3, 2, 0, 1)
            elif number == 2:
                kernel = kernel.reshape(4, 4, 32, -1).transpose(3, 2, 0, 1).reshape(-1, 512)
            else:
                kernel = kernel.T
            target.weight.copy_(torch.from_numpy(np.ascontiguousarray(kernel)))
            target.bias.copy_(torch.from_numpy(bias))


def _export_detector(folder: Path, name: str, side: int, scale: float) -> None:
    """Input [1, side, side, 3] from 0 to 1; output [1, 3, 6]: top, left, bottom, right as parts of
    the input, brightness, class."""
    import tensorflow as tf

    index = tf.range(side, dtype=tf.float32)[None, :, None]

    def around(lit: Any) -> tuple[Any, Any]:
        """First and last place of [1, side, 3] that are lit, as parts of the whole."""
        first = tf.reduce_min(index + (1 - lit) * side, axis=1)
        return first / side, tf.reduce_max((index + 1) * lit, axis=1) / side

    def detect(image: Any) -> Any:
        lit = tf.cast(image > 0.5, tf.float32)
        top, bottom = around(tf.reduce_max(lit, axis=2))
        left, right = around(tf.reduce_max(lit, axis=1))
        bright = tf.reduce_max(image, axis=(1, 2))
        corners = [scale * each for each in (top, left, bottom, right)]
        return tf.stack([*corners, bright, tf.constant([[0.0, 1.0, 2.0]])], axis=-1)

    given = tf.TensorSpec((1, side, side, 3), tf.float32)
    function = tf.function(detect).get_concrete_function(given)
    converter = tf.lite.TFLiteConverter.from_concrete_functions([function])
    (folder / f"{name}.tflite").write_bytes(converter.convert())


def main(folder: Path) -> None:
    """Train the network and write all its files."""
    folder.mkdir(parents=True, exist_ok=True)
    data = _split()
    # more than one trial answers, and harder ones than the network was trained on
    moved = [np.roll(data.test, *how) for how in ((0, 1), (1, 1), (-1, 1), (1, 2))]
    np.savez(folder / DATA, x=np.concatenate(moved), y=np.tile(data.test_labels, len(moved)))
    model = _trained(data)
    _export_tflite(model, data, folder, 1)
    _export_tflite(model, data, folder / "open", None)
    if importlib.util.find_spec("torch"):
        _export_torch(model, data, folder)
    for name, side, scale in (("spots", 64, 1.0), ("shifted", 64, 0.96), ("wide", 1024, 1.0)):
        _export_detector(folder, name, side, scale)
    (folder / _DONE).touch()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
