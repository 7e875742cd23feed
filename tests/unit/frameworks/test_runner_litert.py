"""The Python child: its command line, and the outcome of everything it may print."""

from __future__ import annotations

import json
import math
import statistics
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrate_agent.children import litert as child
from orchestrate_agent.children import measuring
from orchestrator.errors import UsageError
from orchestrator.frameworks.parts import runner_for, runner_named
from orchestrator.frameworks.reading import child_output
from orchestrator.frameworks.registry import runner
from orchestrator.frameworks.runner import Reading
from orchestrator.measurement import Outcome
from orchestrator.trial import Trial, TrialKind
from tests import runner_cases as cases

RUNNER = runner_named("litert")
XNNPACK = "INFO: Created TensorFlow Lite XNNPACK delegate for CPU.\n"


def result(**changes: Any) -> dict[str, Any]:
    """A result line's object, as the child prints it."""
    point = {"rss_bytes": 40_000_000, "source": "VmHWM"}
    return {
        "schema": 1,
        "runtime": "ai-edge-litert",
        "runtime_version": "2.3.0",
        "python": "3.11.7",
        "threads": 1,
        "batch": 1,
        "delegate": "xnnpack",
        "delegated_nodes": 5,
        "total_nodes": 5,
        "model_size_bytes": 5856,
        "inputs": [{"name": "x", "shape": [1, 16, 16, 3], "dtype": "float32"}],
        "init_us": 985.099,
        "warmup_us": [67.0, 13.5, 12.5, 12.25, 12.0],
        "steady_us": [11.0 + i * 7 % 30 for i in range(30)],
        "memory": {
            "start": {**point, "peak_bytes": 40_000_000},
            "init": {**point, "peak_bytes": 43_000_000},
            "end": {**point, "peak_bytes": 44_500_000},
        },
        **changes,
    }


def said(data: object, *, stage: str = "report") -> str:
    return f"@orchestrate-stage {stage}\n@orchestrate-result {json.dumps(data)}\n"


def a_trial(**changes: Any) -> Trial:
    return cases.a_trial(**{"runner": "litert", "runtime": "any", **changes})


def read(
    stdout: str,
    stderr: str = XNNPACK,
    *,
    trial: Trial | None = None,
    size: int = 5856,
    **ended: Any,
) -> Reading:
    evidence = cases.evidence(stdout, stderr, **ended)
    return RUNNER.read(trial or a_trial(), cases.SETTINGS, cases.files(size=size), evidence)


def codes(reading: Reading) -> dict[str, bool]:
    return {finding.code: finding.forbids for finding in reading.findings}


def test_the_command_is_one_the_child_understands() -> None:
    trial = a_trial(kind=TrialKind.MEMORY, batch=4, threads=2, delegate="none")
    command = RUNNER.command(trial, cases.SETTINGS, cases.files(python="/opt/py/bin/python"))
    assert command.argv[:3] == ("/opt/py/bin/python", "{agent}", "litert")
    assert command.blobs == (cases.MODEL_SHA,)
    args = child._parser().parse_args(command.argv[3:])
    assert args.model == f"{{blob:{cases.MODEL_SHA}}}"
    assert (args.threads, args.batch, args.delegate, args.runtime) == (2, 4, "none", "any")
    assert args.memory and args.steady_runs < 30 and args.max_seconds == 300


def test_a_timing_trial_asks_for_what_the_suite_says() -> None:
    command = RUNNER.command(a_trial(), cases.SETTINGS, cases.files())
    args = child._parser().parse_args(command.argv[3:])
    assert (args.warmup_runs, args.warmup_seconds) == (5, 0.5)
    assert (args.steady_runs, args.steady_seconds, args.memory) == (30, 1.0, False)


