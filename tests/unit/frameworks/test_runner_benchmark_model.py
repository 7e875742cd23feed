"""The official binary: its command line, and the outcome of everything it may print."""

from __future__ import annotations

import sys
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.errors import UsageError
from orchestrator.frameworks.parts import runner_named
from orchestrator.frameworks.runner import Evidence, Files, Reading
from orchestrator.measurement import Outcome
from orchestrator.trial import PhaseSettings, RunSettings, Trial, TrialKind
from tests import runner_cases as cases

RUNNER = runner_named("benchmark_model")
#: What most logs were recorded with: the tool's defaults.
RECORDED = RunSettings(PhaseSettings(1, 0.5), PhaseSettings(50, 1.0), timeout_s=150.0)


def read(
    evidence: Evidence,
    *,
    settings: RunSettings = RECORDED,
    kind: TrialKind = TrialKind.TIMING,
    delegate: str = "xnnpack",
    threads: int = 1,
    size: int = cases.FP32_SIZE,
) -> Reading:
    trial = cases.a_trial(kind=kind, delegate=delegate, threads=threads)
    return RUNNER.read(trial, settings, cases.files(size=size), evidence)


def _replay(case: str) -> list[str]:
    return [sys.executable, str(cases.LOGS / "replay.py"), case]


def codes(reading: Reading) -> dict[str, bool]:
    return {finding.code: finding.forbids for finding in reading.findings}


# -- the command line -----------------------------------------------------------------------------


def test_every_flag_is_given_once_with_an_equals_sign() -> None:
    command = RUNNER.command(cases.a_trial(threads=4), cases.SETTINGS, cases.files())
    assert command.argv == (
        f"{{exe:{cases.BINARY_SHA}}}",
        f"--graph={{blob:{cases.MODEL_SHA}}}",
        "--num_threads=4",
        "--warmup_runs=5",
        "--warmup_min_secs=0.5",
        "--num_runs=30",
        "--min_secs=1",
        "--max_secs=300",
        "--use_xnnpack=true",
    )
    assert set(command.blobs) == {cases.BINARY_SHA, cases.MODEL_SHA}


def test_xnnpack_is_refused_in_so_many_words() -> None:
    command = RUNNER.command(cases.a_trial(delegate="none"), cases.SETTINGS, cases.files())
    assert "--use_xnnpack=false" in command.argv


def test_a_memory_trial_watches_the_peak_and_runs_little() -> None:
    trial = cases.a_trial(kind=TrialKind.MEMORY)
    argv = RUNNER.command(trial, cases.SETTINGS, cases.files()).argv
    assert "--report_peak_memory_footprint=true" in argv
    assert {"--num_runs=5", "--min_secs=0", "--warmup_min_secs=0"} <= set(argv)


@pytest.mark.parametrize("timeout_s", [0.5, 150.2, 100_000.0])
def test_max_secs_never_strikes_before_our_timeout(timeout_s: float) -> None:
    settings = RunSettings(PhaseSettings(5, 0.5), PhaseSettings(30, 1), timeout_s)
    argv = RUNNER.command(cases.a_trial(), settings, cases.files()).argv
    (flag,) = [word for word in argv if word.startswith("--max_secs=")]
    assert float(flag.partition("=")[2]) >= timeout_s


@pytest.mark.parametrize(
    ("trial", "files", "words"),
    [
        (cases.a_trial(batch=8), cases.files(), "runner: litert"),
        (cases.a_trial(delegate="gpu"), cases.files(), "delegate 'gpu'"),
        (cases.a_trial(isa="pentium"), cases.files(), "isa 'pentium' is not known"),
        (cases.a_trial(threads=0), cases.files(), "at least 1"),
        (cases.a_trial(), cases.files(binary=None), "no benchmark_model binary"),
    ],
)
def test_what_the_tool_cannot_do_is_refused(trial: Trial, files: Files, words: str) -> None:
    with pytest.raises(UsageError) as raised:
        RUNNER.command(trial, cases.SETTINGS, files)
    assert words in str(raised.value)


# -- good endings ---------------------------------------------------------------------------------


def test_a_good_log_is_a_measurement_in_our_units() -> None:
    reading = read(cases.recorded("recorded/t1_fp32"))
    assert reading.outcome is Outcome.OK and reading.measurement is not None
    got = reading.measurement
    assert (got.init_us, got.first_us) == (15784, 15862)
    assert got.warmup is not None and got.warmup.count == 49
    assert (got.timing.count, got.timing.median_us, got.timing.mean_us) == (98, 9998, 10143.7)
    assert got.memory is not None and got.memory.init_bytes == round(42.7695 * 2**20)
    assert got.model_size_bytes == 16_862_700
    assert (got.runtime_name, got.runtime_version) == ("benchmark_model", "b" * 12)
    assert reading.findings == ()


