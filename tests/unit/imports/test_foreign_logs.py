"""Logs of other delegates, behind other programs' prefixes, in other encodings, by other tools."""

from __future__ import annotations

import codecs
import json
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator import cli
from orchestrator.analysis import Speedup, Verdict, analyse
from orchestrator.errors import UsageError
from orchestrator.frameworks.runner import Reading
from orchestrator.frameworks.tflite.benchmark_log import parse_benchmark_log
from orchestrator.frameworks.tflite.benchmark_model import BenchmarkModelRunner
from orchestrator.frameworks.tflite.log_prefixes import bare
from orchestrator.frameworks.tflite.log_processes import processes
from orchestrator.imports.logs import ImportHints, ReadLogs, read_logs
from orchestrator.measurement import Invocations, Outcome
from orchestrator.runs.directory import list_runs
from orchestrator.trial import PhaseSettings, RunSettings, Variant
from tests import runner_cases as cases

DATA = Path(__file__).resolve().parents[2] / "data" / "imports"
TOLD = ImportHints(device="phone")
LOG = cases.log_text("recorded/t1_fp32")[0]


def text_of(name: str) -> str:
    return (DATA / name).read_text(encoding="utf-8")


def imported(tmp_path: Path, *files: Path) -> tuple[int, list[Speedup]]:
    """What the command says of the files: its exit code, and the rows."""
    argv = ["import", *map(str, files), "--device", "phone", "--results", str(tmp_path / "results")]
    code = cli.main(argv)
    (run,) = list_runs(tmp_path / "results")
    return code, list(analyse(run.read()).rows)


# -- delegates


def test_sides_under_unlike_delegates_are_never_compared(tmp_path: Path) -> None:
    code, rows = imported(tmp_path, DATA / "gpu.txt")
    assert code == 0
    (row,) = rows
    assert row.factors is not None
    assert row.factors.delegate == "nnapi"
    assert (row.verdict, row.speedup) == (Verdict.INVALID, None)
    (finding,) = [f for f in row.findings if f.forbids]
    assert finding.code == "no_counterpart"
    assert "delegate: full_int8 under nnapi, float32 under gpu" in finding.message
    assert "--resume" not in finding.remedy
    first, second = read_logs("gpu.txt", text_of("gpu.txt"), TOLD).figures
    measured = first.reading.measurement
    assert measured is not None and measured.delegation is not None
    assert measured.delegation.name == "gpu"
    assert (measured.delegation.delegated_nodes, measured.delegation.total_nodes) == (264, 264)
    assert second.reading.outcome is Outcome.OK


@pytest.mark.parametrize(
    ("lines", "delegate"),
    [
        (["Applied GPU delegate, and the model graph will be completely executed w/ the delegate."],
         "gpu"),
        (["INFO: Created TensorFlow Lite delegate for GPU."], "gpu"),
        (["GPU delegate created.", "INFO: Created TensorFlow Lite XNNPACK delegate for CPU."],
         "gpu"),
        (["Though GPU delegate is explicitly applied, the model graph will not be executed by the "
          "delegate.", "INFO: Created TensorFlow Lite XNNPACK delegate for CPU."], "xnnpack"),
        (["Though GPU delegate is explicitly applied, the model graph will not be executed by the "
          "delegate."], "none"),
        (["NNAPI accelerator name: [qti-dsp]", "NNAPI delegate created."], "nnapi-qti-dsp"),
        (["VERBOSE: Replacing 31 node(s) with delegate (TfLiteHexagonDelegate) node, yielding 1 "
          "partitions."], "hexagon"),
        (["Explicitly applied COREML delegate, and the model graph will be partially executed by "
          "the delegate w/ 2 delegate kernels."], "coreml"),
        (["External delegate path: [/usr/lib/libvx_delegate.so]", "EXTERNAL delegate created."],
         "external-vx_delegate"),
        (["External delegate path: [/data/libQnnTFLiteDelegate.so]",
          "Explicitly applied EXTERNAL delegate, and the model graph will be completely executed "
          "by the delegate."], "external-qnntflitedelegate"),
        (["GPU delegate created.", "NNAPI delegate created."], "gpu+nnapi"),
        (["INFO: Created TensorFlow Lite delegate for select TF ops."], ""),
        (["Use gpu: [1]"], "gpu"),
        (["Use NNAPI: [1]"], "nnapi"),
        (["Use xnnpack: [0]"], "none"),
        (["INFO: Created TensorFlow Lite XNNPACK delegate for CPU."], "xnnpack"),
        (["INFO: Using signature: x"], ""),
    ],
)  # fmt: skip
def test_the_delegate_is_read(lines: list[str], delegate: str) -> None:
    assert parse_benchmark_log("\n".join(lines)).delegate == delegate


