"""The Python child as a real process on real models, read by its runner.

The models are built by TensorFlow and run in ai-edge-litert and in TensorFlow's own interpreter.
``TFLITE_RUNTIME_PYTHON`` may name a Python that has tflite-runtime; without it that one is skipped.
"""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from orchestrator.frameworks.parts import runner_named
from orchestrator.frameworks.runner import Evidence, Reading
from orchestrator.measurement import Measurement, Outcome
from orchestrator.trial import Trial, TrialKind
from tests import runner_cases as cases

RUNNER = runner_named("litert")

# In a process of its own: TensorFlow's memory and threads stay out of the tests'.
_BUILD = """
import sys
import numpy as np
import tensorflow as tf
from tensorflow.lite.tools import flatbuffer_utils

folder = sys.argv[1]
tf.keras.utils.set_random_seed(1)
layers = tf.keras.layers
model = tf.keras.Sequential([
    tf.keras.Input((16, 16, 3)),
    layers.Conv2D(8, 3, activation="relu"),
    layers.Conv2D(8, 3, activation="relu"),
    layers.GlobalAveragePooling2D(),
    layers.Dense(10, activation="softmax"),
])


def convert(name, setup=lambda converter: None):
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    setup(converter)
    content = converter.convert()
    with open(f"{folder}/{name}.tflite", "wb") as file:
        file.write(content)
    return content


def dynamic_range(converter):
    converter.optimizations = [tf.lite.Optimize.DEFAULT]


def full_int8(converter):
    dynamic_range(converter)
    samples = np.random.RandomState(1).rand(4, 1, 16, 16, 3).astype("float32")
    converter.representative_dataset = lambda: ([sample] for sample in samples)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = tf.int8


content = convert("float32")
convert("dynamic_range", dynamic_range)
convert("full_int8", full_int8)

# 16 × 16 pixels make 14 × 14 × 8 = 1568 values for the dense layer. Of 9 × 9 pixels there are 392,
# a quarter of that: four small images would pass for one of the right size.
model = tf.keras.Sequential([
    tf.keras.Input((16, 16, 3)), layers.Conv2D(8, 3), layers.Flatten(), layers.Dense(10)
])
convert("flat")

newer = flatbuffer_utils.convert_bytearray_to_object(bytearray(content))
newer.operatorCodes[0].version = 99
flatbuffer_utils.write_model(newer, f"{folder}/newer_op.tflite")

@tf.function(input_signature=[tf.TensorSpec([1, 4], tf.float32)])
def zeta(x):
    return tf.raw_ops.Zeta(x=x + 2.0, q=x + 1.0)

converter = tf.lite.TFLiteConverter.from_concrete_functions([zeta.get_concrete_function()])
converter.allow_custom_ops = True
with open(f"{folder}/custom_op.tflite", "wb") as file:
    file.write(converter.convert())
with open(f"{folder}/truncated.tflite", "wb") as file:
    file.write(content[: len(content) // 2])
with open(f"{folder}/no_model.tflite", "wb") as file:
    file.write(b"this is not a model at all")
with open(f"{folder}/empty.tflite", "wb") as file:
    pass
"""


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = tmp_path_factory.mktemp("models")
    env = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"}
    argv = [sys.executable, "-c", textwrap.dedent(_BUILD), str(folder)]
    subprocess.run(argv, env=env, check=True, capture_output=True, timeout=120)
    return folder


def _runtimes() -> Iterator[Any]:
    yield pytest.param("ai-edge-litert", sys.executable, id="ai-edge-litert")
    python = os.environ.get("TFLITE_RUNTIME_PYTHON")
    missing = pytest.mark.skipif(python is None, reason="TFLITE_RUNTIME_PYTHON names no Python")
    yield pytest.param("tflite-runtime", python, id="tflite-runtime", marks=missing)


