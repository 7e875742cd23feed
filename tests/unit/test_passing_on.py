"""A run is made to be passed on: its folder has no path of this machine that it does not need."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from orchestrator.artifacts.binaries import BinaryArtifact
from orchestrator.config import Inventory, Suite, load_inventory, load_suite
from orchestrator.frameworks.runner import Evidence
from orchestrator.runs.passing_on import facts_to_keep
from orchestrator.runs.rawlog import render
from orchestrator.supply import binary_record


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "home" / "somebody"
    path.mkdir(parents=True)
    monkeypatch.setenv("HOME", str(path))
    return path


def test_an_inventory_keeps_its_name_and_paths_from_home(home: Path) -> None:
    folder = home / "secret-project"
    folder.mkdir()
    (folder / "bench").write_bytes(b"")
    (folder / "inventory.yaml").write_text(
        "suite: ./mine.yaml\n"
        "devices:\n"
        "- {name: here, transport: local, benchmark_model: bench}\n"
        "- {name: far, transport: ssh, key_file: ~/.ssh/id, known_hosts: /etc/known}\n"
    )
    inventory = load_inventory(folder / "inventory.yaml")
    kept = inventory.for_a_run()
    assert str(home) not in json.dumps(kept)
    assert (kept["path"], kept["suite"]) == ("inventory.yaml", "mine.yaml")
    here, far = kept["devices"]
    assert here["benchmark_model"] == {"path": "~/secret-project/bench"}
    assert (far["key_file"], far["known_hosts"]) == ("~/.ssh/id", "/etc/known")
    # and going on finds what it needs
    assert Inventory.from_json(kept).devices == inventory.devices


def test_a_suite_of_own_models_keeps_the_place_in_its_file(home: Path) -> None:
    (home / "own.tflite").write_bytes(b"")
    (home / "suite.yaml").write_text("models: [{file: own.tflite, name: own}]\nrunner: litert\n")
    suite = load_suite(str(home / "suite.yaml"))
    (model,) = suite.for_a_run()["user_models"]
    assert model["place"] == "suite.yaml:1:10"
    assert Suite.from_json(suite.for_a_run()).user_models[0].name == "own"


def test_a_binary_is_named_by_its_hash() -> None:
    own = BinaryArtifact(Path("/home/somebody/bench"), "0" * 64, 1, "/home/somebody/bench", True)
    assert binary_record("here", own).source == "bench"
    fetched = BinaryArtifact(Path("/m/x"), "0" * 64, 1, "https://example.org/bench", False)
    assert binary_record("here", fetched).source == "https://example.org/bench"


def test_our_own_python_is_named_by_what_it_is() -> None:
    argv = [sys.executable, "{agent}", "litert", "--model", "{blob:0}"]
    evidence = Evidence(0, None, False, False, 1.0, "out", "", 3, 0)
    text = render(argv, evidence)
    assert sys.executable not in text
    assert '# argv: ["{python}", "{agent}", "litert"' in text
    facts = {"python": {"version": "3.11.7", "executable": sys.executable}, "cpu": {}}
    kept = facts_to_keep(facts)["python"]
    assert kept == {"version": "3.11.7", "executable": Path(sys.executable).name}
    others = {"python": {"executable": "/usr/bin/somebodys-python3"}}
    assert facts_to_keep(others) == others
