"""The converter on a small network with a dense layer, and what a runtime of 2023 makes of it.

``TFLITE_RUNTIME_PYTHON`` may name a Python that has tflite-runtime 2.14.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from orchestrator.frameworks.tflite.inspect import inspect_file
from orchestrator.zoo import known_schemes

# TensorFlow in a process of its own, as everywhere: its memory and threads stay out of the tests'.
_CONVERT = """
import sys
from pathlib import Path

import keras
import numpy as np

from orchestrator.frameworks.tflite.catalog import SCHEMES, ModelSpec
from orchestrator.frameworks.tflite.quantize import Converter

folder = Path(sys.argv[1])
layers = keras.layers
keras.utils.set_random_seed(1)
rng = np.random.default_rng(1)
images = lambda: ([rng.uniform(-1, 1, (1, 16, 16, 3)).astype("float32")] for _ in range(4))


def network():
    return keras.Sequential([
        layers.Input((16, 16, 3)),
        layers.Conv2D(16, 3, activation="relu"),
        layers.DepthwiseConv2D(3),
        layers.Conv2D(128, 1, activation="relu"),
        layers.GlobalAveragePooling2D(),
        layers.Dense(100),
    ])


def convert(name, schemes, frozen, batch=None, network=network, **settings):
    spec = ModelSpec("", "", side=16, frozen=frozen)
    with Converter(network(), spec, folder / "work", batch) as converter:
        for scheme in schemes:
            data = converter.convert(SCHEMES[scheme], images, **settings)
            (folder / f"{name}-{scheme}.tflite").write_bytes(data)
    assert not (folder / "work").exists()


# weight_only_int8 first: it is made from float32, which is not there yet
convert("frozen", ["weight_only_int8", *SCHEMES], frozen=True)
convert("saved", SCHEMES, frozen=False)
convert("compatible", SCHEMES, frozen=True, dense_per_tensor=True)


def reshaped():  # as MobileNet's head
    return keras.Sequential([
        layers.Input((16, 16, 3)),
        layers.Conv2D(16, 3, activation="relu"),
        layers.GlobalAveragePooling2D(keepdims=True),
        layers.Conv2D(100, 1),
        layers.Reshape((100,)),
    ])


for export, batch in (("open", None), ("fixed", 1)):
    convert(export, ["float32"], frozen=True, batch=batch, network=reshaped)
    convert(f"{export}_saved", ["float32"], frozen=False, batch=batch, network=reshaped)
"""

_RUN = """
import json, sys
import numpy as np
try:
    from tflite_runtime.interpreter import Interpreter
except ImportError:
    from ai_edge_litert.interpreter import Interpreter

answers = {}
for path in sys.argv[1:]:
    try:
        interpreter = Interpreter(model_path=path)
        interpreter.allocate_tensors()
        (entry,), (end,) = interpreter.get_input_details(), interpreter.get_output_details()
        image = np.random.RandomState(1).uniform(-1, 1, entry["shape"])
        scale, zero = entry["quantization"]
        image = np.clip(np.round(image / scale + zero), -128, 127) if scale else image
        interpreter.set_tensor(entry["index"], image.astype(entry["dtype"]))
        interpreter.invoke()
        scale, zero = end["quantization"]
        scores = interpreter.get_tensor(end["index"]).astype("float64").ravel()
        answers[path] = ((scores - zero) * scale if scale else scores).tolist()
    except Exception as exc:
        answers[path] = str(exc)
