"""Models built once, and a lab to run the command in."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import stand_in as stand_ins
from tests.lab import Lab
from tests.zoo_fixtures import built_models, models_dir

# Started in the background by a shell, Python ignores SIGINT, and so would all that tests start.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def built(pytestconfig: pytest.Config) -> Path:
    """A folder with mobilenet_v1 in every scheme, really built."""
    built_models(pytestconfig)
    return models_dir(pytestconfig)


@pytest.fixture(scope="session")
def stand_in(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A program that speaks like ``benchmark_model`` (see its source)."""
    reason = stand_ins.why_not()
    if reason is not None:
        pytest.skip(reason)
    return stand_ins.build(tmp_path_factory.mktemp("stand_in") / "benchmark_model")


@pytest.fixture
def lab(tmp_path: Path, built: Path) -> Iterator[Lab]:
    lab = Lab(tmp_path / "lab", built)
    yield lab
    lab.close()
