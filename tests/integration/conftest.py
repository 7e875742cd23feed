"""Models built once, and a lab to run the command in."""

from __future__ import annotations

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


@pytest.fixture
def lab(tmp_path: Path, built: Path) -> Iterator[Lab]:
    lab = Lab(tmp_path / "lab", built)
    yield lab
    lab.close()