print(json.dumps(answers))
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("tensorflow", exc_type=ImportError)
    folder: Path = tmp_path_factory.mktemp("converted")
    env = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"}
    env["PYTHONPATH"] = str(Path(__file__).resolve().parents[2])
    argv = [sys.executable, "-c", _CONVERT, str(folder)]
    done = subprocess.run(argv, env=env, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


def _scores(python: str, files: list[Path]) -> dict[str, Any]:
    argv = [python, "-c", _RUN, *map(str, files)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=True)
    answers = json.loads(done.stdout.splitlines()[-1])
    return {Path(path).stem: answer for path, answer in answers.items()}


@pytest.mark.parametrize("scheme", known_schemes())
@pytest.mark.parametrize("way", ["frozen", "saved", "compatible"])
def test_the_file_holds_the_scheme(folder: Path, way: str, scheme: str) -> None:
    assert inspect_file(folder / f"{way}-{scheme}.tflite").scheme == scheme


@pytest.mark.parametrize("scheme", known_schemes())
def test_both_ways_of_tracing_give_the_same_network(folder: Path, scheme: str) -> None:
    frozen = inspect_file(folder / f"frozen-{scheme}.tflite")
    saved = inspect_file(folder / f"saved-{scheme}.tflite")
    assert saved.operators == frozen.operators
    assert saved.parameters == frozen.parameters
    assert [t.shape for t in saved.inputs] == [t.shape for t in frozen.inputs]


def test_weights_alone_are_integers_and_every_operator_gets_floats(folder: Path) -> None:
    found = inspect_file(folder / "frozen-weight_only_int8.tflite")
    counts = {operator.name: operator.count for operator in found.operators}
    assert counts["DEQUANTIZE"] == counts["CONV_2D"] + counts["DEPTHWISE_CONV_2D"] + 1
    assert [use.scheme for use in found.weights] == ["weight_only_int8"]
    assert found.smallest_activation_scale is None
    small, large = (
        inspect_file(folder / f"frozen-{s}.tflite").constant_bytes
        for s in ("weight_only_int8", "float32")
    )
    assert small < large / 3


def test_the_schemes_compute_the_same_function(folder: Path) -> None:
    np = pytest.importorskip("numpy")
    pytest.importorskip("ai_edge_litert.interpreter")
    scores = _scores(sys.executable, sorted(folder.glob("*.tflite")))
    reference = scores["frozen-float32"]
    for name, answer in scores.items():
        assert not isinstance(answer, str), f"{name}: {answer}"
        # The seed is the same, the network of each way is drawn after the one before.
        own = scores[f"{name.split('-')[0]}-float32"]
        assert np.corrcoef(own, answer)[0, 1] > 0.98, name
    assert np.std(reference) > 0


def test_a_runtime_of_2023_loads_what_is_built_for_it(folder: Path) -> None:
    np = pytest.importorskip("numpy")
    python = os.environ.get("TFLITE_RUNTIME_PYTHON")
    if python is None:
        pytest.skip("TFLITE_RUNTIME_PYTHON names no Python")
    compatible = [folder / f"compatible-{scheme}.tflite" for scheme in known_schemes()]
    default = folder / "frozen-dynamic_range.tflite"
    old = _scores(python, [*compatible, default])
    new = _scores(sys.executable, compatible)

    assert "Registration failed" in old[default.stem]
    for name, answer in new.items():
        assert not isinstance(old[name], str), f"{name}: {old[name]}"
        assert np.corrcoef(answer, old[name])[0, 1] > 0.999, name


# -- how the batch stands in the file -------------------------------------------------------------

_DELEGATED = """
import json, sys
from orchestrate_agent.children.litert import delegated_nodes, find_runtime

taken = {}
for path in sys.argv[1:]:
    interpreter = find_runtime("any").module.Interpreter(model_path=path)
    interpreter.allocate_tensors()
    taken[path] = delegated_nodes(interpreter)
print(json.dumps(taken))
"""


@pytest.mark.parametrize("way", ["", "_saved"])
def test_the_file_says_how_it_was_exported(folder: Path, way: str) -> None:
    opened, fixed = (inspect_file(folder / f"{e}{way}-float32.tflite") for e in ("open", "fixed"))
    assert (opened.export, opened.inputs[0].shape[0], opened.shape_operators) == ("open", -1, 1)
    assert (fixed.export, fixed.inputs[0].shape[0], fixed.shape_operators) == ("fixed", 1, 0)
    extra = {o.name for o in opened.operators} - {o.name for o in fixed.operators}
    assert extra == {"SHAPE", "STRIDED_SLICE", "PACK"}
    assert opened.work.multiply_accumulates == fixed.work.multiply_accumulates


def test_an_open_batch_keeps_xnnpack_of_2023_from_taking_anything(folder: Path) -> None:
    python = os.environ.get("TFLITE_RUNTIME_PYTHON")
    if python is None:
        pytest.skip("TFLITE_RUNTIME_PYTHON names no Python")
    files = [str(folder / f"{export}-float32.tflite") for export in ("open", "fixed")]
    agents = str(Path(__file__).resolve().parents[2] / "agents")

    def delegated(executable: str) -> list[list[int]]:
        env = {**os.environ, "PYTHONPATH": agents}
        argv = [executable, "-c", _DELEGATED, *files]
        done = subprocess.run(argv, env=env, capture_output=True, text=True, timeout=60, check=True)
        taken = json.loads(done.stdout.splitlines()[-1])
        return [taken[file] for file in files]

    opened, fixed = delegated(python)
    assert opened[0] == 0
    assert fixed[0] == fixed[1] > 0
    opened, fixed = delegated(sys.executable)
    assert opened[0] > 0
    assert fixed[0] == fixed[1]
