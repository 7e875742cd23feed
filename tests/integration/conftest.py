"""Models built once, and a lab to run the command in."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrate_agent.machine import facts
from orchestrator.artifacts.sites import provide_site, target_of
from orchestrator.frameworks.registry import library
from orchestrator.runtimes import parse_runtime
from tests import stand_in as stand_ins
from tests.lab import Lab
from tests.runtimes import NEW, OLD, PYTHONS_OF_OLD
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


@pytest.fixture(scope="session")
def index() -> None:
    """Skips where pip reaches no index."""
    argv = [sys.executable, "-m", "pip", "index", "versions", "ai-edge-litert"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=120)
    if done.returncode != 0:
        last = done.stderr.strip().splitlines()[-1:]
        pytest.skip(f"pip reaches no package index here: {''.join(last)}")


@pytest.fixture(scope="session")
def kept(pytestconfig: pytest.Config) -> Path:
    """A folder with the bundles of both runtimes for this Python, made once."""
    folder = models_dir(pytestconfig) / "only-sites"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def both(request: pytest.FixtureRequest, kept: Path) -> None:
    target = target_of(facts.collect())
    if target.python not in PYTHONS_OF_OLD:
        pytest.skip(f"tflite-runtime 2.14 has no wheel for Python {target.python}")
    lock = kept / "sites.lock.json"
    known = json.loads(lock.read_bytes())["sites"] if lock.exists() else {}
    if not {f"{each} {target.key}" for each in (NEW, OLD)} <= known.keys():
        request.getfixturevalue("index")
    for runtime in map(parse_runtime, (NEW, OLD)):
        known = library(runtime.name)
        assert known is not None
        provide_site(runtime, known.constraints, target, kept)
