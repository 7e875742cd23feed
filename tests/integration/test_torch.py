"""PyTorch models built for real, and the measuring child on them, read by its runner."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from orchestrate_agent.children.torch import EXTRA_FILE
from orchestrate_agent.children.torch_outputs import Answering
from orchestrator.config import Suite
from orchestrator.errors import UsageError
from orchestrator.frameworks.file_kinds import inspect_any
from orchestrator.frameworks.parts import runner_named
from orchestrator.frameworks.runner import Evidence, Reading
from orchestrator.frameworks.torch.files import TorchFile
from orchestrator.measurement import Outcome
from orchestrator.trial import InputSpec, Trial, TrialKind, Variant
from orchestrator.zoo import (
    ModelArtifact,
    OwnFiles,
    check_variants,
    ensure_artifacts,
    find_artifacts,
)
from tests import runner_cases as cases
from tests.zoo_fixtures import models_dir

pytest.importorskip("torch", reason="the extra `torch` is not installed", exc_type=ImportError)

#: What a model of one input is asked with.
ONE = [{"shape": [1, 3]}]
#: The smallest model, and the one that has no Linear layer.
SCHEMES = ("float32", "dynamic_int8", "static_int8", "qat_int8")
SQUEEZENET = tuple(Variant("squeezenet1_1", scheme) for scheme in SCHEMES)
RUNNER = runner_named("torch")


@pytest.fixture(scope="session")
def built(pytestconfig: pytest.Config) -> dict[str, ModelArtifact]:
    folder = models_dir(pytestconfig)
    made = ensure_artifacts(SQUEEZENET, folder, framework="torch")
    assert find_artifacts(SQUEEZENET, folder, verify=True, framework="torch") == made
    return {variant.scheme: artifact for variant, artifact in made.items()}


def test_the_schemes_share_their_weights_and_say_what_was_done(
    built: dict[str, ModelArtifact],
) -> None:
    entries = {scheme: artifact.entry for scheme, artifact in built.items()}
    assert len({entry["weights_sha256"] for entry in entries.values()}) == 1
    assert {artifact.path.suffix for artifact in built.values()} == {".pt"}
    assert {artifact.framework for artifact in built.values()} == {"torch"}
    assert [scheme for scheme, entry in entries.items() if entry["training"]] == ["qat_int8"]
    training = entries["qat_int8"]["training"]
    assert training["last_loss"] < training["first_loss"]
    assert entries["static_int8"]["converter"]["calibration"] == "entropy"
    assert entries["static_int8"]["observer"] == "HistogramObserver"


def test_a_scheme_that_changes_nothing_is_a_no_op(built: dict[str, ModelArtifact]) -> None:
    assert [s for s, a in built.items() if a.no_op is not None] == ["dynamic_int8"]
    assert "the model has 0" in (built["dynamic_int8"].no_op or "")
    counts = {scheme: a.entry["quantized_operators"] for scheme, a in built.items()}
    assert counts["float32"] == counts["dynamic_int8"] == {}
    assert counts["static_int8"] == counts["qat_int8"] == {"quantized::conv2d_relu": 26}
    assert built["static_int8"].size_bytes < built["float32"].size_bytes / 3


def test_a_file_tells_its_scheme_without_its_name(
    built: dict[str, ModelArtifact], tmp_path: Path
) -> None:
    shown = {}
    for scheme, artifact in built.items():
        nameless = tmp_path / "model"
        nameless.write_bytes(artifact.path.read_bytes())
        file = inspect_any(nameless)
        assert isinstance(file, TorchFile)
        found = file.contents
        shown[scheme] = (found.scheme, found.noted_scheme, found.input_shape)
    shape = (3, 224, 224)
    assert shown == {
        "float32": ("float32", "float32", shape),
        "dynamic_int8": ("float32", "dynamic_int8", shape),  # a no-op in this model
        "static_int8": ("static_int8", "static_int8", shape),
        "qat_int8": ("static_int8", "qat_int8", shape),
    }


def test_a_plan_takes_what_was_built_and_no_file_under_another_scheme(
    built: dict[str, ModelArtifact],
) -> None:
    nobody = OwnFiles(Suite(name="s", models=("squeezenet1_1",), schemes=("float32",)), {})
    check_variants(nobody, {artifact.variant: artifact for artifact in built.values()})
    for scheme, holds in (("float32", "static_int8"), ("static_int8", "qat_int8")):
        wrong = replace(built[holds], variant=Variant("squeezenet1_1", scheme))
        with pytest.raises(UsageError, match=rf"{scheme} contradicts .* holds {holds}"):
            check_variants(nobody, {wrong.variant: wrong})
    unchanged = replace(built["float32"], variant=Variant("squeezenet1_1", "dynamic_int8"))
    twice = [built["float32"], replace(unchanged, no_op="there is no Linear layer")]
    check_variants(nobody, {artifact.variant: artifact for artifact in twice})
    with pytest.raises(UsageError, match="the same file, byte for byte"):
        check_variants(nobody, {artifact.variant: artifact for artifact in (twice[0], unchanged)})


def test_the_schemes_compute_the_same_function_without_torchvision(
    built: dict[str, ModelArtifact],
) -> None:
    script = """
