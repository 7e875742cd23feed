"""The parser of benchmark_model's output, against recorded logs and generated lines."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.frameworks.tflite.benchmark_log import (
    MIB,
    PhaseRequest,
    Timings,
    parse_benchmark_log,
    stream,
)
from orchestrator.measurement import Invocations
from tests import runner_cases as cases

EXPECTED = cases.expectations()


@pytest.mark.parametrize("case", sorted(EXPECTED))
def test_every_figure_of_a_log_is_read(case: str) -> None:
    expected = EXPECTED[case]
    log = parse_benchmark_log(*cases.log_text(case))

    assert log.problems == ()
    assert (asdict(log.timings) if log.timings else None) == expected.get("timings")
    stats = [_without_none(asdict(phase.stats)) for phase in log.phases if phase.stats]
    assert stats == [_without_none(phase) for phase in expected["phases"]]
    assert [_triple(p.request) for p in log.phases] == expected.get("requests", [])
    assert log.threads == expected.get("threads", 1 if case == "composed/v1_12" else log.threads)
    assert log.session_init_us == _scaled(expected.get("session_ms"), 1000)
    assert log.model_size_bytes == _scaled(expected.get("size_mb"), 1_000_000)
    _check_memory(log.memory, expected)
    rss = log.memory_status.rss_bytes if log.memory_status else None
    assert rss == _scaled(expected.get("vmrss_mib"), MIB)


def _check_memory(memory: Any, expected: dict[str, Any]) -> None:
    if "memory_mib" not in expected:
        assert memory is None
        return
    init, overall = expected["memory_mib"]
    assert (memory.init_bytes, memory.overall_bytes) == (round(init * MIB), round(overall * MIB))
    assert memory.peak_bytes == _scaled(expected.get("peak_mib"), MIB)


def _without_none(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}


def _triple(request: PhaseRequest | None) -> list[float | None] | None:
    if request is None:
        return None
    return [request.min_runs, request.min_seconds, request.max_seconds]


def _scaled(value: float | None, factor: float) -> Any:
    return None if value is None else pytest.approx(value * factor, abs=0.51)


def test_the_first_phase_is_the_warm_up_and_the_second_the_steady_one() -> None:
    log = parse_benchmark_log(*cases.log_text("recorded/default_fp32"))
    assert log.warmup is not None and log.steady is not None
    assert (log.warmup.count, log.steady.count) == (46, 101)
    assert log.steady.median_us == 9825


def test_the_operator_profile_is_not_taken_for_a_phase() -> None:
    stdout, stderr = cases.log_text("recorded/opprof_fp32")
    assert stdout.count("count=") > 4
    log = parse_benchmark_log(stdout, stderr)
    assert [p.stats.count for p in log.phases if p.stats] == [47, 95]


def test_flags_that_were_not_understood_are_named() -> None:
    log = parse_benchmark_log(*cases.log_text("recorded/err_badflag"))
    assert log.unconsumed_flags == "--no_such_flag=1"


@pytest.mark.parametrize(
    ("case", "seen", "delegated"),
    [
        ("recorded/default_fp32", True, None),
        ("recorded/noxnn_t1_fp32", False, None),
        ("composed/explicit_xnnpack", True, None),
        ("composed/v2_4", True, None),
        ("composed/v2_1", False, None),
        ("composed/all_same", True, 4),
        ("composed/nothing_delegated", True, 0),
    ],
)
def test_delegate_lines(case: str, seen: bool, delegated: int | None) -> None:
    log = parse_benchmark_log(*cases.log_text(case))
    assert log.xnnpack_seen is seen
    assert log.delegated_nodes == delegated


@pytest.mark.parametrize(
    ("case", "flag"),
    [
        ("recorded/noxnn_t1_fp32", False),
        ("recorded/default_fp32", None),
        ("composed/v2_1", False),
        ("composed/explicit_xnnpack", True),
    ],
)
def test_the_xnnpack_flag_as_the_tool_understood_it(case: str, flag: bool | None) -> None:
    assert parse_benchmark_log(*cases.log_text(case)).use_xnnpack is flag


@pytest.mark.parametrize(
    ("size_bytes", "agrees"),
    [
        (16_862_748, True),
        (16_862_651, True),
        (16_862_749, True),
        (16_862_800, False),
        (4_144, False),
    ],
)
def test_sizes_agree_within_six_digits(size_bytes: int, agrees: bool) -> None:
    log = parse_benchmark_log(*cases.log_text("recorded/t1_fp32"))
    assert log.size_agrees(size_bytes) is agrees


@pytest.mark.parametrize(
    "line",
    [
        "count=50 first=1 curr=1 min=1 max=2 avg=nan std=0",
        "count=50 first=1 curr=1 min=1 max=2 avg=inf std=0",
        "count=50 first=1 curr=1 min=1 max=2 avg=-3 std=0",
        "count=50 first=1 curr=1 min=1 max=2 avg=1e400 std=0",
        "count=50 first=1 curr=1 min=1 m",  # cut in the middle
        "count=50",
        "count=50 curr=7",  # many inferences, one value, and not "(all same)"
        "count=" + "9" * 5000,
        "count=-1",
        "Inference timings in us: Init: 1, First inference: 2, Warmup (avg): 3",
        "The input model file size (MB): nan",
        "Memory footprint delta from the start of the tool (MB): init=4.2",
        "Running benchmark for at least five iterations",
    ],
)
def test_what_looks_like_a_figure_and_is_none_is_a_problem_with_its_place(line: str) -> None:
    log = parse_benchmark_log(f"INFO: STARTING!\nINFO: {line}\n")
    assert len(log.problems) == 1
    assert log.problems[0].startswith("stdout line 2: ")


def test_a_second_closing_line_is_a_problem() -> None:
    stdout, _ = cases.log_text("recorded/t1_fp32")
    assert any("second time" in problem for problem in parse_benchmark_log(stdout * 2).problems)


def test_a_cut_in_the_middle_of_the_output_keeps_no_half_number() -> None:
    stdout, _ = cases.log_text("recorded/t1_fp32")
    head = stdout[: stdout.index("avg=10143.7") + len("avg=101")]
    log = parse_benchmark_log(f"{head}\n[... 99 bytes left out ...]\n")
    assert log.steady is None and log.problems


# -- generated ------------------------------------------------------------------------------------

_NOISE = st.sampled_from(
    ["INFO: ", "count=", " curr=", "(all same)", "p5=", "avg=", "1e", "+06", "nan", "-", ": [", "]",
     "Inference timings in us: ", "Init: ", "Initialized session in ", "ms.", "Memory footprint "
     "delta from the start of the tool (MB): init=", " overall=", "\n", "Replacing ", " out of "]
)  # fmt: skip


@given(st.one_of(st.text(), st.lists(st.one_of(_NOISE, st.text(max_size=4))).map("".join)))
def test_the_parser_never_raises(text: str) -> None:
    parse_benchmark_log(text, text)


@given(st.lists(st.tuples(st.integers(0, 30_000), st.integers(0, 30_000)), max_size=3))
def test_the_parser_never_raises_on_a_damaged_log(cuts: list[tuple[int, int]]) -> None:
    stdout, stderr = cases.log_text("recorded/opprof_fp32")
    for start, length in cuts:
        stdout = stdout[:start] + stdout[start + length :]
    parse_benchmark_log(stdout, stderr)


def _rounded(low: float, high: float) -> st.SearchStrategy[float]:
    """Values as they are after a C++ stream has printed them."""
    return st.floats(low, high).map(lambda value: float(stream(value)))


_TIME = st.one_of(st.integers(0, 10**9).map(float), _rounded(0, 1e9))


def _printed(value: float, style: str) -> str:
    """The three ways a stream may print a number: integer, general, scientific."""
    if style == "integer" and value == int(value):
        return str(int(value))
    return f"{value:.17e}" if style == "scientific" else repr(value)


@st.composite
def _phases(draw: st.DrawFn) -> Invocations:
    count = draw(st.integers(2, 10**7))
    five = [draw(_TIME) for _ in range(5)]
    percentiles = [draw(_TIME) for _ in range(3)] if draw(st.booleans()) else [None] * 3
    return Invocations(count, *five, *percentiles)


@settings(max_examples=200)
@given(
    warmup=_phases(),
    steady=_phases(),
    init=_TIME,
    prefix=st.sampled_from(["", "INFO: "]),
    style=st.sampled_from(["integer", "general", "scientific"]),
)
def test_figures_come_back_in_any_number_format(
    warmup: Invocations, steady: Invocations, init: float, prefix: str, style: str
) -> None:
    assert warmup.mean_us is not None and warmup.first_us is not None
    assert steady.mean_us is not None
    closing = Timings(init, warmup.first_us, warmup.mean_us, steady.mean_us)
    values = [_printed(value, style) for value in asdict(closing).values()]
    lines = [
        _count_line(warmup, style),
        "",
        _count_line(steady, style),
        "Inference timings in us: Init: {}, First inference: {}, Warmup (avg): {}, "
        "Inference (avg): {}".format(*values),
    ]
    log = parse_benchmark_log("\n".join(prefix + line for line in lines))

    assert log.problems == ()
    assert (log.warmup, log.steady, log.timings) == (warmup, steady, closing)


def _count_line(stats: Invocations, style: str) -> str:
    values = {
        "first": stats.first_us,
        "curr": 7.0,
        "min": stats.min_us,
        "max": stats.max_us,
        "avg": stats.mean_us,
        "std": stats.std_us,
        "p5": stats.p5_us,
        "median": stats.median_us,
        "p95": stats.p95_us,
    }
    printed = [f"{k}={_printed(v, style)}" for k, v in values.items() if v is not None]
    return f"count={stats.count} " + " ".join(printed)


@given(st.integers(1, 10**6 * 4000))
def test_a_size_agrees_with_what_the_tool_prints_of_it(size_bytes: int) -> None:
    log = parse_benchmark_log(f"The input model file size (MB): {stream(size_bytes / 1e6)}")
    assert log.size_agrees(size_bytes)
    assert not log.size_agrees(size_bytes * 2)


def test_the_operators_of_a_profile_are_those_of_the_regular_runs_by_kind() -> None:
    log = parse_benchmark_log(*cases.log_text("recorded/opprof_fp32"))
    assert log.problems == ()
    assert [(o.kind, o.count, o.us) for o in log.operators[:3]] == [
        ("Fully Connected (NC, F32) GEMM", 14, 9052.0),
        ("Convolution (NHWC, F32) DWConv", 13, 1001.0),
        ("Convolution (NHWC, F32) IGEMM", 1, 279.0),
    ]
    assert len(log.operators) == 9, "initialisation's are not among them"
    assert log.steady is not None and log.steady.mean_us is not None
    assert sum(o.us for o in log.operators) == pytest.approx(log.steady.mean_us, rel=0.02)


def test_an_operator_that_cannot_be_read_is_a_problem_with_its_place() -> None:
    stdout, stderr = cases.log_text("recorded/opprof_fp32")
    log = parse_benchmark_log(stdout.replace("     9.052", "       nan"), stderr)
    assert len(log.problems) == 1 and "nan" in log.problems[0]
    assert len(log.operators) == 8


def test_a_profile_without_end_is_a_problem_and_not_kept() -> None:
    stdout, stderr = cases.log_text("recorded/opprof_fp32")
    (line,) = [text for text in stdout.splitlines() if text.endswith("0.000\t       14")][-1:]
    log = parse_benchmark_log(stdout.replace(line, "\n".join([line] * 3000)), stderr)
    assert len(log.operators) == 1000 and "more than any profile has" in log.problems[0]