# Importing TensorFlow takes seconds each time, so it is in those tests alone where it may differ.
_TENSORFLOW = pytest.param("tensorflow", sys.executable, id="tensorflow")
RUNTIMES = pytest.mark.parametrize(("runtime", "python"), list(_runtimes()))
WITH_TENSORFLOW = pytest.mark.parametrize(("runtime", "python"), [*_runtimes(), _TENSORFLOW])


@RUNTIMES
@pytest.mark.parametrize("name", ["float32", "full_int8"])
def test_inputs_are_resized(models: Path, runtime: str, python: str, name: str) -> None:
    trial = a_trial(runtime=runtime, input_size=24, batch=2)
    reading, evidence = run(trial, models / f"{name}.tflite", python=python)
    measured(reading, evidence)
    assert '"shape":[2,24,24,3]' in evidence.stdout


@RUNTIMES
@pytest.mark.parametrize(("size", "batch"), [(24, 1), (24, 2), (9, 4), (2, 1)])
@pytest.mark.parametrize("delegate", ["xnnpack", "none"])
def test_a_size_that_the_graph_cannot_take_is_incompatible(
    models: Path, runtime: str, python: str, size: int, batch: int, delegate: str
) -> None:
    trial = a_trial(runtime=runtime, input_size=size, batch=batch, delegate=delegate)
    reading, evidence = run(trial, models / "flat.tflite", python=python)
    assert reading.outcome is Outcome.INCOMPATIBLE, (reading, evidence.stderr)
    assert reading.reason is not None and "the graph" in reading.reason


def a_trial(**changes: Any) -> Trial:
    return cases.a_trial(**{"runner": "litert", "runtime": "any", **changes})


def run(trial: Trial, model: Path, *, python: str = sys.executable) -> tuple[Reading, Evidence]:
    """One trial as the agent would run it; the child is run from the checkout, not a zipapp."""
    files = cases.files(size=model.stat().st_size, python=python, binary=None)
    command = RUNNER.command(trial, cases.SHORT, files)
    assert command.argv[1:3] == ("{agent}", "litert")
    command = replace(
        command, argv=(python, "-m", "orchestrate_agent.children.litert", *command.argv[3:])
    )
    evidence = cases.run_command(command, {f"{{blob:{cases.MODEL_SHA}}}": str(model)})
    return RUNNER.read(trial, cases.SHORT, files, evidence), evidence


def measured(reading: Reading, evidence: Evidence) -> Measurement:
    assert reading.outcome is Outcome.OK, f"{reading.reason}\n{evidence.stderr}"
    assert reading.measurement is not None
    return reading.measurement


@RUNTIMES
@pytest.mark.parametrize("scheme", ["float32", "dynamic_range", "full_int8"])
def test_each_scheme_is_measured_in_each_runtime(
    models: Path, runtime: str, python: str, scheme: str
) -> None:
    model = models / f"{scheme}.tflite"
    reading, evidence = run(a_trial(runtime=runtime), model, python=python)
    got = measured(reading, evidence)
    assert (got.runtime_name, got.timing.count) == (runtime, 12)
    assert got.warmup is not None and got.warmup.count == 5
    assert got.first_us == got.warmup.first_us
    assert got.model_size_bytes == model.stat().st_size
    assert got.runtime_version and got.runtime_version[0].isdigit()
    assert got.init_us is not None and got.init_us > 0
    assert got.timing.min_us is not None and got.timing.min_us > 0
    # tflite-runtime's XNNPACK takes no node of an int8 model
    untaken = runtime == "tflite-runtime" and scheme == "full_int8"
    assert [f.code for f in reading.findings] == (["nothing_delegated"] if untaken else [])


@RUNTIMES
def test_without_a_delegate_no_node_is_delegated(models: Path, runtime: str, python: str) -> None:
    trial = a_trial(runtime=runtime, delegate="none")
    reading, evidence = run(trial, models / "float32.tflite", python=python)
    got = measured(reading, evidence)
    assert got.delegation is not None
    assert (got.delegation.delegated_nodes, got.delegation.total_nodes) == (0, 5)
    assert reading.findings == ()
    assert "XNNPACK" not in evidence.stderr