@pytest.mark.parametrize(
    ("case", "delegate", "size"),
    [
        ("recorded/default_fp16", "xnnpack", 8_442_560),
        ("recorded/default_fp32", "xnnpack", cases.FP32_SIZE),
        ("recorded/default_drq_int8", "xnnpack", 4_382_896),
        ("recorded/noxnn_t1_fp32", "none", cases.FP32_SIZE),
        ("recorded/opprof_fp32", "xnnpack", cases.FP32_SIZE),
        ("recorded/peakmem_fp32", "xnnpack", cases.FP32_SIZE),
        ("recorded/t1_full_int8", "xnnpack", 4_525_928),
        ("composed/explicit_xnnpack", "xnnpack", cases.FP32_SIZE),
    ],
)
def test_good_logs_are_ok_without_findings(case: str, delegate: str, size: int) -> None:
    reading = read(cases.recorded(case), delegate=delegate, size=size)
    assert reading.outcome is Outcome.OK, reading.reason
    assert reading.findings == ()


def test_figures_of_a_slow_model_survive_the_scientific_notation() -> None:
    settings = RunSettings(PhaseSettings(1, 0), PhaseSettings(3, 0), 150)
    reading = read(cases.recorded("recorded/slow_sci"), delegate="none", settings=settings)
    assert reading.measurement is not None
    assert reading.measurement.timing.mean_us == 1_392_180
    assert codes(reading) == {"short_warmup": False}


def test_without_warm_up_the_first_inference_is_that_of_the_steady_phase() -> None:
    reading = read(cases.recorded("recorded/warmup0"))
    assert reading.measurement is not None
    assert reading.measurement.first_us == 11326  # the closing line says 0
    assert codes(reading) == {"short_warmup": False}


def test_old_formats_give_what_they_hold() -> None:
    reading = read(cases.recorded("composed/v2_4"), size=102_162_000)
    assert reading.measurement is not None
    assert reading.measurement.timing.mean_us == 266473
    assert reading.measurement.timing.median_us is None
    assert reading.measurement.timing.centre_us == 266473


def test_the_process_is_replayed_and_its_flags_are_all_known() -> None:
    trial = cases.a_trial(kind=TrialKind.MEMORY)
    command = RUNNER.command(trial, RECORDED, cases.files())
    argv = [*_replay("recorded/peakmem_fp32"), *command.argv[1:]]
    reading = RUNNER.read(trial, RECORDED, cases.files(), cases.run_argv(argv))
    assert reading.outcome is Outcome.OK, reading.reason
    assert reading.measurement is not None and reading.measurement.memory is not None
    assert reading.measurement.memory.peak_bytes == round(50.8789 * 2**20)


def test_a_replayed_process_that_died_by_signal_is_killed() -> None:
    reading = read(cases.run_argv(_replay("recorded/sigterm")))
    assert reading.outcome is Outcome.KILLED
    assert reading.reason is not None and "SIGTERM" in reading.reason
    assert "in the steady phase" in reading.reason


# -- findings -------------------------------------------------------------------------------------


def test_fewer_runs_than_asked_for_are_truncated() -> None:
    settings = RunSettings(PhaseSettings(1, 0.5), PhaseSettings(99, 1.0), 150)
    assert codes(read(cases.recorded("recorded/t1_fp32"), settings=settings)) == {
        "truncated": False
    }


def test_a_memory_trial_is_held_to_its_own_few_runs() -> None:
    settings = RunSettings(PhaseSettings(60, 0.5), PhaseSettings(500, 1.0), 150)
    evidence = cases.recorded("recorded/peakmem_fp32")
    assert codes(read(evidence, settings=settings, kind=TrialKind.MEMORY)) == {}


def test_memory_that_began_with_the_agents_peak_is_left_out() -> None:
    reading = read(replace(cases.recorded("recorded/t1_fp32"), launch="direct"))
    assert reading.measurement is not None
    assert reading.measurement.memory is None
    assert codes(reading) == {"memory_inherited": False}


def test_memory_inherited_from_the_starter_is_left_out() -> None:
    reading = read(cases.recorded("composed/all_same"), size=5856)
    assert reading.measurement is not None
    assert reading.measurement.memory is None
    assert codes(reading) == {"memory_zero": False, "truncated": False}
    assert reading.measurement.delegation is not None
    assert reading.measurement.delegation.delegated_nodes == 4