@pytest.mark.parametrize("changes", [{"runtime": "onnx"}, {"delegate": "gpu"}, {"isa": "pentium"}])
def test_what_the_child_cannot_do_is_refused(changes: dict[str, str]) -> None:
    with pytest.raises(UsageError, match=next(iter(changes.values()))):
        RUNNER.command(a_trial(**changes), cases.SETTINGS, cases.files())


def test_the_names_of_runtimes_are_those_of_the_child() -> None:
    assert tuple(child.RUNTIMES) == runner("litert").runtimes


def test_a_pinned_runtime_is_run_on_its_bundle_alone() -> None:
    files = replace(cases.files(), site_sha256="5" * 64)
    trial = a_trial(runtime="tflite-runtime==2.14.0")
    command = RUNNER.command(trial, cases.SETTINGS, files)
    assert command.argv[1:4] == ("-I", "-S", "{agent}")
    assert command.blobs == (files.model_sha256, "5" * 64)
    args = child._parser().parse_args(command.argv[5:])
    assert (args.runtime, args.site) == ("tflite-runtime", "{site:" + "5" * 64 + "}")


@pytest.mark.parametrize(
    ("asked", "version", "bundled", "words"),
    [
        ("ai-edge-litert==2.3.0", "2.3.0", True, None),
        ("ai-edge-litert==2.3", "2.3.0", True, None),
        ("ai-edge-litert==2.2.0", "2.3.0", True, "loaded version 2.3.0 of ai-edge-litert, not"),
        ("ai-edge-litert==2.3.0", None, True, "loaded version None"),
        ("ai-edge-litert==2.3.0", "2.3.0", False, "from the device"),
        ("any", "2.3.0", True, None),
        ("any", "2.3.0", False, "from the device"),
    ],
)
def test_what_was_loaded_is_held_against_what_was_pinned(
    asked: str, version: str | None, bundled: bool, words: str | None
) -> None:
    files = replace(cases.files(), site_sha256="5" * 64)
    stdout = said(result(runtime_version=version, bundled=bundled))
    evidence = cases.evidence(stdout=stdout, stderr=XNNPACK)
    reading = RUNNER.read(a_trial(runtime=asked), cases.SETTINGS, files, evidence)
    if words is None:
        assert reading.outcome is Outcome.OK and reading.measurement is not None
        assert reading.measurement.runtime_from == "bundle"
    else:
        assert reading.outcome is Outcome.FAILED
        assert words in (reading.reason or "")


def test_a_good_result_is_a_measurement() -> None:
    reading = read(said(result()))
    assert reading.outcome is Outcome.OK and reading.measurement is not None
    got = reading.measurement
    assert (got.init_us, got.first_us, got.model_size_bytes) == (985.099, 67.0, 5856)
    assert got.memory is not None
    assert (got.memory.init_bytes, got.memory.overall_bytes) == (3_000_000, 4_500_000)
    assert got.memory.peak_bytes == 44_500_000
    assert got.delegation is not None
    assert (got.delegation.delegated_nodes, got.delegation.total_nodes) == (5, 5)
    assert (got.runtime_name, got.runtime_version) == ("ai-edge-litert", "2.3.0")
    assert reading.findings == ()


# From the tool's source (percentile p of n is element ⌊n·p/100⌋ of the sorted values), and as the
# recorded logs show: count=2 prints its larger value as the median, count=8 its largest as p95.
@pytest.mark.parametrize(
    ("times", "p5", "median", "p95"),
    [
        ([10190.0, 9841.0], 9841, 10190, 10190),
        ([5.0], 5, 5, 5),
        ([3.0, 1.0, 2.0], 1, 2, 3),
        ([float(i) for i in range(100)], 5, 50, 95),
        ([float(i) for i in range(8)], 0, 4, 7),
    ],
)
def test_percentiles_are_those_of_the_tool(
    times: list[float], p5: float, median: float, p95: float
) -> None:
    got = child_output.statistics_of(times)
    assert (got.p5_us, got.median_us, got.p95_us) == (p5, median, p95)


