"""Models built by TensorFlow for real, in a child process, and run by a real runtime."""

from __future__ import annotations

import json
import os
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from orchestrator.artifacts.store import ArtifactStore
from orchestrator.frameworks.tflite.inspect import inspect_file
from orchestrator.trial import Variant
from orchestrator.zoo import (
    BuildOptions,
    ModelArtifact,
    ensure_artifacts,
    find_artifacts,
)
from tests.zoo_fixtures import MOBILENET, built_models, models_dir

#: `weights_sha256` of mobilenet_v1 with seed 0: NumPy's generator gives the same numbers under
#: every version of TensorFlow. Where NumPy changes them one day, so do all artifacts: raise RECIPE.
SEED_0 = "4068609d5e2e"
#: What the study's logs print as the model's file size, in bytes.
STUDY = {"float32": 16_903_376, "dynamic_range": 4_423_744}


@pytest.fixture(scope="session")
def built(pytestconfig: pytest.Config) -> dict[Variant, ModelArtifact]:
    return built_models(pytestconfig)


def test_every_scheme_is_built_and_found(
    built: dict[Variant, ModelArtifact], pytestconfig: pytest.Config
) -> None:
    assert set(built) == set(MOBILENET)
    assert find_artifacts(MOBILENET, models_dir(pytestconfig), verify=True) == built


@pytest.mark.parametrize("variant", MOBILENET, ids=str)
def test_the_file_is_what_its_entry_says(
    built: dict[Variant, ModelArtifact], variant: Variant
) -> None:
    artifact = built[variant]
    found = inspect_file(artifact.path)
    assert found.scheme == variant.scheme
    assert (found.sha256, found.size_bytes) == (artifact.sha256, artifact.size_bytes)
    assert found.parameters == artifact.entry["parameters"] == 4_221_032  # batch norm folded
    assert artifact.path.name == f"mobilenet_v1-{variant.scheme}-{found.sha256[:16]}.tflite"


@pytest.mark.parametrize("scheme", STUDY)
def test_sizes_agree_with_the_study(built: dict[Variant, ModelArtifact], scheme: str) -> None:
    size = built[Variant("mobilenet_v1", scheme)].size_bytes
    assert size == pytest.approx(STUDY[scheme], rel=0.005)


def test_provenance_is_recorded(built: dict[Variant, ModelArtifact]) -> None:
    entries = [artifact.entry for artifact in built.values()]
    assert len({entry["weights_sha256"] for entry in entries}) == 1
    for entry in entries:
        assert {"tensorflow", "keras", "python", "built", "converter", "input_shape"} <= set(entry)
        if entry["weights"] != "imagenet":
            assert entry["weights"] == "random(seed=0)"
            assert entry["weights_reason"]
            assert entry["weights_sha256"].startswith(SEED_0)
    representative = {a.variant.scheme: a.entry["representative"] for a in built.values()}
    assert representative.pop("full_int8") == {"kind": "random", "count": 16, "seed": 0}
    assert set(representative.values()) == {None}


def test_full_int8_is_calibrated_to_real_ranges(built: dict[Variant, ModelArtifact]) -> None:
    found = inspect_file(built[Variant("mobilenet_v1", "full_int8")].path)
    assert found.granularity == "per_channel"
    assert {t.dtype for t in (*found.inputs, *found.outputs)} == {"int8"}
    assert found.smallest_activation_scale is not None
    assert found.smallest_activation_scale > 1e-4


def test_the_schemes_compute_the_same_function(built: dict[Variant, ModelArtifact]) -> None:
    reference = _run(built[Variant("mobilenet_v1", "float32")])
    assert np.std(reference) > 0
    for scheme, least in (("float16", 0.999), ("weight_only_int8", 0.8), ("dynamic_range", 0.8)):
        scores = _run(built[Variant("mobilenet_v1", scheme)])
        assert np.corrcoef(reference, scores)[0, 1] > least, scheme
    _run(built[Variant("mobilenet_v1", "full_int8")])