@pytest.mark.parametrize("case", ["t1_fp32", "default_fp16", "full_deleg_noxnn", "noxnn_t1_fp32"])
def test_real_logs_name_xnnpack_or_nothing(case: str) -> None:
    stdout, stderr = cases.log_text(f"recorded/{case}")
    log = parse_benchmark_log(stdout, stderr)
    assert log.delegate == ("xnnpack" if log.xnnpack_seen else "none")


# -- prefixes


def prefixed(prefix: str) -> str:
    return "\n".join(prefix + line for line in LOG.split("\n"))


PREFIXES = [
    "11-02 10:14:20.103 12345 12367 I tflite  : ",
    "2026-11-02 10:14:20.103456 +0000 12345 12367 I tflite  : ",
    "11-02 10:14:20.103  root 12345 12367 I tflite  : ",
    "1762078460.103 12345 12367 I tflite  : ",
    "11-02 10:14:20.103 I/tflite  (12345): ",
    "I/tflite  (12345): ",
    "I(12345:12367) ",
    "I/tflite  : ",
    "2026-11-02T10:14:20.1030000Z ",
    "[2026-11-02T10:14:20.103Z] ",
    "2026-11-02T10:14:20.103456Z 01O ",
    "2026-11-02 10:14:20 ",
    "[10:14:20] ",
    "10:14:20 ",
    "Nov 02 10:14:20 node benchmark_model[123]: ",
    "Nov  2 10:14:20 ",
    "I0000 00:00:1795903601.764193   19841 benchmark.cc:153] ",
    "I1102 10:14:20.103456 12345 benchmark.cc:81] ",
    "[   12.345678] ",
    "2026-11-02 10:14:20,103 - INFO - ",
    "INFO:root:",
    "bench-1  | ",
    "\x1b[32m",
    "\x1b[0m\x1b[1;34m2026-11-02T10:14:20.1030000Z ",
    "2026-11-02T10:14:20.1030000Z 11-02 10:14:20.103 12345 12367 I tflite  : ",
]


@pytest.mark.parametrize("prefix", PREFIXES)
def test_what_others_put_before_a_line_is_taken_off(prefix: str) -> None:
    (plain,) = read_logs("a.txt", LOG, TOLD).figures
    (found,) = read_logs("a.txt", prefixed(prefix), TOLD).figures
    assert found.reading.measurement == plain.reading.measurement
    assert found.factors == plain.factors
    assert found.variant == plain.variant


def test_the_tools_own_lines_stay_as_they_are() -> None:
    for case in ("opprof_fp32", "peakmem_fp32", "slow_sci", "err_badflag"):
        text = cases.log_text(f"recorded/{case}")[0]
        assert parse_benchmark_log(bare(text)) == parse_benchmark_log(text)


def test_logcats_long_form_is_read() -> None:
    text = "\n".join(
        f"[ 11-02 10:14:20.103 12345:12367 I/tflite   ]\n{line}\n" for line in LOG.split("\n")
    )
    (found,) = read_logs("a.txt", text, TOLD).figures
    assert found.reading.outcome is Outcome.OK


def test_the_case_of_logcat() -> None:
    float32, int8 = read_logs("logcat.txt", text_of("logcat.txt"), TOLD).figures
    assert (float32.variant, int8.variant) == (
        Variant("tiny", "float32"),
        Variant("tiny", "full_int8"),
    )
    one, other = float32.reading.measurement, int8.reading.measurement
    assert one is not None and other is not None
    assert one.steady is not None and other.steady is not None
    assert (one.steady.median_us, other.steady.median_us) == (51891, 21891)
    assert (one.init_us, one.memory is not None) == (119515, True)
    assert float32.factors.delegate == "xnnpack"


def test_an_unknown_prefix_is_told_with_its_place() -> None:
    with pytest.raises(UsageError, match=r"line \d+: a figure stands behind '>>>why INFO:'"):
        read_logs("a.txt", prefixed(">>>why "), TOLD)


