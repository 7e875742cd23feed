"""The torch runner: its command line, and the outcome of what its child may print."""

from __future__ import annotations

import json
from typing import Any

import pytest

from orchestrate_agent.children import torch as child
from orchestrator.errors import UsageError
from orchestrator.frameworks.parts import runner_named
from orchestrator.frameworks.runner import Reading
from orchestrator.frameworks.torch.about import ENGINES, PROCESSORS
from orchestrator.measurement import Outcome
from orchestrator.trial import Trial, TrialKind
from tests import runner_cases as cases

RUNNER = runner_named("torch")


def a_trial(**changes: Any) -> Trial:
    return cases.a_trial(**{"runner": "torch", "runtime": "torch", "delegate": "none", **changes})


def result(**changes: Any) -> dict[str, Any]:
    return {
        "schema": 1,
        "runtime": "torch",
        "runtime_version": "2.13.0+cpu",
        "threads": 1,
        "batch": 1,
        "engine": "x86",
        "processor": "cpu",
        "model_size_bytes": 5856,
        "init_us": 985.099,
        "warmup_us": [67.0, 13.5, 12.5, 12.25, 12.0],
        "steady_us": [11.0 + i * 7 % 30 for i in range(30)],
        "memory": {
            point: {"peak_bytes": peak}
            for point, peak in (("start", 40_000_000), ("init", 43_000_000), ("end", 44_000_000))
        },
        **changes,
    }


def read(stdout: str, trial: Trial | None = None, **ended: Any) -> Reading:
    evidence = cases.evidence(stdout, "", **ended)
    return RUNNER.read(trial or a_trial(), cases.SETTINGS, cases.files(size=5856), evidence)


def said(data: object) -> str:
    return f"@orchestrate-stage report\n@orchestrate-result {json.dumps(data)}\n"


def refused(kind: str, message: str) -> Reading:
    error = json.dumps({"kind": kind, "message": message})
    return read(f"@orchestrate-stage load\n@orchestrate-error {error}\n", exit_code=3)


def test_the_command_is_one_the_child_understands() -> None:
    trial = a_trial(kind=TrialKind.MEMORY, batch=4, threads=2, engine="qnnpack")
    command = RUNNER.command(trial, cases.SETTINGS, cases.files(python="/opt/py/bin/python"))
    assert command.argv[:3] == ("/opt/py/bin/python", "{agent}", "torch")
    args = child._parser().parse_args(command.argv[3:])
    assert (args.threads, args.batch, args.engine, args.processor) == (2, 4, "qnnpack", "cpu")
    assert args.memory and args.model == f"{{blob:{cases.MODEL_SHA}}}"


def test_engines_and_processors_are_those_of_the_child() -> None:
    assert (ENGINES, PROCESSORS) == (child.ENGINES, child.PROCESSORS)


@pytest.mark.parametrize(
    "changes",
    [{"delegate": "xnnpack"}, {"engine": "mkl"}, {"processor": "tpu"}, {"isa": "pentium"}],
)
def test_what_the_child_cannot_do_is_refused(changes: dict[str, str]) -> None:
    with pytest.raises(UsageError, match=next(iter(changes.values()))):
        RUNNER.command(a_trial(**changes), cases.SETTINGS, cases.files())


@pytest.mark.parametrize("changes", [{"engine": "x86"}, {"processor": "cuda"}])
def test_torch_s_factors_are_refused_elsewhere(changes: dict[str, Any]) -> None:
    trial = cases.a_trial(**{"runner": "litert", "runtime": "any", **changes})
    with pytest.raises(UsageError, match="runner torch"):
        runner_named("litert").command(trial, cases.SETTINGS, cases.files())


def test_a_good_result_is_a_measurement() -> None:
    reading = read(said(result()))
    got = reading.measurement
    assert reading.outcome is Outcome.OK and got is not None and reading.findings == ()
    assert (got.init_us, got.first_us, got.timing.count) == (985.099, 67.0, 30)
    assert (got.runtime_name, got.runtime_version) == ("torch", "2.13.0+cpu")
    assert got.memory is not None and got.memory.peak_bytes == 44_000_000
    assert got.delegation is None


def test_other_conditions_than_asked_for_are_seen() -> None:
    for changes in ({"engine": "fbgemm"}, {"processor": "cuda"}, {"batch": 4}):
        assert read(said(result()), a_trial(**changes)).outcome is Outcome.FAILED
    threads = read(said(result(threads=2)))
    assert [f.code for f in threads.findings] == ["wrong_threads"]


@pytest.mark.parametrize("broken", [{"schema": 2}, {"engine": None}, {"steady_us": []}, {"a": 1}])
def test_nonsense_is_a_failure(broken: dict[str, Any]) -> None:
    data = result(**broken) if "a" not in broken else broken
    assert read(said(data)).outcome is Outcome.FAILED


def test_out_of_memory_is_told_apart() -> None:
    kind = child.kind_of("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried")
    reading = refused(kind, "an inference failed: …")
    assert reading.outcome is Outcome.FAILED
    assert (reading.reason or "").startswith("out of memory: ")
    assert child.kind_of("CUDA out of memory. Tried to allocate 2 GiB") == "out_of_memory"
    killed = read("@orchestrate-stage steady\n", signal_number=9, oom_killed=True)
    assert killed.outcome is Outcome.KILLED and "out of memory" in (killed.reason or "")


def test_what_this_torch_cannot_load_is_incompatible() -> None:
    assert child.kind_of("Unknown builtin op: torchvision::nms") == "incompatible"
    reading = refused("incompatible", "this build of torch has no quantized engine qnnpack")
    assert reading.outcome is Outcome.INCOMPATIBLE and "qnnpack" in (reading.reason or "")


def test_a_profile_trial_tells_its_operators() -> None:
    trial = a_trial(kind=TrialKind.PROFILE)
    argv = RUNNER.command(trial, cases.SETTINGS, cases.files()).argv
    assert child._parser().parse_args(argv[3:]).profile
    told = [["aten::mkldnn_convolution", 20.0, 1500.5], ["aten::relu", 3.0, 20]]
    reading = read(said(result(operators=told)), trial)
    assert reading.measurement is not None
    assert [(o.kind, o.count, o.us) for o in reading.measurement.operators] == [
        ("aten::mkldnn_convolution", 20.0, 1500.5),
        ("aten::relu", 3.0, 20.0),
    ]
    untold = read(said(result(operators=told)))
    assert untold.measurement is not None and untold.measurement.operators == ()


@pytest.mark.parametrize("told", [None, [], {}, [[1, 2, 3]], [["a", 1]], [["a", 1.0, -2.0]]])
def test_operators_that_are_none_fail_a_profile_trial(told: object) -> None:
    reading = read(said(result(operators=told)), a_trial(kind=TrialKind.PROFILE))
    assert reading.outcome is Outcome.FAILED
    assert reading.reason is not None and "operators" in reading.reason