def test_another_file_than_the_artifact_forbids_the_comparison() -> None:
    reading = read(cases.recorded("recorded/t1_fp32"), size=4_382_896)
    assert codes(reading) == {"wrong_file": True}


@pytest.mark.parametrize(
    ("case", "asked"),
    [("recorded/noxnn_t1_fp32", "xnnpack"), ("recorded/t1_fp32", "none")],
)
def test_another_delegate_than_asked_for_forbids_the_comparison(case: str, asked: str) -> None:
    assert codes(read(cases.recorded(case), delegate=asked)) == {"delegate_mismatch": True}


def test_a_delegate_that_takes_nothing_is_remarked() -> None:
    reading = read(cases.recorded("composed/nothing_delegated"), size=5856)
    assert codes(reading) == {"nothing_delegated": False, "truncated": False}


def test_other_threads_than_asked_for_forbid_the_comparison() -> None:
    assert codes(read(cases.recorded("recorded/t1_fp32"), threads=4)) == {"wrong_threads": True}


def test_capped_output_is_remarked() -> None:
    stdout, stderr = cases.log_text("recorded/t1_fp32")
    reading = read(cases.evidence(stdout, stderr, stdout_bytes=9_000_000))
    assert codes(reading) == {"output_capped": False}


def test_every_finding_has_a_remedy() -> None:
    reading = read(cases.recorded("composed/all_same"), size=1, delegate="none", threads=2)
    assert len(reading.findings) == 5
    assert all(finding.message and finding.remedy for finding in reading.findings)


# -- bad endings ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("case", "outcome", "words"),
    [
        ("recorded/dry_run", Outcome.FAILED, "no inference ran in the steady phase"),
        ("recorded/num_runs0_min0", Outcome.FAILED, "no inference ran in the steady phase"),
        ("recorded/err_badflag", Outcome.FAILED, "--no_such_flag=1"),
        ("recorded/err_badvalue_bool", Outcome.FAILED, "Failed to parse flag 'use_xnnpack'"),
        ("recorded/err_custom_op", Outcome.INCOMPATIBLE, "op Zeta"),
        ("composed/op_version", Outcome.INCOMPATIBLE, "op FULLY_CONNECTED version 12"),
        ("recorded/err_missing", Outcome.FAILED, "Could not open"),
        ("recorded/err_truncated", Outcome.FAILED, "not a valid Flatbuffer"),
        ("recorded/full_deleg_noxnn", Outcome.FAILED, "Disallowed CPU fallback"),
        ("recorded/sigterm", Outcome.KILLED, "SIGTERM (signal 15) in the steady phase"),
    ],
)
def test_bad_logs_have_one_outcome_and_the_reason_in_it(
    case: str, outcome: Outcome, words: str
) -> None:
    reading = read(cases.recorded(case))
    assert reading.outcome is outcome
    assert reading.reason is not None and words in reading.reason


def test_success_without_a_word_is_a_failure() -> None:
    reading = read(cases.evidence(exit_code=0))
    assert reading.outcome is Outcome.FAILED
    assert reading.reason is not None and "Inference timings in us" in reading.reason


def test_an_unexpected_build_that_drops_a_flag_is_a_failure() -> None:
    argv = [*_replay("recorded/t1_fp32"), "--use_xnnpack=true", "--result_file=x"]
    reading = read(cases.run_argv(argv))
    assert reading.outcome is Outcome.FAILED
    assert reading.reason is not None and "--result_file=x" in reading.reason


@pytest.mark.parametrize("exit_code", [0, 1])
def test_a_failing_operator_is_a_failure_however_good_the_count_line(exit_code: int) -> None:
    stdout, stderr = cases.log_text("recorded/t1_fp32")
    stderr += "ERROR: index out of bounds\nERROR: Node number 0 (GATHER) failed to invoke.\n" * 9999
    reading = read(cases.evidence(stdout, stderr, exit_code=exit_code))
    assert reading.outcome is Outcome.FAILED
    assert reading.reason is not None and "(GATHER) failed to invoke" in reading.reason
    assert len(reading.reason) < 700


def test_a_figure_that_is_none_fails_with_its_place() -> None:
    stdout, stderr = cases.log_text("recorded/t1_fp32")
    reading = read(cases.evidence(stdout.replace("avg=10143.7", "avg=nan"), stderr))
    assert reading.outcome is Outcome.FAILED
    assert reading.reason is not None and "stdout line 15" in reading.reason