import json, sys
sys.modules["torchvision"] = None  # importing it raises ImportError from here on
import torch
from torch.nn.functional import cosine_similarity
image = torch.randn(2, 3, 224, 224, generator=torch.Generator().manual_seed(1))
with torch.inference_mode():
    scores = [torch.jit.load(path)(image) for path in sys.argv[1:]]
print(json.dumps([float(cosine_similarity(scores[0], s, dim=1).min()) for s in scores]))
"""
    order = ("float32", "dynamic_int8", "static_int8")
    argv = [sys.executable, "-c", script, *(str(built[scheme].path) for scheme in order)]
    done = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=60)
    _, no_op, static = json.loads(done.stdout.splitlines()[-1])
    assert no_op == pytest.approx(1.0, abs=1e-5)
    assert static > 0.9


def a_trial(**changes: Any) -> Trial:
    return cases.a_trial(**{"runner": "torch", "runtime": "torch", "delegate": "none", **changes})


def run(trial: Trial, model: Path) -> tuple[Reading, Evidence]:
    files = cases.files(size=model.stat().st_size, python=sys.executable, binary=None)
    command = RUNNER.command(trial, cases.SHORT, files)
    argv = (sys.executable, "-m", "orchestrate_agent.children.torch", *command.argv[3:])
    evidence = cases.run_command(
        replace(command, argv=argv), {f"{{blob:{cases.MODEL_SHA}}}": str(model)}
    )
    return RUNNER.read(trial, cases.SHORT, files, evidence), evidence


@pytest.mark.parametrize(
    ("scheme", "changes"),
    [
        ("float32", {}),
        ("static_int8", {"batch": 2, "threads": 2}),
        ("qat_int8", {"engine": "onednn"}),
    ],
)
def test_a_trial_is_measured(
    built: dict[str, ModelArtifact], scheme: str, changes: dict[str, Any]
) -> None:
    reading, evidence = run(a_trial(**changes), built[scheme].path)
    assert reading.outcome is Outcome.OK, f"{reading.reason}\n{evidence.stderr}"
    got = reading.measurement
    assert got is not None and got.timing.count >= 12 and got.runtime_name == "torch"
    assert got.init_us and got.first_us and got.memory and got.memory.peak_bytes
    assert not any(finding.forbids for finding in reading.findings)


def test_an_impossible_batch_is_out_of_memory(built: dict[str, ModelArtifact]) -> None:
    reading, evidence = run(a_trial(batch=100_000_000), built["float32"].path)
    assert reading.outcome is Outcome.FAILED, evidence.stderr
    assert (reading.reason or "").startswith("out of memory: ")


def test_cuda_is_refused_where_there_is_none(built: dict[str, ModelArtifact]) -> None:
    import torch  # noqa: PLC0415  # skipped above where it is missing

    if torch.cuda.is_available():
        reading, _ = run(a_trial(processor="cuda"), built["static_int8"].path)
        assert reading.outcome is Outcome.INCOMPATIBLE and "cpu only" in (reading.reason or "")
    else:
        reading, _ = run(a_trial(processor="cuda"), built["float32"].path)
        assert reading.outcome is Outcome.INCOMPATIBLE
        assert "no CUDA device" in (reading.reason or "")


@pytest.mark.parametrize("content", [b"", b"no model", b"PK\x03\x04" + bytes(200)])
def test_what_is_no_model_is_refused_by_name(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "broken.pt"
    path.write_bytes(content)
    reading, _ = run(a_trial(), path)
    assert reading.outcome is Outcome.FAILED
    assert "invalid model" in (reading.reason or "")


_VARIATIONS = """
import json, sys
from pathlib import Path
import numpy as np
from PIL import Image
from orchestrator.frameworks.tflite.catalog import BuildOptions
from orchestrator.frameworks.torch.catalog import MODELS, dataset_data
from orchestrator.frameworks.torch.data import calibration_images, training_set
from orchestrator.frameworks.torch.models import load_model
from orchestrator.frameworks.torch.quantize import Converter
folder = Path(sys.argv[1])
rng = np.random.default_rng(0)
for name in ("n01440764", "n03888257"):
    (folder / "train" / name).mkdir(parents=True)
    for number in range(3):
        pixels = rng.integers(0, 255, (40, 30, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / "train" / name / f"{number}.png")
options = BuildOptions(dataset=folder)
data = training_set(options, 32)
spec = MODELS["squeezenet1_1"]
loaded = load_model("squeezenet1_1", spec, "random", 0, lambda step: None)
files = {}
for calibration in ("max", "percentile"):
    images = lambda: (image for image in [next(calibration_images(options, 224))])
    made = Converter(loaded.model, spec, calibration, images)
    made = made.convert("static_int8", lambda: None, 0, lambda step: None)
    files[calibration] = [made.observer, made.operators, hash(made.data)]
print(json.dumps([list(data.images.shape), data.labels.tolist(), data.facts,
                  dataset_data(options), files]))
"""


def test_a_data_set_and_the_other_calibrations(tmp_path: Path) -> None:
    argv = [sys.executable, "-c", _VARIATIONS, str(tmp_path)]
    done = subprocess.run(
        argv, capture_output=True, text=True, check=False, timeout=120, cwd=cases.ROOT
    )
    assert done.returncode == 0, done.stderr
    shape, labels, facts, recorded, files = json.loads(done.stdout.splitlines()[-1])
    assert shape == [6, 3, 32, 32] and facts["labels"] == "imagenet"
    assert labels == [0, 701, 0, 701, 0, 701]  # the classes in turn
    assert (recorded["kind"], recorded["count"], recorded["classes"]) == ("folder", 6, 2)
    assert [made[0] for made in files.values()] == ["MinMaxObserver", "PercentileObserver"]
    assert all(made[1] == {"quantized::conv2d_relu": 26} for made in files.values())
    assert files["max"][2] != files["percentile"][2]


def test_a_profile_trial_names_the_operators(tmp_path: Path) -> None:
    import torch  # noqa: PLC0415  # as above: only where it is installed

    network = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.ReLU()).eval()
    path = tmp_path / "small.pt"
    traced = torch.jit.trace(network, torch.zeros(1, 3, 32, 32))
    torch.jit.freeze(traced).save(str(path))
    trial = a_trial(kind=TrialKind.PROFILE)
    files = replace(
        cases.files(size=path.stat().st_size, python=sys.executable, binary=None),
        inputs=(InputSpec((1, 3, 32, 32)),),
    )
    command = RUNNER.command(trial, cases.SHORT, files)
    argv = (sys.executable, "-m", "orchestrate_agent.children.torch", *command.argv[3:])
    evidence = cases.run_command(
        replace(command, argv=argv), {f"{{blob:{cases.MODEL_SHA}}}": str(path)}
    )
    reading = RUNNER.read(trial, cases.SHORT, files, evidence)
    assert reading.measurement is not None, f"{reading.reason}\n{evidence.stderr}"
    found = {operator.kind: operator for operator in reading.measurement.operators}
    convolutions = [o for kind, o in found.items() if "conv" in kind]
    assert convolutions and all(o.us > 0 for o in convolutions)
    assert {o.count for o in convolutions} == {1.0}, "of one inference, not of all of them"
    assert reading.measurement.timing.count == 12, "which were timed without the profiler"


def no_draw(generator: Any, spec: Any) -> Any:
    raise AssertionError(spec)


def test_what_a_model_returns_is_taken_apart() -> None:
    import torch  # noqa: PLC0415

    returned: dict[str, Any] = {
        "a tensor and nothing": (torch.ones(1, 3), None),
        "by name, nested": {"b": [torch.ones(2)], "a": torch.zeros(1, dtype=torch.bool)},
        "sparse": torch.eye(3).to_sparse(),
        "complex": torch.complex(torch.zeros(2), torch.ones(2)),
    }
    shown = {
        name: [
            (each.shape, list(each.values(1)))
            for each in Answering(torch, lambda _, a=answer: a, ONE, "cpu", no_draw).answer_seeded(
                (0, 1)
            )[1]
        ]
        for name, answer in returned.items()
    }
    assert shown == {
        "a tensor and nothing": [((1, 3), [1, 1, 1])],
        "by name, nested": [((1,), [0]), ((2,), [1, 1])],
        "sparse": [((3, 3), [1, 0, 0, 0, 1, 0, 0, 0, 1])],
        "complex": [((2,), [1, 1])],
    }
    nothings: tuple[Any, ...] = (None, (None, []), 0.5)
    for nothing in nothings:
        with pytest.raises(TypeError, match="returns"):
            Answering(torch, lambda _, a=nothing: a, ONE, "cpu", no_draw).answer_seeded((0, 1))


def test_a_script_that_refuses_to_be_asked_keeps_its_times(tmp_path: Path) -> None:
    import torch  # noqa: PLC0415

    module = torch.jit.ScriptModule()
    module.define(
        "def forward(self, x):\n"
        "    if bool((x > 0.6).any()):\n"  # of the timed inputs none is
        '        raise ValueError("out of range")\n'
        "    return x * 2\n"
    )
    path = tmp_path / "picky.pt"
    module.save(str(path), _extra_files={EXTRA_FILE: '{"input_shape": [64]}'})
    reading, evidence = run(a_trial(), path)
    assert reading.outcome is Outcome.OK, f"{reading.reason}\n{evidence.stderr}"
    assert reading.measurement is not None and reading.measurement.timing.count
    outputs = reading.measurement.outputs
    assert outputs is not None and "ValueError: out of range" in (outputs.problem or "")
