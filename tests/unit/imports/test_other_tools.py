"""What llama-bench, hyperfine and pyperf leave as JSON: single samples, and our statistics of them.

``hyperfine.json`` and ``pyperf.json`` are what the tools wrote (hyperfine 1.15.0, pyperf 2.11.0).
``llama-bench.json`` has the fields that llama-bench documents, and in its first test the numbers of
a report that its deviation was 25 times too large.
"""

from __future__ import annotations

import csv
import json
from pathlib import Path
from statistics import median
from typing import Any

import pytest

from orchestrator import cli
from orchestrator.analysis import analyse
from orchestrator.errors import UsageError
from orchestrator.frameworks.logs import LoggedProcess
from orchestrator.frameworks.parts import log_readers
from orchestrator.imports.naming import variant_of
from orchestrator.measurement import Outcome
from orchestrator.runs.directory import RunDirectory, list_runs
from orchestrator.trial import Variant

DATA = Path(__file__).resolve().parents[2] / "data" / "imports"


def text_of(name: str) -> str:
    return (DATA / name).read_text(encoding="utf-8")


def read(text: str, name: str = "log.json") -> list[LoggedProcess]:
    """As the first reader does that knows the text."""
    found = (reader.read(name, text) for reader in log_readers())
    return list(next(filter(None, found), ()))


def imported(tmp_path: Path, *arguments: str) -> RunDirectory:
    argv = ["import", *arguments, "--results", str(tmp_path / "results")]
    assert cli.main(argv) == 0
    (run,) = list_runs(tmp_path / "results")
    return run


# -- llama-bench ----------------------------------------------------------------------------------


def test_a_test_of_llama_bench_is_one_sample_with_its_own_deviation() -> None:
    found = read(text_of("llama-bench.json"))
    assert [(p.factors.runner, p.factors.threads) for p in found] == [("llama-bench", 4)] * 4
    assert [(p.factors.prompt, p.factors.generate) for p in found] == [(512, 0), (0, 128)] * 2
    first = found[0].reading.measurement
    assert first is not None and first.steady is None
    rates = first.figures["prompt_tokens_per_s"]
    assert rates.count == 5
    assert rates.median == pytest.approx(512e9 / 12154929400)
    # not 30 %, as the tool printed
    assert rates.deviation is not None and rates.deviation / (rates.mean or 1) < 0.015
    assert [f.code for f in found[0].reading.findings] == ["misprinted_deviation"]
    assert all(p.reading.findings == () for p in found[1:])


def test_llama_bench_becomes_a_table_of_figures(tmp_path: Path) -> None:
    run = imported(
        tmp_path, str(DATA / "llama-bench.json"), "--device", "lab", "--baseline", "float16"
    )
    table = analyse(run.read())
    gains = {(row.scheme, row.figure.name): row.gain for row in table.figures}
    assert gains["q4_k", "generated_tokens_per_s"] == pytest.approx(2, rel=0.01)
    assert gains["q4_k", "prompt_tokens_per_s"] == pytest.approx(1.33, rel=0.01)
    assert "threads 4" in (run.path / "speedup.md").read_text()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"n_prompt": 512, "n_gen": 128}, "never mixed"),
        ({"n_depth": 256}, "behind 256 tokens"),
        ({"samples_ns": [0, 1]}, "took no time"),
    ],
)
def test_a_test_that_says_something_else_is_a_failure(change: dict[str, Any], said: str) -> None:
    test = {**json.loads(text_of("llama-bench.json"))[0], **change}
    (process,) = read(json.dumps(test))
    assert process.reading.outcome is Outcome.FAILED
    assert process.reading.reason is not None and said in process.reading.reason


def test_generation_at_a_depth_is_what_our_prompt_is() -> None:
    test = {**json.loads(text_of("llama-bench.json"))[1], "n_depth": 512}
    lines = json.dumps(test) + "\n" + json.dumps({**test, "backends": "CUDA", "n_gpu_layers": -1})
    on_cpu, on_gpu = read(lines)
    assert (on_cpu.factors.prompt, on_cpu.factors.generate) == (512, 128)
    assert (on_cpu.factors.processor, on_gpu.factors.processor) == ("cpu", "cuda")


@pytest.mark.parametrize("samples", [None, [], "many"])
def test_means_alone_are_refused(samples: object) -> None:
    test = {**json.loads(text_of("llama-bench.json"))[0], "samples_ns": samples}
    with pytest.raises(UsageError, match=r"log\.json: test 1 (has no single samples|is not one)"):
        read(json.dumps(test))