def test_lines_that_contradict_each_other_are_a_failure() -> None:
    stdout, stderr = cases.log_text("recorded/t1_fp32")
    reading = read(cases.evidence(stdout.replace("avg=10143.7", "avg=10143.8"), stderr))
    assert reading.outcome is Outcome.FAILED
    assert reading.reason is not None and "contradicts itself" in reading.reason


def test_a_missing_phase_is_a_failure() -> None:
    stdout, stderr = cases.log_text("recorded/t1_fp32")
    kept = [line for line in stdout.splitlines() if "count=98" not in line]
    reading = read(cases.evidence("\n".join(kept), stderr))
    assert reading.outcome is Outcome.FAILED
    assert reading.reason is not None and "count=…" in reading.reason


def test_a_memory_trial_without_memory_is_a_failure() -> None:
    reading = read(cases.recorded("composed/v1_12"), kind=TrialKind.MEMORY, delegate="none")
    assert reading.outcome is Outcome.FAILED
    assert reading.reason is not None and "Memory footprint delta" in reading.reason


def test_a_timeout_is_a_timeout_even_where_a_signal_ended_it() -> None:
    reading = read(cases.evidence(signal_number=9, timed_out=True))
    assert reading.outcome is Outcome.TIMEOUT
    assert reading.reason is not None
    assert reading.reason.startswith("did not finish within 150 s while loading the model;")


@pytest.mark.parametrize(
    ("evidence", "words"),
    [
        (cases.evidence(signal_number=9, oom_killed=True), "out of memory: the kernel's OOM"),
        (cases.evidence(exit_code=137, oom_killed=True), "out of memory: the kernel's OOM"),
        (
            cases.evidence(
                stderr="terminate called after throwing an instance of 'std::bad_alloc'",
                signal_number=6,
            ),
            "out of memory: an allocation failed and the process died by SIGABRT",
        ),
        (cases.evidence(signal_number=11), "SIGSEGV (signal 11)"),
        (cases.evidence(signal_number=200), "signal 200"),
    ],
)
def test_killed_tells_out_of_memory_apart(evidence: Evidence, words: str) -> None:
    reading = read(evidence)
    assert reading.outcome is Outcome.KILLED
    assert reading.reason is not None and words in reading.reason


def test_an_allocation_that_failed_is_named_in_a_failure() -> None:
    reading = read(cases.evidence(stderr="ERROR: mmap: Cannot allocate memory", exit_code=1))
    assert reading.outcome is Outcome.FAILED
    assert reading.reason is not None and "out of memory" in reading.reason


def test_an_exit_code_above_128_is_no_signal_unless_the_agent_says_so() -> None:
    assert read(cases.evidence(exit_code=139)).outcome is Outcome.FAILED


def test_an_unknown_end_is_a_failure() -> None:
    assert read(cases.evidence(exit_code=None)).outcome is Outcome.FAILED


@given(
    stdout=st.text(),
    stderr=st.text(),
    exit_code=st.one_of(st.none(), st.integers(0, 255)),
    signal_number=st.one_of(st.none(), st.integers(1, 64)),
)
def test_reading_never_raises(
    stdout: str, stderr: str, exit_code: int | None, signal_number: int | None
) -> None:
    evidence = cases.evidence(stdout, stderr, exit_code=exit_code, signal_number=signal_number)
    assert read(evidence).outcome is not Outcome.OK


def test_runners_are_found_by_name() -> None:
    assert runner_named("litert").name == "litert"
    with pytest.raises(UsageError, match="benchmark_model, command, litert"):
        runner_named("auto")


def test_a_profile_trial_asks_for_operators_and_fails_without_them() -> None:
    trial = cases.a_trial(kind=TrialKind.PROFILE)
    argv = RUNNER.command(trial, cases.SETTINGS, cases.files()).argv
    assert "--enable_op_profiling=true" in argv and "--num_runs=30" in argv
    asked = cases.evidence(*cases.log_text("recorded/opprof_fp32"))
    profiled = RUNNER.read(trial, cases.SETTINGS, cases.files(), asked)
    assert profiled.measurement is not None and len(profiled.measurement.operators) == 9
    plain = cases.evidence(*cases.log_text("recorded/default_fp32"))
    reading = RUNNER.read(trial, cases.SETTINGS, cases.files(), plain)
    assert reading.outcome is Outcome.FAILED
    assert reading.reason is not None and "may have no profiler" in reading.reason
