"""The study's seven CNNs have the sizes that its logs print.

Built for real they are 2.3 GB and a quarter of an hour: name a folder that holds them, or that they
may be built in, in ``ORCHESTRATE_TEST_SEVEN_CNNS``; otherwise this is skipped.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from orchestrator.frameworks.tflite.inspect import inspect_file
from orchestrator.trial import Variant
from orchestrator.zoo import ensure_artifacts

#: Bytes of float32 and of dynamic_range, out of the study's logs.
STUDY = {
    "mobilenet_v1": (16_903_376, 4_423_744),
    "inception_v3": (95_324_856, 24_138_200),
    "resnet50": (102_157_452, 25_968_784),
    "resnet101": (178_055_132, 45_360_928),
    "resnet152": (240_570_616, 61_361_208),
    "vgg16": (553_439_904, 138_458_672),
    "vgg19": (574_680_200, 143_789_152),
}
SIZES = {
    Variant(model, scheme): size
    for model, sizes in STUDY.items()
    for scheme, size in zip(("float32", "dynamic_range"), sizes, strict=True)
}
FOLDER = os.environ.get("ORCHESTRATE_TEST_SEVEN_CNNS")


@pytest.mark.skipif(FOLDER is None, reason="ORCHESTRATE_TEST_SEVEN_CNNS names no folder")
@pytest.mark.timeout(3600)
def test_the_study_and_the_zoo_measure_the_same_files() -> None:
    assert FOLDER is not None
    built = ensure_artifacts(SIZES, Path(FOLDER))
    for variant, size in SIZES.items():
        found = inspect_file(built[variant].path)
        assert found.scheme == variant.scheme
        assert found.size_bytes == pytest.approx(size, rel=0.02), variant