@given(st.lists(st.floats(0, 1e9), min_size=1, max_size=50))
def test_the_other_statistics_are_the_textbook_ones(times: list[float]) -> None:
    got = child_output.statistics_of(times)
    assert (got.count, got.first_us) == (len(times), times[0])
    assert (got.min_us, got.max_us) == (min(times), max(times))
    assert got.mean_us == pytest.approx(statistics.fmean(times))
    assert got.std_us == pytest.approx(statistics.pstdev(times), abs=1e-6)


# -- findings -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "stderr", "expected"),
    [
        ({"steady_us": [1.0] * 29}, XNNPACK, {"truncated": False}),
        ({"warmup_us": [1.0] * 4}, XNNPACK, {"short_warmup": False}),
        ({"warmup_us": []}, XNNPACK, {"short_warmup": False}),
        ({"model_size_bytes": 5855}, XNNPACK, {"wrong_file": True}),
        ({"threads": 2}, XNNPACK, {"wrong_threads": True}),
        ({"delegated_nodes": None, "total_nodes": None}, "", {"delegate_mismatch": True}),
        ({"delegated_nodes": None, "total_nodes": None}, XNNPACK, {}),
        ({}, "", {}),  # the nodes say that XNNPACK was there
        ({"delegated_nodes": 0}, "", {"nothing_delegated": False}),
        ({"delegated_nodes": 0}, XNNPACK, {"nothing_delegated": False}),
    ],
)
def test_findings(changes: dict[str, Any], stderr: str, expected: dict[str, bool]) -> None:
    reading = read(said(result(**changes)), stderr)
    assert reading.outcome is Outcome.OK, reading.reason
    assert codes(reading) == expected


@pytest.mark.parametrize(
    ("nodes", "stderr", "expected"),
    [
        (0, "", {}),
        (5, "", {"delegate_mismatch": True}),
        (None, XNNPACK, {"delegate_mismatch": True}),
    ],
)
def test_a_delegate_that_was_not_asked_for(nodes: int | None, stderr: str, expected: Any) -> None:
    data = result(delegate="none", delegated_nodes=nodes)
    assert codes(read(said(data), stderr, trial=a_trial(delegate="none"))) == expected


def test_a_peak_that_does_not_move_is_no_measurement_of_memory() -> None:
    still = {"peak_bytes": 600_000_000}
    reading = read(said(result(memory={"start": still, "init": still, "end": still})))
    assert reading.measurement is not None and reading.measurement.memory is None
    assert codes(reading) == {"memory_zero": False}


#: What runtimes say since 2.5: tflite-runtime 2.14.0, ai-edge-litert 1.4.0, 2.1.0 and 2.3.0.
FLEX = (
    "cannot load the model: Select TensorFlow op(s), included in the given model, is(are) not "
    "supported by this interpreter. Make sure you apply/link the Flex delegate before inference. "
    'For the Android, it can be resolved by adding "org.tensorflow:tensorflow-lite-select-tf-ops" '
    "dependency. See instructions: https://www.tensorflow.org/lite/guide/ops_selectNode number 1 "
    "(FlexMatrixInverse) failed to prepare."
)