def _run(artifact: ModelArtifact) -> npt.NDArray[Any]:
    runtime = pytest.importorskip("ai_edge_litert.interpreter")
    interpreter = runtime.Interpreter(model_path=str(artifact.path))
    interpreter.allocate_tensors()
    (entry,), (end,) = interpreter.get_input_details(), interpreter.get_output_details()
    image = np.random.default_rng(1).uniform(-1, 1, entry["shape"])
    if entry["dtype"] == np.int8:
        image = np.clip(np.round(image * 127), -128, 127)
    interpreter.set_tensor(entry["index"], image.astype(entry["dtype"]))
    interpreter.invoke()
    scores: npt.NDArray[Any] = np.asarray(interpreter.get_tensor(end["index"]))
    assert scores.shape == (1, 1000)
    return scores.ravel()


def test_a_folder_of_images_is_calibrated_on(tmp_path: Path) -> None:
    pytest.importorskip("tensorflow", exc_type=ImportError)
    images = tmp_path / "images"
    images.mkdir()
    for number in range(3):
        (images / f"{number}.bmp").write_bytes(_bitmap(24, seed=number))
    options = BuildOptions(weights="random", representative=images)
    variant = Variant("mobilenet_v1", "full_int8")
    built = ensure_artifacts([variant], tmp_path / "models", options=options)[variant]

    representative = built.entry["representative"]
    assert (representative["kind"], representative["count"]) == ("folder", 3)
    assert inspect_file(built.path).scheme == "full_int8"
    assert find_artifacts([variant], tmp_path / "models") == {}  # random images: another recipe
    (images / "3.bmp").write_bytes(_bitmap(24, seed=3))
    assert find_artifacts([variant], tmp_path / "models", options=options) == {}


def _bitmap(side: int, seed: int) -> bytes:
    """A BMP file of random colours; 24 pixels a row need no padding."""
    pixels = np.random.default_rng(seed).integers(0, 256, side * side * 3, dtype=np.uint8).tobytes()
    header = struct.pack("<IiiHHIIiiII", 40, side, side, 1, 24, 0, len(pixels), 0, 0, 0, 0)
    return struct.pack("<2sIHHI", b"BM", 54 + len(pixels), 0, 0, 54) + header + pixels


PARENT = """
import sys
from pathlib import Path
from orchestrator.plan import Variant
from orchestrator.zoo import BuildOptions, ensure_artifacts
variants = [Variant("mobilenet_v1", s) for s in ("float16", "dynamic_range", "full_int8")]
say = lambda progress: print(progress.step, flush=True)
options = BuildOptions(weights="random")
ensure_artifacts(variants, Path(sys.argv[1]), on_progress=say, options=options)
"""


def test_a_killed_build_leaves_whole_files_and_no_process(tmp_path: Path) -> None:
    pytest.importorskip("tensorflow", exc_type=ImportError)
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout is not None
    with parent.stdout:
        for line in parent.stdout:
            if "converting to dynamic_range" in line:
                break
        tasks = Path(f"/proc/{parent.pid}/task").glob("*/children")  # a thread started it
        children = [child for task in tasks for child in task.read_text().split()]
        parent.send_signal(signal.SIGKILL)
        parent.wait(10)

    assert len(children) == 1
    _wait_until_gone(int(children[0]))
    store = ArtifactStore(tmp_path)
    entries = store.entries()
    assert [entry.scheme for entry in entries][:1] == ["float16"]
    assert all(store.damage(entry, verify=True) is None for entry in entries)
    assert {p.name for p in tmp_path.glob("*.tflite")} == {entry.file for entry in entries}
    # Another process, another day: the same seed gives the same weights.
    manifest = json.loads(store.manifest.read_text())
    assert manifest["artifacts"][0]["weights_sha256"].startswith(SEED_0)


def _wait_until_gone(pid: int) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            os.kill(pid, 0)
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except (ProcessLookupError, FileNotFoundError):
            return
        if state == "Z":  # nobody here reaps orphans, but it runs no more
            return
        time.sleep(0.05)
    pytest.fail(f"the build child {pid} outlives its parent")