@pytest.mark.parametrize(
    ("graph", "variant"),
    [
        ("models/smollm2-Q4_K_M.gguf", Variant("smollm2", "q4_k")),
        ("smollm2-f16.gguf", Variant("smollm2", "float16")),
        ("smollm2.Q8_0.gguf", Variant("smollm2", "q8_0")),
        ("smollm2.gguf", None),
        ("resnet50_int8.tflite", Variant("resnet50", "full_int8")),
    ],
)
def test_files_are_told_by_the_names_of_their_kind(graph: str, variant: Variant | None) -> None:
    assert variant_of(graph, {}) == variant


# -- hyperfine and pyperf --------------------------------------------------------------------------


def mapped(tmp_path: Path, **schemes: str) -> str:
    path = tmp_path / "map.csv"
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(("graph", "model", "scheme"))
        rows.writerows((graph, "nap", scheme) for graph, scheme in schemes.items())
    return str(path)


def test_each_run_of_hyperfine_is_a_process() -> None:
    data = json.loads(text_of("hyperfine.json"))
    found = read(text_of("hyperfine.json"))
    assert len(found) == sum(len(each["times"]) for each in data["results"])
    assert {p.factors.runner for p in found} == {"hyperfine"}
    first = found[0].reading.measurement
    assert first is not None
    assert first.timing.centre_us == pytest.approx(data["results"][0]["times"][0] * 1e6)
    assert [p.begins for p in found[:2]] == ["command 1, run 1", "command 1, run 2"]


@pytest.mark.parametrize(
    ("name", "runner", "graphs"),
    [
        ("hyperfine.json", "hyperfine", {"sleep 0.02": "float32", "sleep 0.01": "int8"}),
        ("pyperf.json", "pyperf", {"long": "float32", "short": "int8"}),
    ],
)
def test_samples_become_a_table_with_our_interval(
    tmp_path: Path, name: str, runner: str, graphs: dict[str, str]
) -> None:
    told = ["--device", "lab", "--map", mapped(tmp_path, **graphs)]
    run = imported(tmp_path, str(DATA / name), *told)
    (row,) = analyse(run.read()).rows
    assert row.factors is not None and row.factors.runner == runner
    assert row.ci_low is not None and row.ci_high is not None and row.speedup is not None
    assert 1.2 < row.ci_low <= row.speedup <= row.ci_high < 3
    assert {"imported", "no_noise_floor"} <= {f.code for f in row.findings}
    tails = list(csv.DictReader((run.path / "tails.csv").read_text().splitlines()))
    assert int(tails[0]["processes"]) == row.blocks


def test_values_of_a_process_of_pyperf_are_one_sample() -> None:
    data = json.loads(text_of("pyperf.json"))
    runs = [r for b in data["benchmarks"] for r in b["runs"] if r.get("values")]
    found = read(text_of("pyperf.json"))
    assert len(found) == len(runs) < sum(len(b["runs"]) for b in data["benchmarks"])
    measured = found[0].reading.measurement
    assert measured is not None and measured.timing.count == len(runs[0]["values"])
    assert measured.timing.centre_us == pytest.approx(median(runs[0]["values"]) * 1e6)


def test_hyperfine_2_tells_runs_apart_by_measurements() -> None:
    measurement = {"time_wall_clock": {"value": 0.5, "unit": "second"}, "exit_code": 0}
    bad = {**measurement, "exit_code": 3}
    result = {"command": "sleep 1", "name": "nap", "measurements": [measurement, bad]}
    one, other = read(json.dumps({"schema_version": 2, "results": [result]}))
    assert one.graph == "nap" and one.reading.measurement is not None
    assert other.reading.reason == "command 1, run 2: exit code 3"


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ({"results": [{"command": "a", "mean": 1}]}, "no times of single runs"),
        ({"results": [{"command": "a", "times": [1, "x"]}]}, "'x' is not a time in seconds"),
        ({"results": [{"command": "a", "times": [0]}]}, "'0' is not a time"),
        ({"results": [{"command": "a", "times": [1], "exit_codes": [0, 0]}]}, "2 exit codes"),
        ({"version": "2.0", "benchmarks": []}, "another version of pyperf"),
        ({"version": "1.0", "benchmarks": [{"runs": []}]}, "benchmark 1 has no name"),
        (
            {"version": "1.0", "metadata": {"name": "m", "unit": "byte"}, "benchmarks": [{}]},
            "is in byte, not in seconds",
        ),
        (
            {
                "version": "1.0",
                "metadata": {"name": "m"},
                "benchmarks": [{"runs": [{"values": [True]}]}],
            },
            "is not a time",
        ),
    ],
)
def test_a_damaged_file_is_refused_with_its_place(document: object, said: str) -> None:
    with pytest.raises(UsageError, match=f"log.json: .*{said}"):
        read(json.dumps(document))


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"results": []}', '[{"n_gen": 1}]', "[" * 9999])
def test_what_is_nobody_s_is_left_to_others(text: str) -> None:
    assert read(text) == []