# -- bad endings ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "message", "outcome", "words"),
    [
        (
            "incompatible",
            "Didn't find op for builtin opcode 'CONV_2D' version '6'.",
            Outcome.INCOMPATIBLE,
            "op CONV_2D version 6",
        ),
        (
            "incompatible",
            "Regular TensorFlow ops are not supported by this interpreter. Make sure you apply/"
            "link the Flex delegate before inference.Node number 0 (FlexErf) failed to prepare.",
            Outcome.INCOMPATIBLE,
            "operator Erf (FlexErf)",
        ),
        ("incompatible", FLEX, Outcome.INCOMPATIBLE, "operator MatrixInverse (FlexMatrixInverse)"),
        ("incompatible", FLEX, Outcome.INCOMPATIBLE, "TFLITE_BUILTINS alone"),
        (
            "incompatible",
            "failed to delegate FULLY_CONNECTED node #1Node number 6 (TfLiteXNNPackDelegate) "
            "failed to prepare.",
            Outcome.INCOMPATIBLE,
            "takes operator FULLY_CONNECTED and cannot compute it as this file holds it",
        ),
        ("incompatible", "something new", Outcome.INCOMPATIBLE, "something new"),
        ("invalid_model", "no TFL3 mark", Outcome.FAILED, "invalid model: no TFL3 mark"),
        ("no_runtime", "install one", Outcome.FAILED, "no runtime: install one"),
        ("out_of_memory", "bad_alloc", Outcome.FAILED, "out of memory: bad_alloc"),
        ("failed", "an inference failed", Outcome.FAILED, "an inference failed"),
    ],
)
def test_errors_of_the_child(kind: str, message: str, outcome: Outcome, words: str) -> None:
    line = f"@orchestrate-error {json.dumps({'kind': kind, 'message': message})}\n"
    reading = read(line, exit_code=3)
    assert reading.outcome is outcome
    assert reading.reason is not None and words in reading.reason


def test_a_child_that_dies_without_its_error_line_is_quoted() -> None:
    reading = read("", "Traceback …\nTypeError: unexpected keyword 'num_threads'\n", exit_code=1)
    assert reading.outcome is Outcome.FAILED
    assert reading.reason is not None and "TypeError: unexpected keyword" in reading.reason


def test_a_signal_says_at_which_stage() -> None:
    reading = read("@orchestrate-stage load\n", "", signal_number=11)
    assert reading.outcome is Outcome.KILLED
    assert (
        reading.reason is not None
        and "(signal 11) while loading the model; the file" in reading.reason
    )


def test_a_timeout_says_at_which_stage() -> None:
    stages = "@orchestrate-stage load\n@orchestrate-stage warmup\n"
    reading = read(stages, "", signal_number=9, timed_out=True)
    assert reading.outcome is Outcome.TIMEOUT
    assert reading.reason is not None and "in the warm-up phase" in reading.reason


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"schema": 2}, "schema 2"),
        ({"schema": True}, "schema"),
        ({"runtime": ""}, "runtime"),
        ({"runtime_version": 2.3}, "runtime_version"),
        ({"init_us": -1.0}, "init_us"),
        ({"init_us": None}, "init_us"),
        ({"init_us": 10**400}, "init_us"),
        ({"steady_us": []}, "no inference ran"),
        ({"steady_us": [1.0, "2.0"]}, "steady_us"),
        ({"steady_us": [True]}, "steady_us"),
        ({"steady_us": 5}, "steady_us is not a list"),
        ({"warmup_us": None}, "warmup_us"),
        ({"model_size_bytes": 1.5}, "model_size_bytes"),
        ({"delegated_nodes": 6}, "6 nodes are delegated of 5"),
        ({"memory": []}, "memory"),
        ({"memory": {"start": {"peak_bytes": 1}}}, "init"),
        ({"batch": 2}, "batch 2"),
        ({"delegate": "none"}, "delegate 'none'"),
    ],
)
def test_nonsense_in_a_result_fails_with_its_place(changes: dict[str, Any], words: str) -> None:
    reading = read(said(result(**changes)))
    assert reading.outcome is Outcome.FAILED
    assert reading.reason is not None and words in reading.reason


def test_a_shrinking_peak_is_nonsense() -> None:
    memory = {n: {"peak_bytes": p} for n, p in (("start", 9), ("init", 8), ("end", 9))}
    assert read(said(result(memory=memory))).outcome is Outcome.FAILED


