"""Models built once, and a lab to run the command in."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab import Lab
from tests.zoo_fixtures import built_models, models_dir


@pytest.fixture(scope="session")
def built(pytestconfig: pytest.Config) -> Path:
    """A folder with mobilenet_v1 in every scheme, really built."""
    built_models(pytestconfig)
    return models_dir(pytestconfig)


@pytest.fixture(scope="session")
def stand_in(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A program that speaks like ``benchmark_model`` (see its source)."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        pytest.skip("the stand-in for benchmark_model needs a C compiler")
    source = Path(__file__).resolve().parents[1] / "data" / "benchmark_model" / "stand_in.c"
    path = tmp_path_factory.mktemp("stand_in") / "benchmark_model"
    subprocess.run([compiler, "-O1", "-o", path, source], check=True)
    return path


@pytest.fixture
def lab(tmp_path: Path, built: Path) -> Iterator[Lab]:
    lab = Lab(tmp_path / "lab", built)
    yield lab
    lab.close()
