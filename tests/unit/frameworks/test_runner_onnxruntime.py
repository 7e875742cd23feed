"""The onnxruntime runner: its command line, and the outcome of what its child may print."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from orchestrate_agent.children import onnxruntime as child
from orchestrate_agent.children import onnxruntime_profile as profile
from orchestrator.errors import UsageError
from orchestrator.frameworks import registry
from orchestrator.frameworks.onnx.about import DELEGATES, ONNXRUNTIME
from orchestrator.frameworks.parts import runner_named
from orchestrator.frameworks.runner import Reading
from orchestrator.measurement import Delegation, Operator, Outcome
from orchestrator.trial import Trial, TrialKind
from tests import runner_cases as cases
from tests.onnxruntime_cases import SIZE, result, said

RUNNER = runner_named("onnxruntime")


def a_trial(**changes: Any) -> Trial:
    own = {"runner": "onnxruntime", "runtime": "any", "delegate": "none"}
    return cases.a_trial(**{**own, **changes})


def read(stdout: str, trial: Trial | None = None, **ended: Any) -> Reading:
    evidence = cases.evidence(stdout, "", **ended)
    return RUNNER.read(trial or a_trial(), cases.SETTINGS, cases.files(size=SIZE), evidence)


def codes(reading: Reading) -> list[str]:
    return [finding.code for finding in reading.findings]


def test_the_command_is_one_the_child_understands() -> None:
    trial = a_trial(kind=TrialKind.MEMORY, batch=4, threads=2, delegate="openvino", input_size=96)
    command = RUNNER.command(trial, cases.SETTINGS, cases.files(python="/opt/py/bin/python"))
    assert command.argv[:3] == ("/opt/py/bin/python", "{agent}", "onnxruntime")
    args = child._parser().parse_args(command.argv[3:])
    assert (args.threads, args.batch, args.delegate, args.input_size) == (2, 4, "openvino", 96)
    assert args.memory and args.runtime == "any"


def test_delegates_and_libraries_are_those_of_the_child() -> None:
    assert tuple(child.PROVIDERS) == DELEGATES
    assert ONNXRUNTIME.runtimes == child.DISTRIBUTIONS


@pytest.mark.parametrize(
    "changes", [{"delegate": "xnnpack"}, {"engine": "x86"}, {"runtime": "torch"}]
)
def test_what_the_child_cannot_do_is_refused(changes: dict[str, str]) -> None:
    with pytest.raises(UsageError, match=next(iter(changes.values()))):
        RUNNER.command(a_trial(**changes), cases.SETTINGS, cases.files())


def test_a_good_result_is_a_measurement() -> None:
    reading = read(said(result()))
    got = reading.measurement
    assert reading.outcome is Outcome.OK and got is not None and reading.findings == ()
    assert (got.init_us, got.first_us, got.timing.count) == (985.099, 67.0, 30)
    assert (got.runtime_name, got.runtime_version) == ("onnxruntime", "1.32.0")
    assert got.delegation == Delegation(None, 0, 65)


@pytest.mark.parametrize(
    ("ran", "delegate", "found"),
    [
        ({"taken": 65}, "openvino", []),
        ({"taken": 0}, "openvino", ["nothing_delegated"]),
        ({"taken": 3}, "none", ["delegate_mismatch"]),
        ({"integer": 26, "conversions": 2}, "none", []),
        ({"integer": 24, "conversions": 6}, "none", []),  # a few are left out on purpose
        ({"integer": 2, "conversions": 98}, "none", ["computed_in_float"]),
        ({"products": 0, "conversions": 2}, "none", []),
    ],
)
def test_what_really_ran_is_remarked(ran: dict[str, int], delegate: str, found: list[str]) -> None:
    data = result(delegate=delegate, ran={**result()["ran"], **ran})
    assert codes(read(said(data), a_trial(delegate=delegate))) == found


def test_times_are_kept_where_the_profiler_failed() -> None:
    reading = read(said(result(ran=None)))
    assert reading.outcome is Outcome.OK and reading.measurement is not None
    assert reading.measurement.delegation is None


def test_other_conditions_than_asked_for_are_seen() -> None:
    for changes in ({"delegate": "openvino"}, {"batch": 4}, {"runtime": "onnxruntime-openvino"}):
        assert read(said(result()), a_trial(**changes)).outcome is Outcome.FAILED
    assert codes(read(said(result(threads=2)))) == ["wrong_threads"]


@pytest.mark.parametrize(
    "broken",
    [
        {"schema": 2}, {"delegate": None}, {"steady_us": []}, {"ran": 3}, {"ran": {"taken": -1}},
        {"ran": {**result()["ran"], "taken": 66}}, {"ran": {**result()["ran"], "integer": 27}},
    ],
)  # fmt: skip
def test_nonsense_is_a_failure(broken: dict[str, Any]) -> None:
    assert read(said(result(**broken))).outcome is Outcome.FAILED


def test_a_profile_trial_has_operators() -> None:
    trial = a_trial(kind=TrialKind.PROFILE)
    reading = read(said(result(operators=[["QLinearConv", 26, 410.5]])), trial)
    assert reading.measurement is not None
    assert reading.measurement.operators == (Operator("QLinearConv", 26, 410.5),)
    assert read(said(result(operators=None)), trial).outcome is Outcome.FAILED


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        ("[ONNXRuntimeError] : 7 : INVALID_PROTOBUF : Protobuf parsing failed.", "invalid_model"),
        (
            "[ONNXRuntimeError] : 9 : NOT_IMPLEMENTED : Could not find an implementation for "
            "ConvInteger(10) node with name 'a'",
            "incompatible",
        ),
        ("/a/model.cc:149 Unsupported model IR version: 12, max supported IR version: 10",
         "incompatible"),
        ("INVALID_ARGUMENT : Got invalid dimensions for input: input Got: 2 Expected: 1",
         "incompatible"),
        ("Failed to allocate memory for requested buffer of size 9", "out_of_memory"),
        ("INVALID_ARGUMENT : something else", "failed"),
    ],
)  # fmt: skip
def test_what_the_runtime_refuses_is_told_apart(message: str, kind: str) -> None:
    assert child.kind_of(message) == kind


def an_event(kind: str, dtype: str, us: int, place: int, provider: str = profile.CPU) -> Any:
    args = {"op_name": kind, "provider": provider, "node_index": str(place)}
    args["input_type_shape"] = [{dtype: [1, 3]}]  # type: ignore[assignment]  # as it is written
    return {"cat": "Node", "name": f"n{place}_kernel_time", "dur": us, "args": args}


def test_the_profiler_s_file_says_what_ran(tmp_path: Path) -> None:
    path = tmp_path / "profile.json"
    one = [
        an_event("QuantizeLinear", "float", 3, 0),
        an_event("QLinearConv", "uint8", 10, 1),
        an_event("Conv", "float", 30, 2),
        an_event("EP-subgraph", "float", 5, 3, "OpenVINOExecutionProvider"),
    ]
    path.write_text(json.dumps([{"cat": "Session", "name": "model_run"}, *one, *one]))
    events = profile.read_events(str(path))
    assert profile.ran_of(events) == profile.Ran(1, 4, 4, 2, 1, 1)
    assert profile.operators_of(events, 2) == [
        ["QuantizeLinear", 1, 3], ["QLinearConv", 1, 10], ["Conv", 1, 30],
        ["EP-subgraph (OpenVINO)", 1, 5],
    ]  # fmt: skip


def test_a_suite_that_says_nothing_of_delegates_gets_the_cpu_s_kernels() -> None:
    assert ONNXRUNTIME.levels("delegate")[0] == "none"
    assert "xnnpack" not in ONNXRUNTIME.levels("delegate")
    assert registry.framework_of("onnxruntime").name == "onnx"