@pytest.mark.parametrize(
    ("source", "launch", "told"),
    [
        ("VmHWM", "direct", True),
        ("ru_maxrss", "forked", True),
        ("ru_maxrss", None, True),
        ("ru_maxrss", "direct", False),
    ],
)
def test_a_peak_that_began_with_the_agents_is_left_out(
    source: str, launch: str | None, told: bool
) -> None:
    memory = {name: {**point, "source": source} for name, point in result()["memory"].items()}
    evidence = replace(cases.evidence(said(result(memory=memory)), XNNPACK), launch=launch)
    reading = RUNNER.read(a_trial(), cases.SETTINGS, cases.files(size=5856), evidence)
    assert reading.measurement is not None
    assert (reading.measurement.memory is not None) == told
    assert ("memory_inherited" in {f.code for f in reading.findings}) != told


def test_another_runtime_than_the_one_named_is_a_failure() -> None:
    reading = read(said(result()), trial=a_trial(runtime="tflite-runtime"))
    assert reading.outcome is Outcome.FAILED
    assert reading.reason is not None and "'tflite-runtime'" in reading.reason


@pytest.mark.parametrize(
    "stdout",
    [
        "",
        "hello\n",
        "@orchestrate-result \n",
        "@orchestrate-result 7\n",
        "@orchestrate-result {\n",
        '@orchestrate-result {"init_us": NaN}\n',
        "@orchestrate-result " + "[" * 100_000 + "\n",
        "@orchestrate-result " + "9" * 10_000 + "\n",
        said(result()) * 2,
    ],
    ids=range(9),
)
def test_exit_0_without_a_result_is_a_failure(stdout: str) -> None:
    reading = read(stdout)
    assert reading.outcome is Outcome.FAILED
    assert reading.reason is not None and "@orchestrate-result" in reading.reason


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)


@given(name=st.sampled_from(sorted(result())), value=_JSON)
def test_reading_never_raises_on_a_changed_field(name: str, value: object) -> None:
    reading = read(said(result(**{name: value})))
    if reading.measurement is not None:
        assert math.isfinite(reading.measurement.init_us or 0)


@given(stdout=st.text(), exit_code=st.integers(0, 4))
def test_reading_never_raises_on_text(stdout: str, exit_code: int) -> None:
    assert read(stdout, exit_code=exit_code).outcome is not Outcome.OK


@given(
    runs=st.integers(0, 20),
    seconds=st.sampled_from([0.0, 0.001]),
    limit=st.sampled_from([0.0, 10.0]),
)
def test_a_phase_ends_by_the_rules_of_the_tool(runs: int, seconds: float, limit: float) -> None:
    calls: list[str] = []
    phase = measuring.Phase(runs, seconds, limit)
    phase.run(lambda: calls.append("invoke"), lambda: calls.append("fill"))
    assert calls == ["fill", "invoke"] * phase.count
    assert len(phase.times_us()) == phase.count
    if limit:
        assert phase.count >= runs and (phase.count > 0 or not seconds)
    else:
        assert phase.count <= max(runs, 1)


def test_a_bundle_is_capped_like_any_other() -> None:
    files = replace(cases.files(), site_sha256="5" * 64, cap_sha256="c" * 64)
    trial = a_trial(runtime="ai-edge-litert==2.3.0", isa="haswell")
    command = runner_for(trial).command(trial, cases.SETTINGS, files)
    assert command.blobs == (files.model_sha256, "5" * 64, "c" * 64)
    assert command.env["LD_PRELOAD"] == "{blob:" + "c" * 64 + "}"
    assert command.argv[1:6] == ("-I", "-S", "{agent}", "litert", "--site")


def test_the_childs_peak_never_shrinks(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel's counters lag, so that a later VmHWM may be some pages smaller."""
    told = iter([{"VmRSS": 5, "VmHWM": 114_606_080}, {"VmRSS": 4, "VmHWM": 114_532_352}])
    monkeypatch.setattr(measuring, "_status", lambda: next(told))
    before = measuring.memory_now()
    after = measuring.memory_now(before)
    assert (after["rss_bytes"], after["peak_bytes"]) == (4, before["peak_bytes"])