@RUNTIMES
def test_xnnpack_takes_the_whole_float_model(models: Path, runtime: str, python: str) -> None:
    trial = a_trial(runtime=runtime)
    reading, evidence = run(trial, models / "float32.tflite", python=python)
    got = measured(reading, evidence)
    assert got.delegation is not None
    assert (got.delegation.delegated_nodes, got.delegation.total_nodes) == (5, 5)
    assert "Created TensorFlow Lite XNNPACK delegate" in evidence.stderr


@RUNTIMES
def test_a_batch_resizes_the_inputs(models: Path, runtime: str, python: str) -> None:
    trial = a_trial(runtime=runtime, batch=4)
    reading, evidence = run(trial, models / "float32.tflite", python=python)
    measured(reading, evidence)
    assert '"shape":[4,16,16,3]' in evidence.stdout


@RUNTIMES
@pytest.mark.parametrize(
    ("model", "words"),
    [("custom_op", "op Zeta"), ("newer_op", "op CONV_2D version 99")],
)
def test_what_the_runtime_lacks_is_incompatible(
    models: Path, runtime: str, python: str, model: str, words: str
) -> None:
    reading, _ = run(a_trial(runtime=runtime), models / f"{model}.tflite", python=python)
    assert reading.outcome is Outcome.INCOMPATIBLE
    assert reading.reason is not None and words in reading.reason


@RUNTIMES
def test_an_operator_of_tensorflow_is_incompatible_where_there_is_none(
    runtime: str, python: str
) -> None:
    case = Path(__file__).parent.parent / "data" / "cases" / "flex.tflite"
    reading, _ = run(a_trial(runtime=runtime), case, python=python)
    assert reading.outcome is Outcome.INCOMPATIBLE
    assert reading.reason is not None
    assert "operator MatrixInverse (FlexMatrixInverse)" in reading.reason


@WITH_TENSORFLOW
def test_a_truncated_model_has_one_clear_outcome(models: Path, runtime: str, python: str) -> None:
    """ai-edge-litert checks the file; the older runtimes read beyond its end and are killed."""
    reading, _ = run(a_trial(runtime=runtime), models / "truncated.tflite", python=python)
    assert reading.reason is not None
    if runtime == "ai-edge-litert":
        assert reading.outcome is Outcome.FAILED
        assert "invalid model" in reading.reason and "Flatbuffer" in reading.reason
    else:
        # what stands beyond the file's end decides how; no measurement and a reason it is always
        assert reading.outcome in (Outcome.KILLED, Outcome.FAILED, Outcome.TIMEOUT)


@pytest.mark.parametrize(
    ("model", "words"), [("no_model", "no TFL3 mark"), ("empty", "no TFL3 mark")]
)
def test_what_is_no_model_is_refused_before_a_runtime_sees_it(
    models: Path, model: str, words: str
) -> None:
    reading, _ = run(a_trial(), models / f"{model}.tflite")
    assert reading.outcome is Outcome.FAILED
    assert reading.reason is not None and words in reading.reason


def test_a_missing_file_is_named(models: Path) -> None:
    argv = [
        sys.executable,
        "-m",
        "orchestrate_agent.children.litert",
        *_arguments(models / "nowhere.tflite"),
    ]
    evidence = cases.run_argv(argv)
    assert evidence.exit_code == 3 and "nowhere.tflite" in evidence.stdout


def test_the_phases_last_at_least_the_seconds_asked_for(models: Path) -> None:
    changes = {"--steady-runs": "1", "--steady-seconds": "0.2"}
    argv = [*_child(), *_arguments(models / "float32.tflite", **changes)]
    reading = RUNNER.read(a_trial(), cases.SHORT, cases.files(size=1), cases.run_argv(argv))
    assert reading.measurement is not None
    steady = reading.measurement.timing
    assert steady.count > 1  # 1 is all that was asked for by number


