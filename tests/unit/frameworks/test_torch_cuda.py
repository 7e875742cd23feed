"""The torch child on a GPU, with a package in torch's place that behaves as torch does on one: no
machine of this project's has a GPU, so that none of this was tried on a real one."""

from __future__ import annotations

import json
import sys
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.frameworks.parts import runner_named
from orchestrator.frameworks.runner import Evidence, Reading
from orchestrator.measurement import Outcome
from orchestrator.trial import TrialKind
from tests import runner_cases as cases

#: What it computes has begun when a call returns, and has finished when ``synchronize`` does.
FAKE = """
import contextlib, os, sys, time

__version__ = "2.8.0"
float32 = "float32"
FAILS_AT, _, FAILS_WITH = os.environ["FAKE_CUDA"].partition(":")
SECONDS, LOADED, PEAK = 0.003, 4_000_000, 9_000_000
OutOfMemoryError = type("OutOfMemoryError", (RuntimeError,), {})

def fail_at(stage):
    if FAILS_AT == stage:
        text, _, stderr = FAILS_WITH.partition("|")
        print(stderr, file=sys.stderr)
        raise (OutOfMemoryError if "CUDA out of memory" in text else RuntimeError)(text)

class cuda:
    pending, peak = False, 123_000_000  # of before the model

    def is_available():
        return FAILS_AT != "absent"

    def synchronize():
        if cuda.pending:
            time.sleep(SECONDS)
        cuda.pending = False

    def reset_peak_memory_stats():
        cuda.peak = 0

    def max_memory_allocated():
        return cuda.peak

class Tensor:
    def __sub__(self, other):
        return self

    def to(self, where):
        assert where == "cuda"
        return self

    def copy_(self, other):
        cuda.pending = True

class Model:
    inlined_graph = type("Graph", (), {"nodes": lambda self: []})()

    def __init__(self):
        self.weights = bytearray(b"w") * 2**22  # no growth at all is not a measurement

    def eval(self):
        pass

    def __call__(self, image):
        assert not cuda.pending, "an input was still being copied when the clock was started"
        fail_at("inference")
        cuda.pending, cuda.peak = True, max(cuda.peak, PEAK)

class jit:
    def load(path, map_location, _extra_files=None):
        if map_location == "cuda":
            fail_at("load")
            cuda.pending, cuda.peak = True, max(cuda.peak, LOADED)
        for name in _extra_files or {}:
            _extra_files[name] = '{"input_shape": [3, 8, 8]}'
        return Model()

class Generator:
    def manual_seed(self, seed):
        return self

class quantized:
    supported_engines, engine = ["none", "qnnpack"], "qnnpack"

backends = type("backends", (), {"quantized": quantized})
inference_mode = contextlib.nullcontext
rand = lambda shape, generator, dtype: Tensor()
empty_like = lambda values: Tensor()
set_num_threads = set_num_interop_threads = lambda count: None
get_num_threads = lambda: 1
"""
TRIAL = replace(
    cases.a_trial(runner="torch", runtime="torch", delegate="none", processor="cuda"),
    kind=TrialKind.MEMORY,
)
Measure = Callable[[str], tuple[Reading, Evidence]]


@pytest.fixture
def measure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Measure:
    """Runs the child where torch fails at a stage (``STAGE:MESSAGE|STDERR``), or at none."""
    (tmp_path / "torch.py").write_text(FAKE)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    model = tmp_path / "model.pt"
    with zipfile.ZipFile(model, "w") as archive:
        archive.writestr("model/data.pkl", b"")
    runner = runner_named("torch")
    files = cases.files(size=model.stat().st_size, python=sys.executable, binary=None)

    def run(fails: str) -> tuple[Reading, Evidence]:
        monkeypatch.setenv("FAKE_CUDA", fails)
        command = runner.command(TRIAL, cases.SHORT, files)
        argv = (sys.executable, "-m", "orchestrate_agent.children.torch", *command.argv[3:])
        evidence = cases.run_command(
            replace(command, argv=argv), {f"{{blob:{cases.MODEL_SHA}}}": str(model)}
        )
        return runner.read(TRIAL, cases.SHORT, files, evidence), evidence

    return run


def test_an_inference_lasts_until_the_gpu_has_finished(measure: Measure) -> None:
    reading, evidence = measure("")
    got = reading.measurement
    assert got is not None, f"{reading.reason}\n{evidence.stderr}"
    for us in (got.init_us, got.first_us, got.timing.min_us):
        assert us is not None and us >= 3000
    assert got.memory is not None and got.memory.gpu_peak_bytes == 9_000_000
    assert got.memory.peak_bytes
    line = next(x for x in evidence.stdout.splitlines() if x.startswith("@orchestrate-result "))
    assert json.loads(line.split(" ", 1)[1])["processor"] == "cuda"


NVMAP = "NvMapMemAllocInternalTagged: 1075072515 error 12\nNvMapMemHandleAlloc: error 0"


@pytest.mark.parametrize(
    "fails",
    [
        "inference:CUDA out of memory. Tried to allocate 20.00 MiB. GPU 0 has a total capacity of "
        "7.44 GiB of which 10.12 MiB is free.",
        "load:CUDA error: out of memory",
        "inference:cuDNN error: CUDNN_STATUS_ALLOC_FAILED",
        "inference:CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
        'load:NVML_SUCCESS == r INTERNAL ASSERT FAILED at "../c10/cuda/CUDACachingAllocator.cpp"',
        # a Jetson's driver says on stderr what torch's error does not
        f"inference:CUDA error: unspecified launch failure|{NVMAP}",
    ],
)
def test_a_gpu_without_memory_is_out_of_memory(fails: str, measure: Measure) -> None:
    reading, evidence = measure(fails)
    assert reading.outcome is Outcome.FAILED, evidence.stderr
    said = reading.reason or ""
    assert said.startswith("out of memory: ") and "OOM killer" not in said
    assert fails.partition(":")[2].partition("|")[0][:40] in said


@pytest.mark.parametrize(
    ("fails", "words"),
    [
        ("absent:", "finds no CUDA device here; use processor: [cpu]"),
        (
            "inference:CUDA error: no kernel image is available for execution on the device",
            "no kernel image",
        ),
    ],
)
def test_a_gpu_that_is_not_there_or_unknown_to_torch_is_incompatible(
    fails: str, words: str, measure: Measure
) -> None:
    reading, evidence = measure(fails)
    assert reading.outcome is Outcome.INCOMPATIBLE, evidence.stderr
    assert words in (reading.reason or "")


def test_another_failure_of_a_gpu_is_no_lack_of_memory(measure: Measure) -> None:
    reading, _ = measure("inference:CUDA error: an illegal memory access was encountered")
    assert reading.outcome is Outcome.FAILED
    assert (reading.reason or "").startswith("an inference failed: CUDA error: an illegal memory")