# -- encodings


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-8-sig"])
def test_what_powershell_writes_is_read(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "log.txt"
    data = LOG.replace("\n", "\r\n").encode(encoding)
    path.write_bytes(codecs.BOM_UTF16_BE + data if encoding == "utf-16-be" else data)
    code, _ = imported(tmp_path, path)
    assert code == 0


def test_two_encodings_in_one_file_are_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "log.txt"
    path.write_bytes(LOG.encode() + LOG.encode("utf-16-le"))
    assert cli.main(["import", str(path), "--results", str(tmp_path / "results")]) == 2
    said = capsys.readouterr().err
    assert "not a text file: byte" in said
    assert "Out-File -Encoding utf8" in said


# -- LiteRT's own tools


def told_of(name: str) -> ReadLogs:
    told = ImportHints(device="phone", variant=Variant("m", "float32"))
    return read_logs(name, text_of(name), told)


def test_litert_2s_own_summary_is_read() -> None:
    (found,) = told_of("litert_new.txt").figures
    measured = found.reading.measurement
    assert measured is not None
    assert measured.init_us == 23_730
    assert measured.first_us == 7_040
    assert measured.warmup == Invocations(1, first_us=7_040, mean_us=7_040)
    assert measured.steady == Invocations(50, mean_us=6_200, min_us=6_040, max_us=7_860, std_us=920)
    assert measured.runtime_name == "benchmark_model (LiteRT)"


def test_a_summary_that_does_not_say_its_file_asks_for_it() -> None:
    with pytest.raises(UsageError, match="does not say which file it ran"):
        read_logs("litert_new.txt", text_of("litert_new.txt"), TOLD)


def read_streams(stdout: str, stderr: str) -> Reading:
    """What the runner makes of a trial's output."""
    evidence = replace(cases.recorded("recorded/t1_fp32"), stdout=stdout, stderr=stderr)
    settings = RunSettings(PhaseSettings(5, 0.5), PhaseSettings(30, 1.0), 300.0)
    asked, files = cases.a_trial(), cases.files(size=cases.FP32_SIZE)
    return BenchmarkModelRunner().read(asked, settings, files, evidence)


def whole_litert_log() -> tuple[str, str]:
    """Both streams of LiteRT's tool: the phases on stdout, its own summary on stderr."""
    stdout = "\n".join(line for line in LOG.split("\n") if "Inference timings" not in line)
    mean = parse_benchmark_log(LOG).timings
    assert mean is not None
    place = "INFO: [benchmark_litert_model.h:96]"
    lines = [
        "INFO: [benchmark_litert_model.cc:300] Loading model from: m_float32.tflite",
        f"{place} \n========== BENCHMARK RESULTS ==========",
        f"{place} Model initialization: {mean.init_us / 1e3:.2f} ms",
        f"{place} Warmup (first):       {(mean.first_us or 0) / 1e3:.2f} ms",
        f"{place} Warmup (avg):         {mean.warmup_mean_us / 1e3:.2f} ms (9 runs)",
        f"{place} Inference (avg):      {mean.steady_mean_us / 1e3:.2f} ms (50 runs)",
    ]
    return stdout, "\n".join(lines)


def test_litert_2s_tool_is_read_as_a_runners_output() -> None:
    stdout, stderr = whole_litert_log()
    log, plain = parse_benchmark_log(stdout, stderr), parse_benchmark_log(LOG)
    assert log.problems == ()
    assert log.phases == plain.phases  # microseconds of the phases' own lines, not the summary's
    assert log.timings is not None
    assert log.timings.init_us == plain.session_init_us
    reading = read_streams(stdout, stderr)
    assert reading.outcome is Outcome.OK, reading.reason
    assert "coarse_times" not in {finding.code for finding in reading.findings}


def test_a_summary_that_contradicts_the_phases_is_no_measurement() -> None:
    stdout, stderr = whole_litert_log()
    reading = read_streams(stdout, stderr.replace("Inference (avg):      ", "Inference (avg):  9"))
    assert reading.outcome is Outcome.FAILED
    assert "contradicts itself" in str(reading.reason)


def test_litert_benchmarks_json_and_its_log_say_the_same() -> None:
    (of_json,) = read_logs("a.json", text_of("litert_benchmark.json"), TOLD).figures
    (of_log,) = read_logs("a.log", text_of("litert_benchmark.log"), TOLD).figures
    assert of_json.variant == of_log.variant == Variant("unet", "full_int8")
    assert of_json.factors == of_log.factors
    assert (of_json.factors.runner, of_json.factors.delegate) == ("litert-benchmark", "cpu")
    one, other = of_json.reading.measurement, of_log.reading.measurement
    assert one is not None and other is not None
    assert one.steady == other.steady
    assert one.steady == Invocations(
        10, mean_us=110, min_us=100, max_us=120, median_us=110, p5_us=100, p95_us=120
    )
    assert one.warmup == other.warmup
    assert one.init_us == other.init_us == 53_400
    assert "coarse_times" in {finding.code for finding in of_json.reading.findings}


def test_a_list_of_summaries_is_read_and_a_damaged_one_named() -> None:
    one = json.loads(text_of("litert_benchmark.json"))
    assert len(read_logs("a.json", json.dumps([one, one]), TOLD).figures) == 2
    one["latency"]["avg_ms"] = "quick"
    with pytest.raises(UsageError, match=r"a\.json: .*latency\.avg_ms is not a number"):
        read_logs("a.json", json.dumps(one), TOLD)
    del one["latency"]["avg_ms"]
    with pytest.raises(UsageError, match=r"no latency\.avg_ms"):
        read_logs("a.json", json.dumps(one), TOLD)


def test_several_summaries_in_one_log_are_told_apart() -> None:
    text = text_of("litert_new.txt")
    assert len(processes("a.txt", text + text)) == 2
    both = text_of("litert_benchmark.log") * 2
    assert len(read_logs("a.txt", both, TOLD).figures) == 2