def test_a_phase_ends_at_its_maximum(models: Path) -> None:
    changes = {"--steady-runs": "1000000", "--max-seconds": "0.05"}
    argv = [*_child(), *_arguments(models / "float32.tflite", **changes)]
    files = cases.files(size=(models / "float32.tflite").stat().st_size)
    settings = replace(cases.SHORT, steady=replace(cases.SHORT.steady, runs=1_000_000))
    reading = RUNNER.read(a_trial(), settings, files, cases.run_argv(argv))
    assert reading.outcome is Outcome.OK, reading.reason
    # thousands of inferences of some microseconds: another process is enough to make them drift
    assert {finding.code for finding in reading.findings} - {"drift"} == {"truncated"}


@WITH_TENSORFLOW
def test_a_memory_trial_measures_growth_from_a_reset_peak(
    models: Path, runtime: str, python: str
) -> None:
    trial = a_trial(runtime=runtime, kind=TrialKind.MEMORY)
    reading, evidence = run(trial, models / "float32.tflite", python=python)
    got = measured(reading, evidence)
    assert got.memory is not None, "importing the runtime left a peak that hid the model's"
    init, overall, peak = got.memory.init_bytes, got.memory.overall_bytes, got.memory.peak_bytes
    assert init is not None and overall is not None and peak is not None
    assert 0 < init <= overall < peak


def test_a_python_without_a_runtime_says_what_to_install(models: Path, tmp_path: Path) -> None:
    python = tmp_path / "bare" / "bin" / "python"
    subprocess.run(
        [sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "bare")], check=True
    )
    reading, _ = run(a_trial(), models / "float32.tflite", python=str(python))
    assert reading.outcome is Outcome.FAILED
    assert reading.reason is not None and "pip install ai-edge-litert" in reading.reason


def test_stray_prints_of_libraries_do_not_reach_stdout(models: Path, tmp_path: Path) -> None:
    package = tmp_path / "tflite_runtime"
    package.mkdir()
    (package / "__init__.py").write_text(
        "import os\nprint('a stray print', flush=True)\nos.write(1, b'a stray write\\n')\n"
    )
    code = (
        "import sys; sys.path.insert(0, sys.argv.pop(1)); "
        "from orchestrate_agent.children import litert; sys.exit(litert.main(sys.argv[1:]))"
    )
    arguments = _arguments(models / "float32.tflite", **{"--runtime": "tflite-runtime"})
    evidence = cases.run_argv([sys.executable, "-c", code, str(tmp_path), *arguments])
    assert evidence.exit_code == 3, evidence.stderr
    assert "a stray print" in evidence.stderr and "a stray write" in evidence.stderr
    assert all(line.startswith("@orchestrate-") for line in evidence.stdout.splitlines())


def test_the_child_installs_no_handler_for_sigsegv(models: Path) -> None:
    code = (
        "import faulthandler, signal, sys; from orchestrate_agent.children import litert; "
        "status = litert.main(sys.argv[1:]); "
        "assert not faulthandler.is_enabled(); "
        "caught = [l for l in open('/proc/self/status') if l.startswith('SigCgt')][0].split()[1]; "
        "assert not int(caught, 16) & 1 << signal.SIGSEGV - 1; sys.exit(status)"
    )
    evidence = cases.run_argv([sys.executable, "-c", code, *_arguments(models / "float32.tflite")])
    assert evidence.exit_code == 0, evidence.stderr


def _child() -> list[str]:
    return [sys.executable, "-m", "orchestrate_agent.children.litert"]


def _arguments(model: Path, **changes: str) -> list[str]:
    words = {
        "--model": str(model),
        "--threads": "1",
        "--warmup-runs": "5",
        "--warmup-seconds": "0",
        "--steady-runs": "12",
        "--steady-seconds": "0",
        "--max-seconds": "60",
        "--delegate": "xnnpack",
        **changes,
    }
    return [word for pair in words.items() for word in pair]
