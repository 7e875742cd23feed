"""What a model is fed: the catalogue's own preprocessing, or what the suite says; never a guess."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from orchestrator.datasets import Dataset, Feeding, Geometry, feeding_of, find_dataset
from orchestrator.errors import UsageError
from orchestrator.frameworks.preprocessing import Channels, Preprocessing
from orchestrator.trial import InputSpec
from tests.unit.datasets.making import classes, section

OWN = Preprocessing(299, 299, Channels("bgr", (1.0, 2.0, 3.0), (1.0,) * 3))
SAID = {"resize": "stretch", "mean": [127.5], "std": [127.5]}


@pytest.fixture
def images(tmp_path: Path) -> Path:
    return classes(tmp_path / "d", {"ant": 1})


def fed(
    data: Path, shape: tuple[int, ...] = (), own: Preprocessing | None = None, **keys: Any
) -> Feeding:
    said = {} if "preprocessing" not in keys else {"preprocessing": keys.pop("preprocessing")}
    the_section = section(data, **said)
    dataset: Dataset = find_dataset(the_section, data.parent)
    inputs = (InputSpec(shape),) if shape else ()
    return feeding_of(the_section, dataset, "net", own, inputs, **keys)


def test_auto_is_what_the_catalogue_says(images: Path) -> None:
    expected = Feeding(Geometry(299, 299, "crop", "bgr"), (1.0, 2.0, 3.0), (1.0,) * 3)
    assert fed(images, own=OWN) == fed(images, (1, 299, 299, 3), OWN) == expected
    resized = fed(images, (1, 299, 299, 3), OWN, input_size=128)
    assert resized.geometry == Geometry(128, 128, "crop", "bgr")
    with pytest.raises(UsageError, match=r"net: `preprocessing: auto`.*`preprocessing: \{size"):
        fed(images, (1, 299, 299, 3))


def test_what_the_suite_says_goes_before_and_the_file_says_its_size(
    images: Path,
) -> None:
    found = fed(images, (1, 3, 96, 128), OWN, preprocessing=SAID | {"size": [96, 128]})
    assert found == Feeding(Geometry(96, 128, "stretch"), (127.5,), (127.5,))
    assert fed(images, (1, 3, 96, 128), preprocessing=SAID) == found
    with pytest.raises(UsageError, match=r"input is 96 × 128 pixels, and .* says 224 × 224"):
        fed(images, (1, 3, 96, 128), preprocessing=SAID | {"size": 224})
    with pytest.raises(UsageError, match="nothing says how large its input is"):
        fed(images, preprocessing=SAID)
    with pytest.raises(UsageError, match="nothing says how large its input is"):
        fed(images, (1, -1, -1, 3), preprocessing=SAID)
    assert fed(images, (1, -1, -1, 3), preprocessing=SAID, input_size=64).geometry == Geometry(
        64, 64, "stretch"
    )


def test_what_does_not_take_an_image_is_not_fed_one(images: Path) -> None:
    with pytest.raises(UsageError, match=r"shape \[1, 28, 28, 1\], which is not an image's"):
        fed(images, (1, 28, 28, 1), preprocessing=SAID)
    the_section = section(images)
    two = (InputSpec(name="a"), InputSpec(name="b"))
    with pytest.raises(UsageError, match=r"takes 2 inputs \(a, b\)"):
        feeding_of(the_section, find_dataset(the_section, images), "net", OWN, two)
    nameless = (InputSpec((1, 8, 8, 3)), InputSpec((1, 5)))
    with pytest.raises(UsageError, match=r"2 inputs \(one of \[1, 8, 8, 3\], one of \[1, 5\]\)"):
        feeding_of(the_section, find_dataset(the_section, images), "net", OWN, nameless)


def saved(path: Path, x: Any) -> Path:
    np.savez(path, x=x, y=np.zeros(len(x), int))
    return path


def test_arrays_are_fed_as_they_are(tmp_path: Path) -> None:
    data = saved(tmp_path / "d.npz", np.zeros((2, 8, 8), np.float32))
    assert fed(data, (1, 8, 8, 1)) == fed(data, own=OWN) == Feeding(None, (), ())
    with pytest.raises(UsageError, match=r"takes \[8, 9, 1\] values.*shape \[8, 8\]; reshape x"):
        fed(data, (1, 8, 9, 1))
    said = {"mean": [8.0], "std": [16.0]}
    assert fed(data, (1, 8, 8, 1), preprocessing=said) == Feeding(None, (8.0,), (16.0,))
    with pytest.raises(UsageError, match="have 3 channels, and a row of x has the shape"):
        fed(data, preprocessing={"mean": [1.0, 2.0, 3.0], "std": 1.0})


def test_bytes_are_not_fed_before_somebody_says_what_they_mean(tmp_path: Path) -> None:
    data = saved(tmp_path / "d.npz", np.zeros((2, 8, 8, 3), np.uint8))
    with pytest.raises(UsageError, match=r"x holds `uint8`.*`\{mean: 0, std: 1\}`"):
        fed(data, (1, 8, 8, 3))
    found = fed(data, (1, 8, 8, 3), preprocessing={"mean": [1.0, 2.0, 3.0], "std": 4.0})
    assert found == Feeding(None, (1.0, 2.0, 3.0), (4.0,))
